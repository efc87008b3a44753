//! Where the database is.

use std::path::{Path, PathBuf};

use super::{ConfigError, Env};

/// Whether the program brings the schema up to date when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Yes, the default.
    Auto,
    /// No: `windu migrate` is run by hand.
    Off,
}

/// The database's settings. Debug shows no URL, which holds a password.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// `DATABASE_URL`; `None` means the private cluster in the data folder.
    pub url: Option<String>,
    /// `WINDU_DATA_DIR`, `./data` when unset; not made yet.
    pub data_dir: PathBuf,
    /// `WINDU_PG_BIN`: the folder of PostgreSQL's programs, for the private cluster.
    pub pg_bin: Option<PathBuf>,
    /// `WINDU_MIGRATE`.
    pub migrate: Migrate,
}

impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DatabaseSettings")
            .field("url", &self.url.as_ref().map(|_| ".."))
            .field("data_dir", &self.data_dir)
            .field("pg_bin", &self.pg_bin)
            .field("migrate", &self.migrate)
            .finish()
    }
}

impl DatabaseSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a value cannot be used; names its variable.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let url = env.get("DATABASE_URL").map(str::to_owned);
        if let Some(url) = &url
            && !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
        {
            return Err(ConfigError::new(
                "DATABASE_URL",
                "a URL such as postgres://user:password@host/database is expected; \
                 without one Windu runs a private PostgreSQL of its own",
            ));
        }
        let pg_bin = env.get("WINDU_PG_BIN").map(PathBuf::from);
        if pg_bin.as_deref().is_some_and(Path::is_relative) {
            return Err(ConfigError::new("WINDU_PG_BIN", "the folder's whole path is expected"));
        }
        let migrate = match env.get("WINDU_MIGRATE") {
            None | Some("auto") => Migrate::Auto,
            Some("off") => Migrate::Off,
            Some(_) => return Err(ConfigError::new("WINDU_MIGRATE", "auto or off is expected")),
        };
        let data_dir = PathBuf::from(env.get("WINDU_DATA_DIR").unwrap_or("./data"));
        Ok(Self { url, data_dir, pg_bin, migrate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_means_a_private_cluster_in_data() {
        let settings = DatabaseSettings::read(&Env::default()).expect("settings");
        assert_eq!(settings.url, None);
        assert_eq!(settings.data_dir, Path::new("./data"));
        assert_eq!(settings.migrate, Migrate::Auto);
    }

    #[test]
    fn an_error_names_its_variable_and_debug_hides_the_password() {
        for (name, value) in
            [("DATABASE_URL", "mysql://x"), ("WINDU_MIGRATE", "yes"), ("WINDU_PG_BIN", "bin")]
        {
            let error = DatabaseSettings::read(&Env::of([(name, value)])).expect_err("refused");
            assert_eq!(error.variable, name);
        }
        let settings = DatabaseSettings::read(&Env::of([("DATABASE_URL", "postgres://u:hidden@h/d")]));
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
