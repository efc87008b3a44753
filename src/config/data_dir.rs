//! The data folder: the cluster, the secret key, uploaded media.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// What to do when something that is made on the first start is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it: `serve` and `migrate`.
    Create,
    /// Say so: every other command.
    Refuse,
}

/// Makes the folder, and those above it, where they are missing; gives its path without links.
///
/// A new folder is ours alone (0700). As root others may pass through it (0711), because PostgreSQL, which refuses
/// to run as root, must reach its own part; everything else in it is closed by itself. A folder that was there
/// keeps its mode.
///
/// # Errors
/// When a folder cannot be made, or something that is not a folder is in the way.
pub fn make(path: &Path) -> io::Result<PathBuf> {
    let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
    make_missing(path, mode)?;
    let path = fs::canonicalize(path)?;
    if path.is_dir() { Ok(path) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn make_missing(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_missing(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // The process's umask may have taken away what others need to pass.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
