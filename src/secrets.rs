//! Cryptography: the master key and derived keys, sealing of values, randomness, hashes of tokens.

use std::fmt;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{aead, digest, hkdf, hmac};

/// In bytes: keys have 256 bits.
pub const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 12;

/// Why a key or a sealed value was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the key must be 32 bytes in base64 (generate one with: openssl rand -base64 32)")]
    BadKey,
    /// The value was sealed with another key, purpose or context, or was changed.
    #[error("a sealed value cannot be decrypted with WINDU_SECRET_KEY or WINDU_SECRET_KEY_OLD")]
    DoesNotOpen,
}

/// The master key, and during a rotation the old one, which still opens the values that it sealed.
#[derive(Clone)]
pub struct MasterKey {
    current: [u8; KEY_LENGTH],
    old: Option<[u8; KEY_LENGTH]>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Reads the key, and the old one if there is one, from base64 of 32 bytes each.
    pub fn from_base64(current: &str, old: Option<&str>) -> Result<Self, SecretError> {
        let parse = |text: &str| -> Result<[u8; KEY_LENGTH], SecretError> {
            let bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| SecretError::BadKey)?;
            bytes.try_into().map_err(|_| SecretError::BadKey)
        };
        Ok(Self { current: parse(current)?, old: old.map(parse).transpose()? })
    }

    /// A new random key, in base64.
    #[must_use]
    pub fn generate_base64() -> String {
        BASE64.encode(&random_bytes::<KEY_LENGTH>())
    }

    /// The current key in base64, for the file that keeps it.
    #[must_use]
    pub fn reveal_base64(&self) -> String {
        BASE64.encode(&self.current)
    }

    /// Whether there is an old key besides.
    #[must_use]
    pub fn is_being_changed(&self) -> bool {
        self.old.is_some()
    }

    /// A public id of the key, of 32 hex digits: programs with the same fingerprint have the same key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&derive(&self.current, "fingerprint")[..16])
    }

    /// The fingerprint of the old key, if there is one.
    #[must_use]
    pub fn old_fingerprint(&self) -> Option<String> {
        self.old.as_ref().map(|old| HEXLOWER.encode(&derive(old, "fingerprint")[..16]))
    }

    /// HMAC-SHA256 of `parts` under a key derived for `purpose`. Each part is prefixed by its length.
    #[must_use]
    pub fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        mac_with(&derive(&self.current, purpose), parts)
    }

    /// Whether `tag` is the MAC of `parts` under the current or the old key, in constant time.
    #[must_use]
    pub fn mac_matches(&self, purpose: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
        std::iter::once(&self.current).chain(self.old.as_ref()).any(|key| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(key, purpose));
            hmac::verify(&key, &join(parts), tag).is_ok()
        })
    }

    /// Encrypts a value (ChaCha20-Poly1305, behind its random nonce) for `purpose`, bound to `context`: an id of its row.
    #[must_use]
    pub fn seal(&self, purpose: &str, context: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_with(&derive(&self.current, purpose), context, plain)
    }

    /// Decrypts a value of [`MasterKey::seal`].
    pub fn open(&self, purpose: &str, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        std::iter::once(&self.current)
            .chain(self.old.as_ref())
            .find_map(|key| open_with(&derive(key, purpose), context, sealed))
            .ok_or(SecretError::DoesNotOpen)
    }
}

/// As [`MasterKey::seal`], with another key, for example one derived from a token.
///
/// # Panics
/// Never: the key's length is fixed and the input far below the cipher's limit.
#[must_use]
pub fn seal_with(key: &[u8; KEY_LENGTH], context: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce = random_bytes::<NONCE_LENGTH>();
    let mut body = plain.to_vec();
    aead_key(key)
        .seal_in_place_append_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(context),
            &mut body,
        )
        .expect("sealing fails only above 256 GiB");
    let mut sealed = nonce.to_vec();
    sealed.append(&mut body);
    sealed
}

/// Decrypts a value of [`seal_with`]; `None` when its key or context is another one, or it was changed.
#[must_use]
pub fn open_with(key: &[u8; KEY_LENGTH], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
    let mut body = body.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(*nonce);
    let plain = aead_key(key).open_in_place(nonce, aead::Aad::from(context), &mut body).ok()?;
    Some(plain.to_vec())
}

/// Derives a key for one purpose from key material: HKDF-SHA256 (RFC 5869).
///
/// # Panics
/// Never: the output length is one that HKDF allows.
#[must_use]
pub fn derive(material: &[u8], purpose: &str) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"windu")
        .extract(material)
        .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|output| output.fill(&mut key))
        .expect("32 bytes are within HKDF's limit");
    key
}

#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness; nothing safe can be done then.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws randomness")]
    static SOURCE: LazyLock<SystemRandom> = LazyLock::new(SystemRandom::new);
    let mut bytes = [0; N];
    SOURCE.fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A token of 256 random bits: 43 characters of base64url.
#[must_use]
pub fn random_token() -> String {
    BASE64URL_NOPAD.encode(&random_bytes::<32>())
}

/// An id that cannot be guessed: 128 random bits as 32 hex digits.
#[must_use]
pub fn random_id() -> String {
    HEXLOWER.encode(&random_bytes::<16>())
}

/// A word for what there are few of: 48 random bits as 12 hex digits.
#[must_use]
pub fn random_word() -> String {
    HEXLOWER.encode(&random_bytes::<6>())
}

/// An id that cannot be guessed and grows with time: 12 hex digits of milliseconds, 80 random bits as 20 hex digits.
/// Rows that are inserted one after the other are then neighbours in an index.
#[must_use]
pub fn growing_id(now: DateTime<Utc>) -> String {
    format!("{:012x}{}", now.timestamp_millis(), HEXLOWER.encode(&random_bytes::<10>()))
}

/// A number from 0 to `bound - 1`, without bias. `bound` must not be 0.
#[must_use]
pub fn random_below(bound: u64) -> u64 {
    let zone = u64::MAX - u64::MAX % bound;
    loop {
        let draw = u64::from_le_bytes(random_bytes());
        if draw < zone {
            return draw % bound;
        }
    }
}

fn aead_key(key: &[u8; KEY_LENGTH]) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).expect("the key has the cipher's length");
    aead::LessSafeKey::new(key)
}

fn mac_with(key: &[u8; KEY_LENGTH], parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &join(parts));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Concatenates parts, each behind its length, so that different lists give different bytes.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_purpose_and_context() {
        let key = MasterKey::from_base64(&MasterKey::generate_base64(), None).expect("a key");
        let sealed = key.seal("credentials", b"7", b"secret");
        assert_eq!(key.open("credentials", b"7", &sealed).expect("opens"), b"secret");
        assert!(key.open("credentials", b"8", &sealed).is_err());
        assert!(key.open("other", b"7", &sealed).is_err());
        let other = MasterKey::from_base64(&MasterKey::generate_base64(), None).expect("a key");
        assert!(other.open("credentials", b"7", &sealed).is_err());
        let mut changed = sealed;
        changed[14] ^= 1;
        assert!(key.open("credentials", b"7", &changed).is_err());
    }

    #[test]
    fn an_old_key_opens_while_rotating() {
        let (old, new) = (MasterKey::generate_base64(), MasterKey::generate_base64());
        let sealed = MasterKey::from_base64(&old, None).expect("a key").seal("credentials", b"7", b"secret");
        let rotating = MasterKey::from_base64(&new, Some(&old)).expect("keys");
        assert_eq!(rotating.open("credentials", b"7", &sealed).expect("opens"), b"secret");
    }

    #[test]
    fn boundaries_between_parts_matter() {
        let key = MasterKey::from_base64(&MasterKey::generate_base64(), None).expect("a key");
        assert_ne!(key.mac("code", &[b"ab", b"c"]), key.mac("code", &[b"a", b"bc"]));
        assert!(key.mac_matches("code", &[b"a"], &key.mac("code", &[b"a"])));
        assert!(!key.mac_matches("code", &[b"a"], &key.mac("code", &[b"b"])));
    }
}
