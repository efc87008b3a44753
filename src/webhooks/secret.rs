//! Secrets that sign the requests, as in Standard Webhooks 1.0.

use data_encoding::BASE64;
use standardwebhooks::Webhook;

use crate::secrets::{self, MasterKey};

const PREFIX: &str = "whsec_";
/// Bytes of a secret that is generated.
const LENGTH: usize = 32;
const SHORTEST: usize = 24;
const LONGEST: usize = 64;
/// The purpose of the key that seals them.
const PURPOSE: &str = "webhook";

/// A secret. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A text that is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("whsec_ and 24 to 64 bytes in base64 are expected")]
pub struct SecretError;

impl Secret {
    #[must_use]
    pub fn generate() -> Self {
        Self(secrets::random_bytes::<LENGTH>().to_vec())
    }

    /// Reads a secret that its owner chose.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(SecretError)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| SecretError)?;
        if (SHORTEST..=LONGEST).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(SecretError) }
    }

    /// As its owner needs it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    pub(super) fn seal(&self, keys: &MasterKey, public_id: &str) -> Vec<u8> {
        keys.seal(PURPOSE, public_id.as_bytes(), &self.0)
    }

    pub(super) fn open(
        keys: &MasterKey,
        public_id: &str,
        sealed: &[u8],
    ) -> Result<Self, secrets::SecretError> {
        Ok(Self(keys.open(PURPOSE, public_id.as_bytes(), sealed)?))
    }

    /// The signature of a request; `None`: it cannot be signed.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        Webhook::from_bytes(self.0.clone()).ok()?.sign(id, timestamp, body).ok()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        let secret = Secret::generate();
        assert_eq!(Secret::parse(&secret.reveal()), Ok(secret));
        for length in [24, 64] {
            assert!(Secret::parse(&format!("whsec_{}", BASE64.encode(&vec![7; length]))).is_ok(), "{length}");
        }
        for length in [0, 23, 65] {
            assert!(
                Secret::parse(&format!("whsec_{}", BASE64.encode(&vec![7; length]))).is_err(),
                "{length}"
            );
        }
        for wrong in ["", "whsec_", "abc", "whsec_!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(Secret::parse(wrong), Err(SecretError), "{wrong}");
        }
    }
}
