//! The settings of the log.

use tracing_subscriber::filter::LevelFilter;

use super::{ConfigError, Env};

/// The default filter: PostgreSQL's notices at each start have no use.
const DEFAULT: &str = "info,sqlx::postgres::notice=warn";
/// The default for people at a terminal, where the line of each request would hide the rest.
const AT_A_TERMINAL: &str = "info,sqlx::postgres::notice=warn,windu::http::middleware::trace=warn";

/// `WINDU_LOG` and `WINDU_LOG_FORMAT`.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Directives of tracing's `EnvFilter`, such as `info` or `windu=debug,info`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogSettings {
    /// The variables that [`LogSettings::read`] reads.
    pub const NAMES: &[&str] = &["WINDU_LOG", "WINDU_LOG_FORMAT"];

    /// `terminal`: whether the log goes to one.
    pub fn read(env: &Env, terminal: bool) -> Result<Self, ConfigError> {
        let format = match env.get("WINDU_LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => return Err(ConfigError::new("WINDU_LOG_FORMAT", "write text or json")),
        };
        let default = if terminal && format == LogFormat::Text { AT_A_TERMINAL } else { DEFAULT };
        let filter = env.get("WINDU_LOG").unwrap_or(default);
        if !filter.split(',').all(is_directive) {
            return Err(ConfigError::new(
                "WINDU_LOG",
                "write error, warn, info, debug, trace or off, also for a part alone, such as windu=debug,info",
            ));
        }
        Ok(Self { filter: filter.to_owned(), format })
    }
}

/// Whether this is a level, or `target=level`. `EnvFilter` would take a level that it does not know for a target, and log
/// all of that.
fn is_directive(text: &str) -> bool {
    let (target, level) = text.trim().rsplit_once('=').unwrap_or(("windu", text.trim()));
    !target.is_empty() && level.parse::<LevelFilter>().is_ok() && !level.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_not_known_is_refused() {
        let read = |value| LogSettings::read(&Env::of([("WINDU_LOG", value)]), false);
        for value in ["warning", "windu=loud", "debug,windu", "=info", "info,", "windu="] {
            assert_eq!(read(value).expect_err(value).variable, "WINDU_LOG", "{value}");
        }
        for value in ["off", "INFO", DEFAULT, AT_A_TERMINAL, "windu::sessions=trace, warn"] {
            assert_eq!(read(value).expect(value).filter, value);
        }
    }
}
