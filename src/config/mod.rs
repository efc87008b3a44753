//! The settings: one struct per concern, read from the environment. Every error names its variable.

mod broker;
mod codes;
pub mod data_dir;
mod database;
mod dotenv;
mod fetch;
mod key;
mod listen;
mod log;
mod media;
mod networks;
mod oauth;
mod quota;
mod rate;
mod retention;
mod trace;
mod xmpp;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

pub use broker::{BrokerLogin, BrokerSettings};
pub use codes::{CodeSettings, CodeSurroundings, LogTarget, SenderSettings};
pub use data_dir::Missing;
pub use database::DatabaseSettings;
pub use fetch::FetchSettings;
pub use key::{KEY_NAMES, master_key, restore_key};
pub use listen::{CorsOrigins, ListenSettings};
pub use log::{LogFormat, LogSettings};
pub use media::{MediaLocation, MediaSettings};
pub use networks::NetworkSettings;
pub use oauth::{Bootstrap, OAuthSettings, TrustedProxies};
pub use quota::QuotaSettings;
pub use rate::{Rate, RateSettings};
pub use retention::RetentionSettings;
pub use trace::TraceSettings;
pub use xmpp::{XmppHost, XmppSettings, XmppTls};

/// A setting that cannot be used. The message names the variable and the values that it accepts.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    pub variable: &'static str,
    /// The mistake and how to correct it; never the value of a secret.
    pub problem: String,
}

impl ConfigError {
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self { variable, problem: problem.into() }
    }
}

/// Seconds. Times that are further away than this PostgreSQL cannot express, and neither can clocks.
const LONGEST_DURATION: u64 = 36_500 * 86_400;

/// A snapshot of the environment that settings are read from, so that tests can have their own.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The process's environment, completed by `.env` in the working folder (not in those above it) when there is one.
    pub fn load() -> anyhow::Result<Self> {
        let mut values = BTreeMap::new();
        match std::fs::read(dotenv::FILE) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!(".env is not UTF-8 text"))?;
                let variables = dotenv::parse(&text).map_err(|line| {
                    anyhow::anyhow!(".env: line {line} is neither NAME=value nor a comment")
                })?;
                values.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(anyhow::anyhow!(".env cannot be read: {error}")),
        }
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                values.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Self(values))
    }

    /// An environment of only these values.
    pub fn of<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of a variable; unset and empty are both `None`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables whose names have this prefix, with their values.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        self.0
            .iter()
            .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The value parsed, or `default` when unset.
    pub fn parse<T>(&self, variable: &'static str, default: T) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.get(variable) {
            None => Ok(default),
            Some(value) => {
                value.parse().map_err(|error: T::Err| ConfigError::new(variable, error.to_string()))
            }
        }
    }

    /// A duration such as `90s`, `15m`, `24h` or `90d`.
    pub fn duration(&self, variable: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        let Some(value) = self.get(variable).map(str::trim) else { return Ok(default) };
        let wrong = || ConfigError::new(variable, "a duration such as 90s, 15m, 24h or 90d is expected");
        let digits = value.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(value.len());
        let unit = match value[digits..].trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = value[..digits].parse().map_err(|_| wrong())?;
        let seconds = count.saturating_mul(unit);
        match seconds {
            0 => Err(wrong()),
            LONGEST_DURATION.. => Err(ConfigError::new(variable, "less than 36500d is possible")),
            _ => Ok(Duration::from_secs(seconds)),
        }
    }

    /// The items of a comma-separated list; unset gives an empty list.
    #[must_use]
    pub fn list(&self, variable: &'static str) -> Vec<&str> {
        self.get(variable)
            .map(|value| value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
            .unwrap_or_default()
    }
}

/// The set variables that are not in `known` and that someone may have meant for this program, sorted, each with the known
/// one that it resembles.
#[must_use]
pub fn unknown<'a>(env: &'a Env, known: &[&[&'static str]]) -> Vec<(&'a str, Option<&'static str>)> {
    let known: Vec<&'static str> = known.iter().flat_map(|names| names.iter().copied()).collect();
    let names = env.0.keys().map(String::as_str).filter(|name| !known.contains(name));
    names
        .filter_map(|name| {
            let nearest =
                known.iter().copied().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
            let meant = nearest.filter(|(changes, _)| *changes <= LIKELY_SLIP).map(|(_, known)| known);
            (meant.is_some() || name.starts_with("WINDU_")).then_some((name, meant))
        })
        .collect()
}

/// Characters that a misspelt name differs in, at most.
const LIKELY_SLIP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_an_end() {
        let read = |text| Env::of([("X", text)]).duration("X", Duration::from_secs(7));
        assert_eq!(read("").expect("the default"), Duration::from_secs(7));
        for (text, seconds) in [("90s", 90), ("15m", 900), (" 24 h ", 86_400), ("36499d", 36_499 * 86_400)] {
            assert_eq!(read(text).expect(text), Duration::from_secs(seconds));
        }
        for text in ["0s", "90", "d", "-1d", "1.5h", "1e3s", "90D", "1d1h"] {
            assert!(read(text).expect_err(text).problem.contains("such as 90s"), "{text}");
        }
        for text in ["36500d", "9999999d", "18446744073709551615s", "99999999999999999d"] {
            assert!(read(text).expect_err(text).problem.contains("less than 36500d"), "{text}");
        }
    }
}
