//! The settings of rate limits.

use std::num::NonZero;

use super::{ConfigError, Env};

const REQUESTS: &str = "WINDU_RATE_REQUESTS";
const SENDS: &str = "WINDU_RATE_SENDS";

/// `WINDU_RATE_REQUESTS` and `WINDU_RATE_SENDS`; `None` is off.
#[derive(Clone, Copy, Debug)]
pub struct RateSettings {
    /// Of one token.
    pub requests: Option<Rate>,
    /// Of one account.
    pub sends: Option<Rate>,
}

/// So many a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZero<u32>,
    pub burst: NonZero<u32>,
}

impl RateSettings {
    /// The variables that [`RateSettings::read`] reads.
    pub const NAMES: &[&str] = &[REQUESTS, SENDS];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { requests: rate(env, REQUESTS, "100/1000")?, sends: rate(env, SENDS, "80/200")? })
    }
}

fn rate(env: &Env, variable: &'static str, default: &str) -> Result<Option<Rate>, ConfigError> {
    let text = env.get(variable).unwrap_or(default).trim();
    if text == "off" {
        return Ok(None);
    }
    let parts = text.split_once('/').and_then(|(per_second, burst)| {
        let (per_second, burst) = (per_second.trim().parse().ok()?, burst.trim().parse().ok()?);
        (burst >= per_second).then_some(Rate { per_second, burst })
    });
    let expected = "so many a second and so many at once, not fewer, such as 100/1000, or off";
    parts.map(Some).ok_or_else(|| ConfigError::new(variable, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_two_numbers_or_off() {
        let read = |value| RateSettings::read(&Env::of([(REQUESTS, value)]));
        let shown = |rate: Option<Rate>| rate.map(|rate| (rate.per_second.get(), rate.burst.get()));
        let settings = RateSettings::read(&Env::default()).expect("defaults");
        assert_eq!((shown(settings.requests), shown(settings.sends)), (Some((100, 1_000)), Some((80, 200))));
        assert_eq!(shown(read("off").expect("off").requests), None);
        assert_eq!(shown(read("5 / 5").expect("a rate").requests), Some((5, 5)));
        for wrong in ["100", "0/5", "5/0", "100/50", "fast", "1/2/3", "-1/5"] {
            assert_eq!(read(wrong).expect_err(wrong).variable, REQUESTS, "{wrong}");
        }
    }
}
