//! The settings of quotas.

use std::num::NonZero;

use super::{ConfigError, Env};

const ACCOUNTS: &str = "WINDU_ACCOUNTS_PER_USER";

/// `WINDU_ACCOUNTS_PER_USER`; `None` is off.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaSettings {
    /// How many accounts a user may have, also such as wait for their code.
    pub accounts: Option<NonZero<u32>>,
}

impl QuotaSettings {
    /// The variables that [`QuotaSettings::read`] reads.
    pub const NAMES: &[&str] = &[ACCOUNTS];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let accounts = match env.get(ACCOUNTS).map(str::trim) {
            None | Some("off") => None,
            Some(text) => {
                let number = text.parse();
                Some(number.map_err(|_| ConfigError::new(ACCOUNTS, "write a number from 1, or off"))?)
            }
        };
        Ok(Self { accounts })
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
}
