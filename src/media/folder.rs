//! The folder of a storage on the disk: how it is made, and what killed programs leave in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::SystemTime;

use crate::config::data_dir;

/// Makes it, closed to others, but not the folders above it: the data folder may be one of them, and PostgreSQL passes through it.
pub(super) fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        data_dir::make(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Removes files that were half written before that time: the storage marks them by `#` and a number.
pub(super) fn sweep(folder: &Path, before: SystemTime) -> io::Result<()> {
    for part in fs::read_dir(folder)? {
        let part = part?;
        if !part.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(part.path())? {
            let file = file?;
            if file.file_name().as_encoded_bytes().contains(&b'#') && file.metadata()?.modified()? < before {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}
