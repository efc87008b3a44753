//! The state of a cluster's server, from `postmaster.pid` and the process that it names.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::ClusterError;

/// The state of a cluster's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Postmaster {
    /// There is neither a server nor its file.
    Absent,
    /// The file of a server that was killed. Its process id may belong to another program now.
    Stale,
    /// The file is being written, or was cut off.
    Unreadable,
    /// Also while it recovers from a crash.
    Starting(Pid),
    /// Ready for queries; its socket is in that folder. A socket that accepts is not enough: the server refuses
    /// queries (57P03) until its file says `ready`.
    Ready(Pid, PathBuf),
    Stopping(Pid),
}

impl Postmaster {
    /// The state of the server of the cluster in that folder.
    pub(super) fn of(cluster: &Path) -> Result<Self, ClusterError> {
        let path = cluster.join("postmaster.pid");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(ClusterError::at(&path)(error)),
        };
        let parsed = parse(&bytes);
        Ok(match parsed {
            Self::Starting(pid) | Self::Ready(pid, _) | Self::Stopping(pid) if !lives(pid, cluster) => {
                Self::Stale
            }
            parsed => parsed,
        })
    }

    /// The process, if there is one.
    pub(super) fn pid(&self) -> Option<Pid> {
        match self {
            Self::Absent | Self::Stale | Self::Unreadable => None,
            Self::Starting(pid) | Self::Ready(pid, _) | Self::Stopping(pid) => Some(*pid),
        }
    }
}

/// Asks a server to stop: SIGINT ends the connections and then the server, SIGQUIT just ends.
pub(super) fn signal(pid: Pid, signal: Signal) -> Result<(), ClusterError> {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(ClusterError::Program { program: "kill", output: error.to_string() }),
    }
}

/// The lines: process id, cluster, start time, port, socket folder, listen address, shared memory, status.
fn parse(bytes: &[u8]) -> Postmaster {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    let pid = lines.first().and_then(|line| std::str::from_utf8(line).ok()).and_then(|pid| pid.parse().ok());
    let Some(pid) = pid else { return Postmaster::Unreadable };
    // A server without clients (`postgres --single`) writes its id with a minus.
    let pid: i32 = pid;
    let pid = Pid::from_raw(pid.saturating_abs());
    match (lines.get(7).copied(), lines.get(4)) {
        (Some(b"ready"), Some(folder)) => Postmaster::Ready(pid, PathBuf::from(OsStr::from_bytes(folder))),
        (Some(b"stopping"), _) => Postmaster::Stopping(pid),
        _ => Postmaster::Starting(pid),
    }
}

/// Whether the process is a live server of this cluster. After a crash or a reboot any process may have its id.
fn lives(pid: Pid, cluster: &Path) -> bool {
    if matches!(kill(pid, None), Err(Errno::ESRCH)) {
        return false;
    }
    let name = cluster.as_os_str().as_bytes();
    if Path::new("/proc/self/stat").exists() {
        let status = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the program's name, which is in parentheses and may contain any character.
        let after_name = status.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 1);
        if matches!(status[after_name..].trim_ascii_start().first(), None | Some(b'Z' | b'X')) {
            return false;
        }
        // The working directory of a server is its cluster's folder. Root cannot read that link in most containers, so
        // the command line counts too.
        let runs_there = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == cluster);
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return runs_there || command.split(|byte| *byte == 0).any(|argument| argument == name);
    }
    let Ok(output) =
        Command::new("ps").args(["-ww", "-o", "stat=,command=", "-p", &pid.to_string()]).output()
    else {
        return true;
    };
    !output.stdout.trim_ascii_start().starts_with(b"Z")
        && output.stdout.windows(name.len()).any(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &[u8] = b"4242\n/d/pg/data\n1700000000\n5432\n/d/pg\n\n  1234  5678\nready   \n";

    #[test]
    fn the_eighth_line_is_the_state() {
        let pid = Pid::from_raw(4242);
        assert_eq!(parse(READY), Postmaster::Ready(pid, "/d/pg".into()));
        let text = String::from_utf8_lossy(READY);
        assert_eq!(parse(text.replace("ready   ", "starting").as_bytes()), Postmaster::Starting(pid));
        assert_eq!(parse(text.replace("ready   ", "stopping").as_bytes()), Postmaster::Stopping(pid));
        assert_eq!(parse(b"-4242\n/d/pg/data\n"), Postmaster::Starting(pid));
        assert_eq!(parse(b""), Postmaster::Unreadable);
    }

    #[test]
    fn a_process_id_of_another_program_is_stale() {
        let cluster = tempfile::tempdir().expect("a folder");
        assert_eq!(Postmaster::of(cluster.path()).expect("read"), Postmaster::Absent);
        let ours = String::from_utf8_lossy(READY).replace("4242", &std::process::id().to_string());
        fs::write(cluster.path().join("postmaster.pid"), ours).expect("a file");
        assert_eq!(Postmaster::of(cluster.path()).expect("read"), Postmaster::Stale);
    }
}
