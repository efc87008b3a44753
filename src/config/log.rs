//! The settings of the log.

use super::{ConfigError, Env};

/// The default filter: PostgreSQL's notices at each start have no use.
const DEFAULT: &str = "info,sqlx::postgres::notice=warn";

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

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let format = match env.get("WINDU_LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => return Err(ConfigError::new("WINDU_LOG_FORMAT", "write text or json")),
        };
        Ok(Self { filter: env.get("WINDU_LOG").unwrap_or(DEFAULT).to_owned(), format })
    }
}
