//! The settings of the database.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ConfigError, Env, data_dir};

/// `DATABASE_URL`, `WINDU_DATA_DIR`, `WINDU_PG_BIN` and `WINDU_MIGRATE`.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// `None`: the private cluster in the data folder. The URL may hold a password.
    pub url: Option<String>,
    /// May not exist yet.
    pub data_dir: PathBuf,
    /// The folder of PostgreSQL's programs, for the private cluster; `None`: the installed ones.
    pub pg_bin: Option<PathBuf>,
    /// Whether the server migrates the tables to its version at the start.
    pub migrate: bool,
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DatabaseSettings")
            .field("has_url", &self.url.is_some())
            .field("data_dir", &self.data_dir)
            .field("pg_bin", &self.pg_bin)
            .field("migrate", &self.migrate)
            .finish()
    }
}

impl DatabaseSettings {
    /// The variables that [`DatabaseSettings::read`] reads.
    pub const NAMES: &[&str] = &["DATABASE_URL", "WINDU_DATA_DIR", "WINDU_PG_BIN", "WINDU_MIGRATE"];

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
            None | Some("auto") => true,
            Some("off") => false,
            Some(_) => return Err(ConfigError::new("WINDU_MIGRATE", "write auto or off")),
        };
        let data_dir = match env.get("WINDU_DATA_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => data_dir::default_folder(env)?,
        };
        Ok(Self { url, data_dir, pg_bin, migrate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_means_a_private_cluster_in_the_users_data_folder() {
        let read = |values: &[(&str, &str)]| DatabaseSettings::read(&Env::of(values.iter().copied()));
        let home = ("HOME", "/home/ann");
        let settings = read(&[home]).expect("settings");
        assert_eq!(settings.url, None);
        assert!(settings.migrate);
        let folder = |values: &[(&str, &str)]| read(values).expect("settings").data_dir;
        if nix::unistd::Uid::effective().is_root() {
            assert_eq!(settings.data_dir, Path::new("/var/lib/windu"));
        } else {
            assert_eq!(settings.data_dir, Path::new("/home/ann/.local/share/windu"));
            assert_eq!(folder(&[home, ("XDG_DATA_HOME", "/data")]), Path::new("/data/windu"));
            assert_eq!(folder(&[home, ("XDG_DATA_HOME", "data")]), settings.data_dir);
            assert_eq!(read(&[]).expect_err("no home").variable, "WINDU_DATA_DIR");
        }
        assert_eq!(folder(&[home, ("WINDU_DATA_DIR", "data")]), Path::new("data"));
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
