//! The two lock files of the data folder: one for the programs that use the cluster, one for the program that starts or
//! stops it.
//!
//! The kernel releases a lock when its program ends, however that happens; a count in a file would stay.
//! A program *uses* the cluster while it holds a shared lock on `cluster.users`. Starting, stopping and restarting need
//! the exclusive lock on `cluster.lock`; its holder can find out whether it is the only user, by an exclusive lock on
//! `cluster.users`.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::error::ClusterError;
use crate::db::cluster::blocking::Cancel;

/// Longer than a start or a stop may take.
const CONTROL_TIMEOUT: Duration = Duration::from_mins(11);

/// The right to start or stop the cluster.
pub(super) struct ControlLock(File);

/// A shared lock that shows that this program uses the cluster.
pub(super) struct ClusterUse(File);

impl ControlLock {
    /// Waits until no other program starts or stops the cluster.
    pub(super) fn acquire(data_dir: &Path, cancel: &Cancel) -> Result<Self, ClusterError> {
        let path = data_dir.join("cluster.lock");
        let file = open(&path)?;
        let locked = cancel.wait("another program starts or stops the database", CONTROL_TIMEOUT, || {
            Ok(try_lock_exclusive(&file, &path)?.then_some(()))
        })?;
        if locked.is_some() { Ok(Self(file)) } else { Err(ClusterError::Busy(path)) }
    }

    /// The same without waiting; `None` when another program holds it.
    pub(super) fn try_acquire(data_dir: &Path) -> Result<Option<Self>, ClusterError> {
        let path = data_dir.join("cluster.lock");
        let file = open(&path)?;
        Ok(try_lock_exclusive(&file, &path)?.then_some(Self(file)))
    }
}

impl Drop for ControlLock {
    fn drop(&mut self) {
        // Closing is not enough while a child between fork and exec still has the file open.
        let _ = self.0.unlock();
    }
}

impl ClusterUse {
    /// Registers this program as a user of the cluster. Never waits: only a holder of the control lock takes the
    /// exclusive lock.
    pub(super) fn register(data_dir: &Path, _control_lock: &ControlLock) -> Result<Self, ClusterError> {
        let path = data_dir.join("cluster.users");
        let file = open(&path)?;
        file.lock_shared().map_err(ClusterError::at(&path))?;
        Ok(Self(file))
    }

    /// Whether no other program uses the cluster. This program stays registered.
    pub(super) fn is_only_user(
        &self,
        data_dir: &Path,
        _control_lock: &ControlLock,
    ) -> Result<bool, ClusterError> {
        let path = data_dir.join("cluster.users");
        self.0.unlock().map_err(ClusterError::at(&path))?;
        let is_only_user = try_lock_exclusive(&self.0, &path)?;
        self.0.lock_shared().map_err(ClusterError::at(&path))?;
        Ok(is_only_user)
    }
}

impl Drop for ClusterUse {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn try_lock_exclusive(file: &File, path: &Path) -> Result<bool, ClusterError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(ClusterError::at(path)(error)),
    }
}

fn open(path: &Path) -> Result<File, ClusterError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(ClusterError::at(path))
}
