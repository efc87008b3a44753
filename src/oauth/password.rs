//! Hashing of passwords: argon2id, at most one per core at a time, so that logins do not starve everything else.

use std::num::NonZero;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
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

/// How many logins may wait for a core before more are refused.
const WAITING: usize = 64;

/// Runs one hashing per core at a time.
pub struct Hasher {
    cores: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// The right to hash on one core, held until it is dropped and the work that was begun with it has ended.
pub struct HashingSlot(Arc<OwnedSemaphorePermit>);

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
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { cores: Arc::new(Semaphore::new(cores)), queue: Arc::new(Semaphore::new(cores + WAITING)) }
    }

    /// Waits for a core.
    ///
    /// # Errors
    /// [`OAuthError::Busy`] when too many wait already.
    pub async fn slot(&self) -> Result<HashingSlot, OAuthError> {
        let _queued = self.queue.try_acquire().map_err(|_| OAuthError::Busy)?;
        let permit = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| OAuthError::Busy)?;
        Ok(HashingSlot(Arc::new(permit)))
    }
}

impl HashingSlot {
    /// Checks a password against a hash. Without a hash it takes as long, and the password is wrong.
    ///
    /// # Errors
    /// [`OAuthError::Hashing`] when the stored hash cannot be read.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<LoginOutcome, OAuthError> {
        self.work(move || verify(&password, hash.as_deref())).await
    }

    /// # Errors
    /// [`OAuthError::Hashing`] when there is no memory for it.
    pub async fn hash(&self, password: String) -> Result<String, OAuthError> {
        self.work(move || hash(&password)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, OAuthError> {
        // The work cannot be cancelled: it holds the slot even when nobody waits for it any more.
        let slot = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        match done.await {
            Ok(outcome) => outcome.map_err(|error| OAuthError::Hashing(error.to_string())),
            Err(error) => Err(OAuthError::Hashing(error.to_string())),
        }
    }
}

/// The hash of a new password, outside of a [`Hasher`]: for the command line and the start.
///
/// # Errors
/// [`OAuthError::Hashing`] when there is no memory for it.
pub async fn hash_password(password: &NewPassword) -> Result<String, OAuthError> {
    Hasher::new().slot().await?.hash(password.reveal().to_owned()).await
}

fn verify(password: &str, hash: Option<&str>) -> Result<LoginOutcome, Error> {
    let known = PasswordHash::new(hash.unwrap_or(DUMMY_HASH))?;
    match Argon2::default().verify_password(password.as_bytes(), &known) {
        Ok(()) if hash.is_some() => Ok(LoginOutcome::Right { outdated: is_outdated(&known) }),
        Ok(()) | Err(Error::PasswordInvalid) => Ok(LoginOutcome::Wrong),
        Err(error) => Err(error),
    }
}

fn hash(password: &str) -> Result<String, Error> {
    let salt = secrets::random_bytes::<16>();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS);
    Ok(argon2.hash_password_with_salt(password.as_bytes(), &salt)?.to_string())
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

    #[test]
    fn a_hash_fits_only_its_password() {
        let made = hash("correct horse").expect("a hash");
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_ne!(made, hash("correct horse").expect("a hash"), "each has its own salt");
        let right = LoginOutcome::Right { outdated: false };
        assert_eq!(verify("correct horse", Some(&made)), Ok(right));
        assert_eq!(verify("correct horse ", Some(&made)), Ok(LoginOutcome::Wrong));
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_a_known_one() {
        let dummy = PasswordHash::new(DUMMY_HASH).expect("a hash");
        assert!(!is_outdated(&dummy));
        assert_eq!(verify("", None), Ok(LoginOutcome::Wrong));
    }

    #[test]
    fn older_parameters_are_outdated() {
        let weak =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).expect("params"));
        let made = weak.hash_password_with_salt(b"correct horse", &[7; 16]).expect("a hash").to_string();
        assert_eq!(verify("correct horse", Some(&made)), Ok(LoginOutcome::Right { outdated: true }));
    }
}
