//! Data folders, and other programs that use a cluster.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use windu::config::Missing;
use windu::db::cluster::Cluster;

/// The name of the test that is no test.
pub const HELPER: &str = "program";
const VARIABLE: &str = "WINDU_TEST_CLUSTER_PROGRAM";
const READY: &str = "the program is ready";

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The number of rounds: more in a soak.
pub fn rounds(usual: u32, soak: u32) -> u32 {
    if std::env::var_os("WINDU_TEST_SOAK").is_some() { soak } else { usual }
}

/// Polls until the predicate holds, for at most a minute.
pub fn wait_until(what: &str, look: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !look() {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A data folder that does not exist yet. What still runs in it when the test ends is killed.
pub struct DataDir {
    /// Removed at the end.
    _parent: TempDir,
    path: PathBuf,
}

impl DataDir {
    pub fn new() -> Self {
        Self::below(&[])
    }

    /// A data folder below further folders.
    pub fn below(folders: &[&str]) -> Self {
        let parent = tempfile::tempdir().expect("a folder");
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711)).expect("a mode");
        let mut path = fs::canonicalize(parent.path()).expect("the folder");
        path.extend(folders);
        path.push("data");
        Self { _parent: parent, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn start(&self) -> Cluster {
        Cluster::start(&self.path, None, Missing::Create).await.expect("the cluster starts")
    }

    /// The process of a server that says it is ready.
    pub fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path.join("pg/data/postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid = Pid::from_raw(lines.first()?.parse().ok()?);
        (lines.get(7) == Some(&"ready") && kill(pid, None).is_ok()).then_some(pid)
    }

    /// The clusters that are being made.
    pub fn drafts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.join("pg")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "new")).collect()
    }

    /// Waits until no process works in the cluster.
    pub fn assert_nothing_runs(&self) {
        wait_until("nothing runs", || !self.path.join("pg/data/postmaster.pid").exists());
        wait_until("no process works in the cluster", || self.processes().is_empty());
    }

    fn processes(&self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let works_here = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(&self.path))
        };
        pids.filter(works_here).map(Pid::from_raw).collect()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Another program that uses the cluster of a data folder until the test ends it.
pub struct Program {
    child: Child,
}

impl Program {
    pub fn spawn(data_dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", HELPER, "--nocapture"])
            .env(VARIABLE, data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program");
        Self { child }
    }

    /// Waits until it uses the cluster.
    pub fn ready(mut self) -> Self {
        let output = self.child.stdout.as_mut().expect("its output");
        let found = BufReader::new(output).lines().any(|line| line.is_ok_and(|line| line.contains(READY)));
        assert!(found, "the program ended early");
        self
    }

    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.child.stdout.take().expect("its output").read_to_string(&mut rest).expect("text");
        assert!(self.child.wait().expect("its end").success(), "{rest}");
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
    }
}

/// The body of the program. Does nothing when run as a test.
pub async fn be_the_program() {
    let Some(data_dir) = std::env::var_os(VARIABLE) else { return };
    let cluster =
        Cluster::start(Path::new(&data_dir), None, Missing::Create).await.expect("the cluster starts");
    assert_eq!(answers(&cluster, "SELECT 'here'").await, "here");
    // Directly to standard output, because the test harness captures prints.
    writeln!(std::io::stdout(), "{READY}").expect("output");
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await.expect("no panic").expect("the end of the input");
    cluster.stop().await.expect("the cluster stops");
}

/// The text that a query returns.
pub async fn answers(cluster: &Cluster, query: &'static str) -> String {
    let mut connection = PgConnection::connect_with(&cluster.connect_options()).await.expect("a connection");
    let text = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.expect("an answer");
    connection.close().await.expect("closed");
    text
}

pub async fn set(cluster: &Cluster, statement: &'static str) {
    let mut connection = PgConnection::connect_with(&cluster.connect_options()).await.expect("a connection");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("done");
    connection.close().await.expect("closed");
}
