//! A file that appears under its name only when it is whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use tempfile::NamedTempFile;

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
                NamedTempFile::with_prefix_in(".windu-", folder)
                    .with_context(|| format!("{}: cannot be written", folder.display()))?,
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
        self.file().sync_all()?;
        let named = match self.draft {
            Draft::Unnamed(file) => {
                let source = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(AT_FDCWD, source.as_str(), AT_FDCWD, self.path, AtFlags::AT_SYMLINK_FOLLOW)
                    .map_err(io::Error::from)
            }
            Draft::Hidden(file) => file.persist_noclobber(self.path).map(drop).map_err(|failed| failed.error),
        };
        named.with_context(|| format!("{}: cannot be written", self.path.display()))?;
        Ok(File::open(self.folder)?.sync_all()?)
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
