//! How long things are stored.

use std::time::Duration;

use super::{ConfigError, Env};

const AUDIT: &str = "WINDU_AUDIT_RETENTION";
const EVENTS: &str = "WINDU_EVENT_RETENTION";
const MESSAGES: &str = "WINDU_MESSAGE_RETENTION";
const MEDIA: &str = "WINDU_MEDIA_RETENTION";

/// Younger messages may still be on their way, or come again from their network.
const SHORTEST: Duration = Duration::from_hours(48);

/// `WINDU_AUDIT_RETENTION`, `WINDU_EVENT_RETENTION`, `WINDU_MESSAGE_RETENTION` and `WINDU_MEDIA_RETENTION`.
#[derive(Clone, Copy, Debug)]
pub struct RetentionSettings {
    /// Of administrative acts.
    pub acts: Duration,
    /// Of events.
    pub events: Duration,
    /// Of messages; `None`: for good.
    pub messages: Option<Duration>,
    /// Of the files of messages; `None`: as long as the message.
    pub media: Option<Duration>,
}

impl RetentionSettings {
    /// The variables that [`RetentionSettings::read`] reads.
    pub const NAMES: &[&str] = &[AUDIT, EVENTS, MESSAGES, MEDIA];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            acts: env.duration(AUDIT, Duration::from_hours(400 * 24))?,
            events: env.duration(EVENTS, Duration::from_hours(30 * 24))?,
            messages: limited(env, MESSAGES)?,
            media: limited(env, MEDIA)?,
        })
    }
}

fn limited(env: &Env, variable: &'static str) -> Result<Option<Duration>, ConfigError> {
    if env.get(variable).is_none_or(|text| text.trim() == "off") {
        return Ok(None);
    }
    let retention = env.duration(variable, Duration::MAX)?;
    if retention < SHORTEST {
        return Err(ConfigError::new(variable, "at least 2d are possible, or off"));
    }
    Ok(Some(retention))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_media_are_stored_for_good_or_for_days() {
        let read = |text| RetentionSettings::read(&Env::of([(MESSAGES, text), (MEDIA, text)]));
        assert_eq!(read("off").expect("off").messages, None);
        assert_eq!(read("90d").expect("days").media, Some(Duration::from_hours(90 * 24)));
        for wrong in ["1d", "0d", "90", "never"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
