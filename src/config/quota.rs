//! The settings of quotas.

use std::num::NonZero;

use super::{ConfigError, Env, media};

const ACCOUNTS: &str = "WINDU_ACCOUNTS_PER_USER";
const MEDIA: &str = "WINDU_MEDIA_PER_USER";
const STREAMS: &str = "WINDU_STREAMS_PER_USER";

const DEFAULT_STREAMS: Option<NonZero<u32>> = NonZero::new(100);

/// `WINDU_ACCOUNTS_PER_USER`, `WINDU_MEDIA_PER_USER` and `WINDU_STREAMS_PER_USER`; `None` is off.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaSettings {
    /// How many accounts a user may have, also such as wait for their code.
    pub accounts: Option<NonZero<u32>>,
    /// The bytes of the files in a user's messages beyond which the user sends no more.
    pub media: Option<NonZero<u64>>,
    /// How many streams, sockets and waiting polls for events a user may have open in a process.
    pub streams: Option<NonZero<u32>>,
}

impl QuotaSettings {
    /// The variables that [`QuotaSettings::read`] reads.
    pub const NAMES: &[&str] = &[ACCOUNTS, MEDIA, STREAMS];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let accounts = number(env, ACCOUNTS, None)?;
        let streams = number(env, STREAMS, DEFAULT_STREAMS)?;
        let media = match env.get(MEDIA).map(str::trim) {
            None | Some("off") => None,
            Some(text) => {
                let bytes = media::size(text).and_then(NonZero::new);
                Some(bytes.ok_or_else(|| {
                    ConfigError::new(MEDIA, "write a size with its unit, such as 10 GiB, or off")
                })?)
            }
        };
        Ok(Self { accounts, media, streams })
    }
}

fn number(
    env: &Env,
    variable: &'static str,
    default: Option<NonZero<u32>>,
) -> Result<Option<NonZero<u32>>, ConfigError> {
    match env.get(variable).map(str::trim) {
        None => Ok(default),
        Some("off") => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| ConfigError::new(variable, "write a number from 1, or off"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_or_off() {
        let read = |text| QuotaSettings::read(&Env::of([(ACCOUNTS, text)])).map(|settings| settings.accounts);
        assert_eq!(read("off").expect("off"), None);
        assert_eq!(read("3").expect("three"), NonZero::new(3));
        for wrong in ["0", "-1", "many", "3 accounts"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn media_has_a_size_or_is_off() {
        let read = |text| QuotaSettings::read(&Env::of([(MEDIA, text)])).map(|settings| settings.media);
        assert_eq!(read("off").expect("off"), None);
        assert_eq!(read("2 KiB").expect("a size"), NonZero::new(2_048));
        for wrong in ["0 B", "10", "much"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
