//! Hashing of passwords: argon2id, at most one per core at a time, so that logins do not starve everything else. Each place
//! has one buffer, which the next hashing uses again; when nobody hashes or waits, there is none.

use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::Error;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::OAuthError;
use crate::domain::NewPassword;
use crate::secrets;

/// 19 MiB, two passes, one lane: the minimum of OWASP's cheat sheet on password storage.
const PARAMS: Params = match Params::new(19 * 1_024, 2, 1, None) {
    Ok(params) => params,
    Err(_) => panic!("the parameters are within argon2's limits"),
};

/// The hash that replaces an unknown user's, made with [`PARAMS`]; no password is known for it.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdCEhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How many logins may wait for a core, beside one for each core, before more are refused.
const WAITING: usize = 64;

/// Runs one hashing per core at a time.
pub struct Hasher(Arc<Places>);

struct Places {
    cores: Arc<Semaphore>,
    queue: Semaphore,
    use_of_buffers: Mutex<BufferUse>,
}

/// The memory of one hashing. It is as large as argon2's parameters say.
type Buffer = Vec<Block>;

#[derive(Default)]
struct BufferUse {
    /// The tasks that hash or wait for a core.
    participants: usize,
    /// Buffers that no task uses at the moment.
    free: Vec<Buffer>,
}

/// One task that hashes or waits to hash: when the last one is dropped, all free buffers are freed.
struct Participant(Arc<Places>);

/// The right to hash on one core, held until it is dropped and the work that was begun with it has ended.
pub struct HashingSlot(Arc<Place>);

struct Place {
    buffer: Mutex<Buffer>,
    participant: Participant,
    _permit: OwnedSemaphorePermit,
}

/// The result of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    Right {
        /// The hash was made with other parameters than [`PARAMS`].
        outdated: bool,
    },
    /// Also when there is no such user.
    Wrong,
}

impl Hasher {
    pub fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Places {
            cores: Arc::new(Semaphore::new(count)),
            queue: Semaphore::new(count + WAITING),
            use_of_buffers: Mutex::default(),
        }))
    }

    /// Waits for a core.
    ///
    /// # Errors
    /// [`OAuthError::Busy`] when too many wait already.
    pub async fn slot(&self) -> Result<HashingSlot, OAuthError> {
        let places = &self.0;
        let _queued = places.queue.try_acquire().map_err(|_| OAuthError::Busy)?;
        let participant = Participant::new(places);
        let permit = Arc::clone(&places.cores).acquire_owned().await.map_err(|_| OAuthError::Busy)?;
        let buffer = Mutex::new(places.buffers().free.pop().unwrap_or_default());
        Ok(HashingSlot(Arc::new(Place { buffer, participant, _permit: permit })))
    }
}

impl Places {
    fn buffers(&self) -> MutexGuard<'_, BufferUse> {
        self.use_of_buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Participant {
    fn new(places: &Arc<Places>) -> Self {
        places.buffers().participants += 1;
        Self(Arc::clone(places))
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        let mut buffers = self.0.buffers();
        buffers.participants -= 1;
        if buffers.participants == 0 {
            buffers.free = Vec::new();
        }
    }
}

/// Gives the buffer back. This runs before the fields are dropped, so the next task finds the buffer when it gets the
/// permit, and the last one frees it.
impl Drop for Place {
    fn drop(&mut self) {
        let buffer = std::mem::take(self.buffer.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !buffer.is_empty() {
            self.participant.0.buffers().free.push(buffer);
        }
    }
}

impl HashingSlot {
    /// Checks a password against a hash. Without a hash it takes as long, and the password is wrong.
    ///
    /// # Errors
    /// [`OAuthError::Hashing`] when the stored hash cannot be read.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<LoginOutcome, OAuthError> {
        self.work(move |buffer| verify(&password, hash.as_deref(), buffer)).await
    }

    /// # Errors
    /// [`OAuthError::Hashing`] when there is no memory for it.
    pub async fn hash(&self, password: String) -> Result<String, OAuthError> {
        self.work(move |buffer| hash(&password, buffer)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Buffer) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, OAuthError> {
        // The work cannot be cancelled: it holds the place even when nobody waits for it any more.
        let place = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut place.buffer.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(outcome) => outcome.map_err(|error| OAuthError::Hashing(error.to_string())),
            Err(error) => Err(OAuthError::Hashing(error.to_string())),
        }
    }
}

/// The hash of a new password, by a [`Hasher`] of its own: for the command line and the first start.
///
/// # Errors
/// [`OAuthError::Hashing`] when there is no memory for it.
pub async fn hash_password(password: &NewPassword) -> Result<String, OAuthError> {
    Hasher::new().slot().await?.hash(password.reveal().to_owned()).await
}

fn verify(password: &str, hash: Option<&str>, buffer: &mut Buffer) -> Result<LoginOutcome, Error> {
    let known = PasswordHash::new(hash.unwrap_or(DUMMY_HASH))?;
    let (Some(salt), Some(expected)) = (known.salt, known.hash) else { return Err(Error::PasswordInvalid) };
    let algorithm = Algorithm::try_from(known.algorithm.as_str())?;
    let version = known.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&known)?);
    // The comparison of outputs takes the same time wherever they differ.
    let right = output(&argon2, password, &salt, expected.len(), buffer)? == expected && hash.is_some();
    Ok(if right { LoginOutcome::Right { outdated: is_outdated(&known) } } else { LoginOutcome::Wrong })
}

fn hash(password: &str, buffer: &mut Buffer) -> Result<String, Error> {
    let salt = Salt::new(&secrets::random_bytes::<16>())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS);
    let made = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&PARAMS)?,
        salt: Some(salt),
        hash: Some(output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN, buffer)?),
    };
    Ok(made.to_string())
}

fn output(
    argon2: &Argon2<'_>,
    password: &str,
    salt: &Salt,
    length: usize,
    buffer: &mut Buffer,
) -> Result<Output, Error> {
    buffer.resize(argon2.params().block_count(), Block::new());
    let mut made = [0; Output::MAX_LENGTH];
    let made = made.get_mut(..length).ok_or(Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, made, buffer)?;
    Ok(Output::new(made)?)
}

fn is_outdated(hash: &PasswordHash) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    let same = Params::try_from(hash).is_ok_and(|params| costs(&params) == costs(&PARAMS));
    !same
        || hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
        || hash.version != Some(u32::from(Version::V0x13))
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    fn check(password: &str, hash: Option<&str>) -> Result<LoginOutcome, Error> {
        verify(password, hash, &mut Buffer::new())
    }

    #[test]
    fn a_hash_fits_only_its_password() {
        let mut buffer = Buffer::new();
        let made = hash("correct horse", &mut buffer).expect("a hash");
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_ne!(made, hash("correct horse", &mut buffer).expect("a hash"), "each has its own salt");
        let right = LoginOutcome::Right { outdated: false };
        // What the buffer holds from earlier changes nothing.
        assert_eq!(verify("correct horse", Some(&made), &mut buffer), Ok(right));
        assert_eq!(verify("correct horse ", Some(&made), &mut buffer), Ok(LoginOutcome::Wrong));
        let parsed = PasswordHash::new(&made).expect("a hash");
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok(), "argon2 agrees");
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let dummy = PasswordHash::new(DUMMY_HASH).expect("a hash");
        assert!(!is_outdated(&dummy));
        assert_eq!(check("", None), Ok(LoginOutcome::Wrong));
    }

    #[test]
    fn older_parameters_are_outdated() {
        let weak =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).expect("params"));
        let made = weak.hash_password_with_salt(b"correct horse", &[7; 16]).expect("a hash").to_string();
        assert_eq!(check("correct horse", Some(&made)), Ok(LoginOutcome::Right { outdated: true }));
        assert_eq!(check("correct horsf", Some(&made)), Ok(LoginOutcome::Wrong));
    }

    #[tokio::test]
    async fn buffers_are_used_again_and_gone_when_nobody_hashes() {
        let hasher = Hasher::new();
        let free = || hasher.0.buffers().free.len();
        let first = hasher.slot().await.expect("a place");
        first.hash("correct horse".to_owned()).await.expect("a hash");
        // Somebody waits, so the buffer stays for the next one.
        let waiting = Participant::new(&hasher.0);
        let place = Arc::downgrade(&first.0);
        drop(first);
        assert!(place.upgrade().is_none());
        assert_eq!(free(), 1);
        let second = hasher.slot().await.expect("a place");
        assert_eq!(free(), 0);
        assert_eq!(second.0.buffer.lock().expect("not poisoned").len(), PARAMS.block_count());
        drop(second);
        assert_eq!(free(), 1);
        // The last one to wait has gone away without a place.
        drop(waiting);
        assert_eq!(free(), 0);
    }
}
