//! The data folder: the cluster, the secret key, uploaded media.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::{ConfigError, Env};

/// What to do when the cluster or the key, which the first start creates, is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Create it: `serve` and `migrate`.
    Create,
    /// Fail: every other command.
    Refuse,
}

/// The data folder when no variable names one: one place per user, wherever the program is started.
///
/// # Errors
/// When the user has no home.
pub fn default_folder(env: &Env) -> Result<PathBuf, ConfigError> {
    if Uid::effective().is_root() {
        return Ok(PathBuf::from("/var/lib/windu"));
    }
    // A relative path does not count (XDG Base Directory Specification).
    let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("windu")).ok_or_else(|| {
        ConfigError::new(
            "WINDU_DATA_DIR",
            "name a folder for the data: this user has no home (HOME is not set)",
        )
    })
}

/// Creates the folder, and those above it, where they are missing. Returns its path without links.
///
/// A new folder is accessible to its owner only (0700). For root it can be passed through (0711), because PostgreSQL,
/// which refuses to run as root, must reach its own part; everything else in it has closed modes. An existing folder
/// keeps its mode.
pub fn make(path: &Path) -> io::Result<PathBuf> {
    let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
    create_missing(path, mode)?;
    let path = fs::canonicalize(path)?;
    if path.is_dir() { Ok(path) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn create_missing(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_missing(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // The process's umask may have removed the permission to pass.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
