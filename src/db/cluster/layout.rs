//! The paths of the cluster in the data folder, their owners, and the place of the socket.
//!
//! ```text
//! DATA/               0700; as root 0711, so that the cluster's user passes
//! DATA/cluster.lock   DATA/cluster.users   DATA/postgres.log
//! DATA/pg/            0700, the cluster's user: the socket, and
//! DATA/pg/data/       the cluster
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use nix::unistd::{Uid, User};

use super::error::ClusterError;
use crate::config::Missing;
use crate::config::data_dir;
use crate::secrets;

/// Part of the socket's name only: nothing listens on TCP.
pub(super) const PORT: u16 = 5432;
/// The length that `sockaddr_un` can hold, without the closing NUL.
const LONGEST_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The paths of one cluster, and the user that runs it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) data_dir: PathBuf,
    /// Everything that belongs to the cluster's user.
    pub(super) folder: PathBuf,
    pub(super) cluster: PathBuf,
    pub(super) log: PathBuf,
    runner: Option<User>,
}

impl Layout {
    /// Finds the folders, makes the data folder unless `missing` refuses that, and checks that PostgreSQL can work there.
    pub(super) fn prepare(data_dir: &Path, missing: Missing) -> Result<Self, ClusterError> {
        let refuse = |data_dir: &Path| Err(ClusterError::Missing(data_dir.to_owned()));
        if missing == Missing::Refuse && !data_dir.try_exists().map_err(ClusterError::at(data_dir))? {
            return refuse(data_dir);
        }
        let data_dir = data_dir::make(data_dir).map_err(ClusterError::at(data_dir))?;
        let folder = data_dir.join("pg");
        let (us, owner) = (Uid::effective(), owner_of(&folder)?);
        let runner = if us.is_root() {
            let user = match owner.filter(|owner| !owner.is_root()) {
                Some(owner) => User::from_uid(owner),
                None => User::from_name("postgres"),
            };
            Some(user.ok().flatten().ok_or(ClusterError::NoRunner)?)
        } else {
            if let Some(owner) = owner.filter(|owner| *owner != us) {
                return Err(ClusterError::NotOurs { folder, owner: owner.as_raw() });
            }
            None
        };
        let (cluster, log) = (folder.join("data"), data_dir.join("postgres.log"));
        if missing == Missing::Refuse && !cluster.exists() {
            return refuse(&data_dir);
        }
        let layout = Self { data_dir, folder, cluster, log, runner };
        layout.check_entry()?;
        Ok(layout)
    }

    /// Makes the folder of the cluster's user. The caller holds the control lock.
    pub(super) fn make_folder(&self) -> Result<(), ClusterError> {
        own_folder(&self.folder, self.runner.as_ref()).map_err(ClusterError::at(&self.folder))
    }

    /// The version that made the cluster; `None` when there is no cluster yet.
    pub(super) fn version(&self) -> Result<Option<u32>, ClusterError> {
        match fs::read_to_string(self.cluster.join("PG_VERSION")) {
            Ok(text) => match text.trim().split('.').next().and_then(|major| major.parse().ok()) {
                Some(major) => Ok(Some(major)),
                None => Err(ClusterError::Damaged(self.cluster.clone())),
            },
            Err(_) if self.cluster.exists() => Err(ClusterError::Damaged(self.cluster.clone())),
            Err(_) => Ok(None),
        }
    }

    /// The folder for the socket: beside the cluster, or, when that path is too long for a socket, one that only
    /// the cluster's user can enter in the system's run or temp folder. Makes it.
    pub(super) fn socket_folder(&self) -> Result<PathBuf, ClusterError> {
        if fits(&self.folder) {
            return Ok(self.folder.clone());
        }
        let hash = HEXLOWER.encode(&secrets::sha256(self.data_dir.as_os_str().as_bytes())[..8]);
        let run = Path::new("/run");
        let parents = if self.runner.is_some() && run.is_dir() {
            [run.to_owned(), "/tmp".into()]
        } else {
            // Not a user's own run folder: it vanishes when the user logs out, and the server may stay.
            [std::env::temp_dir(), "/tmp".into()]
        };
        let folder = parents
            .into_iter()
            .map(|parent| parent.join(format!("windu-{hash}")))
            .find(|folder| fits(folder))
            .ok_or_else(|| {
                ClusterError::SocketFolder(self.folder.clone(), "the path is too long".to_owned())
            })?;
        match own_folder(&folder, self.runner.as_ref()) {
            Ok(()) => Ok(folder),
            Err(error) => Err(ClusterError::SocketFolder(folder, error.to_string())),
        }
    }

    /// Removes the socket's folder if it is outside the data folder and empty.
    pub(super) fn remove_socket_folder(&self, sockets: &Path) {
        if sockets != self.folder {
            // An error does no harm: the folder is made again when it is needed.
            let _ = fs::remove_dir(sockets);
        }
    }

    /// A program of PostgreSQL, run as the cluster's user, with only the environment variables that it needs: others
    /// hold secrets.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.folder).stdin(Stdio::null());
        if let Some(runner) = &self.runner {
            command.uid(runner.uid.as_raw()).gid(runner.gid.as_raw());
        }
        command
    }

    /// Checks that the cluster's user can enter the data folder.
    fn check_entry(&self) -> Result<(), ClusterError> {
        let Some(runner) = &self.runner else { return Ok(()) };
        // The change of folder happens after the change of user.
        let tried = self.command(Path::new("/bin/sh")).args(["-c", ":"]).current_dir(&self.data_dir).status();
        match tried {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let folder = self.closed_folder();
                let remedy = if folder == self.data_dir {
                    format!("Let it pass through: chmod o+x {}", folder.display())
                } else {
                    "Choose another data folder, for example WINDU_DATA_DIR=/var/lib/windu".to_owned()
                };
                Err(ClusterError::Closed { user: runner.name.clone(), folder, remedy })
            }
            tried => tried.map(drop).map_err(ClusterError::at(&self.data_dir)),
        }
    }

    /// The outermost folder on the way to the data folder that is not open to everybody.
    fn closed_folder(&self) -> PathBuf {
        let mut path: Vec<&Path> = self.data_dir.ancestors().collect();
        path.reverse();
        let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
        path.into_iter().find(closed).unwrap_or(&self.data_dir).to_owned()
    }
}

/// The name of the socket in its folder.
pub(super) fn socket_in(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

/// A folder as an item of a PostgreSQL setting that is a list.
pub(super) fn quoted(folder: &Path) -> OsString {
    let mut quoted = vec![b'"'];
    for &byte in folder.as_os_str().as_bytes() {
        if byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    OsString::from_vec(quoted)
}

fn fits(folder: &Path) -> bool {
    let length = |path: &OsStr| path.as_bytes().len();
    length(socket_in(folder).as_os_str()) <= LONGEST_SOCKET_PATH
}

fn owner_of(folder: &Path) -> Result<Option<Uid>, ClusterError> {
    match fs::symlink_metadata(folder) {
        Ok(metadata) => Ok(Some(Uid::from_raw(metadata.uid()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClusterError::at(folder)(error)),
    }
}

/// Makes a folder that only `runner` (`None`: this program's user) can enter. An existing folder must be exactly that:
/// in a temp folder anybody may have made it first.
fn own_folder(folder: &Path, runner: Option<&User>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(folder)?;
    let us = Uid::effective().as_raw();
    let owner = runner.map_or(us, |runner| runner.uid.as_raw());
    if !metadata.is_dir() || metadata.mode() & 0o077 != 0 || ![owner, us].contains(&metadata.uid()) {
        return Err(io::Error::other("it exists, but is not a folder that only its owner can enter"));
    }
    match runner {
        // Just made, or left like this by a program that was killed before the next line.
        Some(runner) if metadata.uid() == us => {
            lchown(folder, Some(runner.uid.as_raw()), Some(runner.gid.as_raw()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_is_quoted_as_postgresql_reads_lists() {
        assert_eq!(quoted(Path::new("/a b,c")), "\"/a b,c\"");
        assert_eq!(quoted(Path::new("/a\"b")), "\"/a\"\"b\"");
    }

    #[test]
    fn a_folder_that_others_can_enter_and_a_link_are_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let open = parent.path().join("open");
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("a mode");
        assert!(own_folder(&open, None).is_err());
        let link = parent.path().join("link");
        symlink(parent.path(), &link).expect("a link");
        assert!(own_folder(&link, None).is_err());
        let ours = parent.path().join("ours");
        own_folder(&ours, None).expect("made");
        own_folder(&ours, None).expect("found");
    }
}
