//! Where the database is.

use std::fmt;

use super::{ConfigError, Env};

/// `DATABASE_URL` and `WINDU_MIGRATE`.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// The URL of the database; `None` asks for the private cluster. It may hold a password.
    pub url: Option<String>,
    /// temp
    pub data_dir: std::path::PathBuf,
    /// Whether the server brings the tables to its version at start.
    pub migrate: bool,
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.url.is_some();
        formatter
            .debug_struct("DatabaseSettings")
            .field("url_given", &given)
            .field("migrate", &self.migrate)
            .finish()
    }
}

impl DatabaseSettings {
    /// The variables that [`DatabaseSettings::read`] reads.
    pub const NAMES: &[&str] = &["WINDU_MIGRATE"];

    /// Reads the settings.
    ///
    /// # Errors
    /// When `WINDU_MIGRATE` is neither auto nor off.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let migrate = match env.get("WINDU_MIGRATE") {
            None | Some("auto") => true,
            Some("off") => false,
            Some(_) => return Err(ConfigError::new("WINDU_MIGRATE", "write auto or off")),
        };
        Ok(Self {
            url: env.get("DATABASE_URL").map(str::to_owned),
            migrate,
            data_dir: env.get("WINDU_DATA_DIR").unwrap_or("./data").into(),
        })
    }
}
