//! The master key: from the environment, or generated once and stored in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::data_dir::{self, Missing};
use super::{ConfigError, DatabaseSettings, Env};
use crate::secrets::{self, MasterKey};

const CURRENT: &str = "WINDU_SECRET_KEY";
const OLD: &str = "WINDU_SECRET_KEY_OLD";
const FILE: &str = "secret.key";

/// The variables that [`master_key`] reads.
pub const KEY_NAMES: &[&str] = &[CURRENT, OLD];

/// The master key of this deployment. Blocks on small files.
///
/// With `DATABASE_URL` the key must be set: several programs may share that database, and a key that one of them
/// generated would lock the others out. Otherwise the file `secret.key` (0600) in the data folder holds it.
pub fn master_key(
    env: &Env,
    database: &DatabaseSettings,
    missing: Missing,
) -> Result<MasterKey, ConfigError> {
    let old = env.get(OLD);
    if let Some(old) = old {
        MasterKey::from_base64(old, None).map_err(|error| ConfigError::new(OLD, error.to_string()))?;
    }
    let current = match env.get(CURRENT) {
        Some(key) => key.to_owned(),
        None if database.url.is_some() => {
            return Err(ConfigError::new(
                CURRENT,
                "with DATABASE_URL the key must be set (generate one with: openssl rand -base64 32)",
            ));
        }
        None => stored_key(&database.data_dir, missing)?,
    };
    MasterKey::from_base64(&current, old).map_err(|error| ConfigError::new(CURRENT, error.to_string()))
}

/// The key in the data folder, generated now if there is none.
fn stored_key(data_dir: &Path, missing: Missing) -> Result<String, ConfigError> {
    let path = data_dir.join(FILE);
    let failed = |doing: &str, error: &io::Error| {
        ConfigError::new(CURRENT, format!("not set, and {} cannot be {doing}: {error}", path.display()))
    };
    match read(&path) {
        Ok(key) => return Ok(key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &error)),
    }
    if missing == Missing::Refuse {
        return Err(ConfigError::new(
            "WINDU_DATA_DIR",
            format!(
                "there is no server's data in {} (no {FILE}): name the data folder of your server, or run this as \
                 the user that it runs as",
                data_dir.display()
            ),
        ));
    }
    data_dir::make(data_dir)
        .and_then(|data_dir| create(&data_dir, &MasterKey::generate_base64()))
        .map_err(|error| failed("created", &error))?;
    read(&path).map_err(|error| failed("read", &error))
}

/// Gives this deployment the key of a backup: it must have no other one.
pub fn restore_key(env: &Env, database: &DatabaseSettings, key: &str) -> Result<(), ConfigError> {
    const HOW: &str = "is not the key in the backup, which tar -xOf FILE key.000000 shows";
    if let Some(current) = env.get(CURRENT) {
        return if current.trim() == key { Ok(()) } else { Err(ConfigError::new(CURRENT, HOW)) };
    }
    if database.url.is_some() {
        return Err(ConfigError::new(CURRENT, format!("with DATABASE_URL it must be set; now it {HOW}")));
    }
    let failed = |error: io::Error| {
        ConfigError::new(
            "WINDU_DATA_DIR",
            format!("the key cannot be written to {}: {error}", database.data_dir.display()),
        )
    };
    let data_dir = data_dir::make(&database.data_dir).map_err(failed)?;
    create(&data_dir, key).map_err(failed)?;
    if read(&data_dir.join(FILE)).map_err(failed)?.trim() == key {
        return Ok(());
    }
    let text = format!("{} has a server's key already: restore into an empty folder", data_dir.display());
    Err(ConfigError::new("WINDU_DATA_DIR", text))
}

fn read(path: &Path) -> io::Result<String> {
    let key = fs::read_to_string(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others can read the secret key; protect it with chmod 600");
    }
    Ok(key)
}

/// Creates the file atomically: it is written under another name first, and a link does not replace a key that another
/// program has created meanwhile.
fn create(data_dir: &Path, key: &str) -> io::Result<()> {
    let draft = Draft(data_dir.join(format!("{FILE}.{}.new", secrets::random_id())));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()?;
    match fs::hard_link(&draft.0, data_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    drop(draft);
    File::open(data_dir)?.sync_all()
}

struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // A file that stays is harmless: nothing was sealed with its key.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, url: Option<&str>) -> DatabaseSettings {
        let mut settings = DatabaseSettings::read(&Env::of([("HOME", "/nowhere")])).expect("settings");
        settings.data_dir = folder.join("data");
        settings.url = url.map(str::to_owned);
        settings
    }

    #[test]
    fn a_key_is_generated_once_even_by_many_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), None);
        let refused = master_key(&Env::default(), &settings, Missing::Refuse).expect_err("none yet");
        assert_eq!(refused.variable, "WINDU_DATA_DIR");
        let fingerprints: Vec<String> = std::thread::scope(|scope| {
            let make =
                || master_key(&Env::default(), &settings, Missing::Create).expect("a key").fingerprint();
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().expect("a maker")).collect()
        });
        assert!(fingerprints.iter().all(|one| *one == fingerprints[0]));
        let files: Vec<_> = fs::read_dir(&settings.data_dir)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(files, [FILE]);
        let mode = fs::metadata(settings.data_dir.join(FILE)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_from_the_environment_wins_and_a_shared_database_needs_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let shared = settings(folder.path(), Some("postgres://host/windu"));
        let error = master_key(&Env::default(), &shared, Missing::Create).expect_err("no key");
        assert_eq!(error.variable, CURRENT);
        let (new, old) = (MasterKey::generate_base64(), MasterKey::generate_base64());
        let env = Env::of([(CURRENT, new.as_str()), (OLD, old.as_str())]);
        let key = master_key(&env, &shared, Missing::Refuse).expect("a key");
        let was = MasterKey::from_base64(&old, None).expect("a key").fingerprint();
        assert_eq!(key.old_fingerprint(), Some(was));
        assert!(!shared.data_dir.exists());
    }

    #[test]
    fn a_bad_key_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path(), None);
        let good = MasterKey::generate_base64();
        for (variable, env) in [
            (CURRENT, Env::of([(CURRENT, "hunter2")])),
            (OLD, Env::of([(CURRENT, good.as_str()), (OLD, "hunter2")])),
        ] {
            let error = master_key(&env, &settings, Missing::Create).expect_err("refused");
            assert_eq!(error.variable, variable);
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
