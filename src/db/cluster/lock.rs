//! Who uses the cluster, and whose turn it is to start or stop it: two lock files in the data folder.
//!
//! The locks are the kernel's, so they end with their program, however it ends; a count in a file would not.
//! A program *uses* the cluster while it holds `cluster.users` shared. Starting, stopping and restarting need
//! `cluster.lock` alone; with it in hand, whoever gets `cluster.users` alone knows that nobody else uses the cluster.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::error::ClusterError;
use crate::db::cluster::blocking::Cancel;

/// Longer than a start or a stop may take.
const TURN: Duration = Duration::from_mins(11);

/// The right to start or stop the cluster.
pub(super) struct Turn(File);

/// The sign that this program uses the cluster.
pub(super) struct Presence(File);

impl Turn {
    /// Waits until no other program starts or stops the cluster.
    pub(super) fn take(data_dir: &Path, cancel: &Cancel) -> Result<Self, ClusterError> {
        let path = data_dir.join("cluster.lock");
        let file = open(&path)?;
        let turn = cancel.wait("another program starts or stops the database", TURN, || {
            Ok(exclusive(&file, &path)?.then_some(()))
        })?;
        if turn.is_some() { Ok(Self(file)) } else { Err(ClusterError::Busy(path)) }
    }

    /// The same, if it is free now.
    pub(super) fn take_now(data_dir: &Path) -> Result<Option<Self>, ClusterError> {
        let path = data_dir.join("cluster.lock");
        let file = open(&path)?;
        Ok(exclusive(&file, &path)?.then_some(Self(file)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing would do, but not while a child between fork and exec still has the file open.
        let _ = self.0.unlock();
    }
}

impl Presence {
    /// Says that this program uses the cluster. Nobody keeps it alone without the turn, so it never waits.
    pub(super) fn enter(data_dir: &Path, _turn: &Turn) -> Result<Self, ClusterError> {
        let path = data_dir.join("cluster.users");
        let file = open(&path)?;
        file.lock_shared().map_err(ClusterError::at(&path))?;
        Ok(Self(file))
    }

    /// Whether no other program uses the cluster. Holds on to the presence.
    pub(super) fn alone(&self, data_dir: &Path, _turn: &Turn) -> Result<bool, ClusterError> {
        let path = data_dir.join("cluster.users");
        self.0.unlock().map_err(ClusterError::at(&path))?;
        let alone = exclusive(&self.0, &path)?;
        self.0.lock_shared().map_err(ClusterError::at(&path))?;
        Ok(alone)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn exclusive(file: &File, path: &Path) -> Result<bool, ClusterError> {
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
