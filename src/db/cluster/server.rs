//! Start and stop of a cluster's server. The caller of each function holds the control lock (see `lock`).

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use super::binaries::Binaries;
use super::error::ClusterError;
use super::layout::{self, Layout, PORT};
use super::lock::{ClusterUse, ControlLock};
use super::postmaster::{self, Postmaster};
use crate::db::cluster::blocking::Cancel;

/// A crash recovery can take minutes.
const START_TIMEOUT: Duration = Duration::from_mins(10);
/// How long the backends of a killed postmaster may take to notice; 4.4 s at most was measured.
const ORPHANS_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a stop may take that ends all connections.
const FAST_STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stop may take that writes no checkpoint either.
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A file that stays unreadable this long is not being written any more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// A log of more bytes is truncated at the next start.
const MAX_LOG_BYTES: u64 = 10 << 20;

/// Makes sure that the server runs and is ready: adopts the one that a killed program left, waits for one that is
/// starting or stopping, starts one otherwise. Returns the folder of its socket: `sockets` for a server started here.
pub(super) fn ensure(
    layout: &Layout,
    binaries: &Binaries,
    sockets: &Path,
    (control_lock, cluster_use): (&ControlLock, &ClusterUse),
    cancel: &Cancel,
) -> Result<PathBuf, ClusterError> {
    let timed_out = |what| ClusterError::TimedOut(what, layout.log.clone());
    loop {
        match Postmaster::of(&layout.cluster)? {
            Postmaster::Ready(_, folder) if layout::socket_in(&folder).exists() => return Ok(folder),
            Postmaster::Ready(..) if cluster_use.is_only_user(&layout.data_dir, control_lock)? => {
                stop(layout, cancel)?;
            }
            Postmaster::Ready(..) => return Err(ClusterError::SocketMissing),
            found @ (Postmaster::Starting(_) | Postmaster::Stopping(_)) => {
                let changed = || Ok((Postmaster::of(&layout.cluster)? != found).then_some(()));
                cancel
                    .wait("PostgreSQL starts or stops", START_TIMEOUT, changed)?
                    .ok_or_else(|| timed_out("start or stop"))?;
            }
            Postmaster::Unreadable => {
                let readable =
                    || Ok((Postmaster::of(&layout.cluster)? != Postmaster::Unreadable).then_some(()));
                if cancel.wait("PostgreSQL writes its file", WRITE_TIMEOUT, readable)?.is_none() {
                    remove_files(layout, sockets)?;
                }
            }
            Postmaster::Stale | Postmaster::Absent => start(layout, binaries, sockets, cancel)?,
        }
    }
}

/// Stops the server, if there is one: in good order, or, when that takes too long, at once. The latter costs a recovery
/// at the next start, but no data.
pub(super) fn stop(layout: &Layout, cancel: &Cancel) -> Result<(), ClusterError> {
    let Some(pid) = Postmaster::of(&layout.cluster)?.pid() else { return Ok(()) };
    let ended = || Ok((Postmaster::of(&layout.cluster)?.pid() != Some(pid)).then_some(()));
    for (signal, timeout) in [(Signal::SIGINT, FAST_STOP_TIMEOUT), (Signal::SIGQUIT, IMMEDIATE_STOP_TIMEOUT)]
    {
        postmaster::signal(pid, signal)?;
        if cancel.wait("PostgreSQL stops", timeout, ended)?.is_some() {
            return Ok(());
        }
    }
    Err(ClusterError::TimedOut("stop", layout.log.clone()))
}

/// Starts the server and waits until it is ready. A server refuses to start while the backends of a killed postmaster
/// still hold the shared memory, so the start is tried again.
fn start(layout: &Layout, binaries: &Binaries, sockets: &Path, cancel: &Cancel) -> Result<(), ClusterError> {
    remove_files(layout, sockets)?;
    let attempt = || match start_once(layout, binaries, sockets, cancel) {
        Err(ClusterError::Program { output, .. }) if output.contains("shared memory block") => Ok(None),
        result => result.map(Some),
    };
    cancel
        .wait("the rest of a killed PostgreSQL ends", ORPHANS_TIMEOUT, attempt)?
        .ok_or_else(|| ClusterError::TimedOut("start", layout.log.clone()))
}

fn start_once(
    layout: &Layout,
    binaries: &Binaries,
    sockets: &Path,
    cancel: &Cancel,
) -> Result<(), ClusterError> {
    let (log, log_length) = open_log(&layout.log).map_err(ClusterError::at(&layout.log))?;
    let mut command = layout.command(&binaries.program("postgres"));
    command.arg("-D").arg(&layout.cluster).args(["-p", &PORT.to_string()]);
    command.arg("-k").arg(layout::quoted(sockets)).args(["-c", "unix_socket_permissions=0700"]);
    // No TCP. No values of rows in the log: the details of a violated constraint are phone numbers.
    for setting in ["listen_addresses=", "log_error_verbosity=terse", "log_min_error_statement=panic"] {
        command.args(["-c", setting]);
    }
    // A process group of its own: Ctrl-C in the terminal must not stop the database before this program has drained.
    command.process_group(0);
    command.stdout(log.try_clone().map_err(ClusterError::at(&layout.log))?).stderr(log);
    let mut child = command.spawn().map_err(ClusterError::at(&binaries.folder))?;
    let id = child.id();
    let ended = Arc::new(AtomicBool::new(false));
    let (end, name) = (Arc::clone(&ended), "postmaster".to_owned());
    // Reaps the process, which would stay a zombie otherwise. The thread ends with it, or with this program.
    let reaper = thread::Builder::new().name(name).spawn(move || {
        let _ = child.wait();
        end.store(true, Ordering::Relaxed);
    });
    reaper.map_err(ClusterError::at(&binaries.folder))?;
    let ready = || match Postmaster::of(&layout.cluster)? {
        Postmaster::Ready(pid, _) if u32::try_from(pid.as_raw()) == Ok(id) => Ok(Some(())),
        _ if ended.load(Ordering::Relaxed) => {
            Err(ClusterError::Program { program: "postgres", output: log_since(&layout.log, log_length) })
        }
        _ => Ok(None),
    };
    match cancel.wait("PostgreSQL starts", START_TIMEOUT, ready) {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(ClusterError::TimedOut("start", layout.log.clone())),
        Err(error) => {
            // A server that nobody waits for must not go on running.
            if !ended.load(Ordering::Relaxed)
                && let Ok(id) = i32::try_from(id)
            {
                postmaster::signal(nix::unistd::Pid::from_raw(id), Signal::SIGINT)?;
            }
            Err(error)
        }
    }
}

/// Removes the files of a dead server. PostgreSQL itself keeps them when their process id belongs to another program
/// now, or to a zombie. If backends of that server still live, the new one finds their shared memory and refuses.
fn remove_files(layout: &Layout, sockets: &Path) -> Result<(), ClusterError> {
    let socket = layout::socket_in(sockets);
    let socket_lock = socket.with_added_extension("lock");
    for path in [layout.cluster.join("postmaster.pid"), socket, socket_lock] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ClusterError::at(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The log, and its length in bytes. It is in the data folder, not in that of the cluster's user.
fn open_log(path: &Path) -> std::io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(path)?;
    let length = file.metadata()?.len();
    if length <= MAX_LOG_BYTES {
        return Ok((file, length));
    }
    file.set_len(0)?;
    Ok((file, 0))
}

/// The log from an offset on, at most its last 2,000 bytes.
fn log_since(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = from.max(file.metadata()?.len().saturating_sub(2_000));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => format!("{}: {error}", log.display()),
    }
}
