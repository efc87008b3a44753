//! A file that appears under its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use tempfile::NamedTempFile;

/// The beginning of the names of files that are being written.
const HIDDEN: &str = ".windu-";

/// A file with mode 0600 that gets its name, which must be free, when it is kept; else nothing is left of it.
pub struct NewFile<'a> {
    path: &'a Path,
    pub folder: &'a Path,
    draft: Draft,
}

enum Draft {
    /// Without a name, so that nothing is left of it after a kill either.
    Unnamed(File),
    /// Under a hidden name: the file system, or the system, has no files without one.
    Hidden(NamedTempFile),
}

impl<'a> NewFile<'a> {
    pub fn create(path: &'a Path) -> anyhow::Result<Self> {
        if path.symlink_metadata().is_ok() {
            bail!("{} exists already: name another file", path.display());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = match unnamed(folder) {
            Ok(file) => Draft::Unnamed(file),
            Err(_) => Draft::Hidden(
                hidden(folder).with_context(|| format!("{}: cannot be written", folder.display()))?,
            ),
        };
        Ok(Self { path, folder, draft })
    }

    pub fn file(&self) -> &File {
        match &self.draft {
            Draft::Unnamed(file) => file,
            Draft::Hidden(file) => file.as_file(),
        }
    }

    pub fn keep(self) -> anyhow::Result<()> {
        let unwritable = || format!("{}: cannot be written", self.path.display());
        self.file().sync_all().with_context(unwritable)?;
        let named = match self.draft {
            Draft::Unnamed(file) => {
                let source = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(AT_FDCWD, source.as_str(), AT_FDCWD, self.path, AtFlags::AT_SYMLINK_FOLLOW)
                    .map_err(io::Error::from)
            }
            Draft::Hidden(file) => file.persist_noclobber(self.path).map(drop).map_err(|failed| failed.error),
        };
        named.with_context(unwritable)?;
        File::open(self.folder).and_then(|folder| folder.sync_all()).with_context(unwritable)
    }
}

/// A file under a hidden name, which is locked as long as it is open: without a lock it is one of a killed process.
fn hidden(folder: &Path) -> io::Result<NamedTempFile> {
    for entry in fs::read_dir(folder)?.filter_map(Result::ok) {
        let is_draft = entry.file_name().to_string_lossy().starts_with(HIDDEN);
        if is_draft && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // One that cannot be removed only takes disk space.
            let _ = fs::remove_file(entry.path());
        }
    }
    loop {
        let file = NamedTempFile::with_prefix_in(HIDDEN, folder)?;
        // A file system without locks removes nothing either.
        let _ = file.as_file().lock();
        // Somebody else may have removed it before it was locked.
        if file.path().exists() {
            return Ok(file);
        }
    }
}

#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_TMPFILE.bits())
        .open(folder)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_hidden_file_of_a_killed_process_is_removed_and_that_of_a_running_one_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = folder.path().join(".windu-killed");
        fs::write(&killed, "a part of a backup").expect("written");
        let running = hidden(folder.path()).expect("a file");
        assert!(!killed.exists());
        let other = hidden(folder.path()).expect("another file");
        assert!(running.path().exists() && other.path().exists());
        assert_eq!(running.as_file().metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        drop((running, other));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
