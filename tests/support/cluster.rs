//! A PostgreSQL for tests, from the installed binaries, with a migrated template.
//!
//! It stops when the test process ends, in any way: a watchdog reads from a pipe that only this process holds.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, OnceLock};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server::SECRET_KEY;
use super::wait::{DEADLINE, wait_until};

/// The name of a socket in its folder.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// Waits for the end of its input, stops the cluster in `$0` at once (SIGQUIT, even if it is frozen) and
/// removes the folder `$1` with what is mounted in it.
const WATCHDOG: &str = r#"
    cat >/dev/null
    if pid=$(head -n 1 "$0/postmaster.pid"); then
        kill -QUIT "$pid"
        kill -CONT "$pid" $(grep -ls "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status | tr -dc '0-9\n')
        while kill -0 "$pid"; do sleep 0.1; done
    fi
    ! mountpoint -q "$1/disk" || umount "$1/disk"
    rm -rf "$1"
"#;

/// Settings for tests: fast rather than durable.
const FAST: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=64MB";

static SETTINGS: OnceLock<String> = OnceLock::new();

/// Replaces the settings for tests. Call it before the first database is made.
pub fn use_settings(settings: &str) {
    assert!(SETTINGS.set(settings.to_owned()).is_ok(), "PostgreSQL's settings are chosen once");
}

/// The process id of the PostgreSQL that most tests share.
pub fn postmaster() -> u32 {
    let postmaster = *CLUSTER.processes().first().expect("it runs");
    postmaster.as_raw().try_into().expect("a process id")
}

/// The cluster that most tests share.
pub static CLUSTER: LazyLock<Arc<Cluster>> = LazyLock::new(|| Arc::new(Cluster::start(Disk::None)));

/// How carefully a cluster writes to its disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Not at all: no test harms it.
    None,
    /// With the defaults of PostgreSQL.
    Whole,
    /// The same on a small disk.
    Small,
}

/// A PostgreSQL.
pub struct Cluster {
    binaries: PathBuf,
    /// Its superuser.
    user: &'static str,
    data: PathBuf,
    /// The folder of its socket.
    folder: PathBuf,
    /// Its standard input is the pipe. A static is never dropped, so the pipe closes when the process ends.
    watchdog: Option<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        } else {
            self.signal_all(Signal::SIGKILL);
        }
    }
}

impl Cluster {
    fn start(disk: Disk) -> Self {
        let folder = folder();
        let data = folder.join("data");
        Self::start_in(folder, data, disk)
    }

    /// A cluster with the durability of a default PostgreSQL.
    pub fn start_careful() -> Self {
        Self::start(Disk::Whole)
    }

    /// The private cluster of a program without a `DATABASE_URL`.
    pub fn of_program(folder: PathBuf) -> Self {
        Self { binaries: binaries(), user: "windu", data: folder.join("data"), folder, watchdog: None }
    }

    /// A cluster on a disk of `size` MiB; `None` when the disk cannot be mounted.
    pub fn start_on_small_disk(size: u32) -> Option<Self> {
        let folder = folder();
        let disk = folder.join("disk");
        fs::create_dir(&disk).expect("a folder");
        let (user, group) = unprivileged().unwrap_or_default();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m,mode=0700,uid={user},gid={group}"), "tmpfs"])
            .arg(&disk)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            fs::remove_dir_all(&folder).expect("removed");
            return None;
        }
        let data = disk.join("data");
        Some(Self::start_in(folder, data, Disk::Small))
    }

    fn start_in(folder: PathBuf, data: PathBuf, disk: Disk) -> Self {
        let binaries = binaries();
        // The watchdog starts first, so that nothing outlives this process. It has its own process group, or Ctrl-C
        // would end it too early.
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG])
            .args([&data, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        succeed(
            program(&binaries, "initdb")
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
                .arg("-D")
                .arg(&data),
        );
        let room = match disk {
            Disk::None => SETTINGS.get().map_or(FAST, String::as_str).replace("-c ", "\n"),
            Disk::Whole => "shared_buffers = 64MB".to_owned(),
            Disk::Small => "shared_buffers = 64MB\nmin_wal_size = 32MB\nmax_wal_size = 64MB".to_owned(),
        };
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 300\n\
             {room}\n",
            folder.display()
        );
        let file = data.join("postgresql.auto.conf");
        fs::write(&file, settings).expect("written");
        let cluster = Self { binaries, user: "postgres", data, folder, watchdog: Some(watchdog) };
        cluster.start_again();
        cluster.sql("postgres", "CREATE DATABASE windu_template");
        succeed(
            Command::new(env!("CARGO_BIN_EXE_windu"))
                .arg("migrate")
                .current_dir(&cluster.folder)
                .env_clear()
                .env("WINDU_SECRET_KEY", SECRET_KEY)
                .env("DATABASE_URL", cluster.url("windu_template")),
        );
        // A template with an open connection cannot be copied. The connection of the program ends a moment after it.
        wait_until("the template to be free", DEADLINE, || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'windu_template'";
            (cluster.sql("postgres", count) == "0").then_some(())
        });
        cluster
    }

    /// Starts it; it must not run.
    pub fn start_again(&self) {
        succeed(self.pg_ctl(&["-w", "-t", "60", "start"]).stdout(Stdio::null()));
    }

    /// Stops it: `fast` in good order, `immediate` as a crash does.
    pub fn stop(&self, mode: &str) {
        succeed(self.pg_ctl(&["-w", "-t", "60", "-m", mode, "stop"]).stdout(Stdio::null()));
    }

    /// The process ids of the postmaster, first, and of all that it started. Empty when it does not run.
    pub fn processes(&self) -> Vec<Pid> {
        let file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let postmaster = file.lines().next().and_then(|line| line.trim().parse().ok());
        // A killed cluster leaves the file behind.
        let living = postmaster.filter(|pid| kill(Pid::from_raw(*pid), None).is_ok());
        let Some(postmaster) = living else { return Vec::new() };
        let parent = format!("\nPPid:\t{postmaster}\n");
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let children = all.filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
        });
        std::iter::once(postmaster).chain(children).map(Pid::from_raw).collect()
    }

    /// Sends a signal to the postmaster, and then to all that it has started until then.
    pub fn signal_all(&self, signal: Signal) {
        // A stopped postmaster starts no processes; a killed one cannot list its children.
        let mut pids = self.processes();
        if let (Some(postmaster), Signal::SIGSTOP) = (pids.first(), signal) {
            kill(*postmaster, signal).expect("the postmaster");
            pids = self.processes();
        }
        for pid in pids {
            // It may have ended meanwhile.
            let _ = kill(pid, signal);
        }
    }

    /// Its superuser.
    pub fn user(&self) -> &'static str {
        self.user
    }

    /// The folder of its files.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.binaries, "pg_ctl");
        command.arg("-D").arg(&self.data).arg("-l").arg(self.folder.join("log"));
        command.args(arguments).process_group(0);
        command
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@localhost/{database}?host={}", self.user, self.folder.display())
    }

    /// A psql that prints rows unaligned. The caller sets its input.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.binaries.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            self.user,
            "-d",
            database,
            "-h",
        ]);
        command.arg(&self.folder);
        command
    }

    pub fn sql(&self, database: &str, text: &str) -> String {
        self.try_sql(database, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub fn try_sql(&self, database: &str, text: &str) -> Result<String, String> {
        let output =
            self.psql(database).arg("-c").arg(text).stdin(Stdio::null()).output().expect("psql runs");
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// A fresh folder that PostgreSQL may use.
fn folder() -> PathBuf {
    // Not below TMPDIR, which may be too deep for a socket's path or closed to the user postgres.
    let folder =
        tempfile::Builder::new().prefix("windu-test-").tempdir_in("/tmp").expect("a folder in /tmp").keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("permissions");
    if let Some((user, group)) = unprivileged() {
        chown(&folder, Some(user), Some(group)).expect("chown to postgres");
    }
    folder
}

/// The folder of the newest installed PostgreSQL's programs, or `WINDU_PG_BIN`.
pub fn binaries() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    if let Ok(folder) = std::env::var("WINDU_PG_BIN") {
        return folder.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .max();
    if let Some((_, folder)) = newest {
        return folder;
    }
    let brew = ["/opt/homebrew/opt", "/usr/local/opt"].map(Path::new).into_iter().find_map(|root| {
        let kegs = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path().join("bin"));
        kegs.filter(|folder| folder.join("initdb").exists()).max()
    });
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    let path = std::env::var("PATH").unwrap_or_default();
    brew.or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()))
        .expect("PostgreSQL's binaries: apt-get install postgresql, or set WINDU_PG_BIN")
}

/// A PostgreSQL program; as root it runs as the user postgres, because it refuses to be root.
fn program(binaries: &Path, name: &str) -> Command {
    let mut command = Command::new(binaries.join(name));
    command.stdin(Stdio::null()).current_dir("/");
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    command
}

/// The user and group of postgres, when we are root.
fn unprivileged() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("postgres").expect("the list of users");
    let user = user.expect("the user postgres: PostgreSQL refuses to run as root");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
