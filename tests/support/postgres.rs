//! A database per test: on the private PostgreSQL of this test binary, or on one of the test's own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::cluster::{CLUSTER, Cluster, SOCKET};

/// An open transaction of a psql of its own; rolled back when dropped.
pub struct OpenTransaction(Child);

impl OpenTransaction {
    /// Commits it.
    pub fn commit(mut self) {
        let input = self.0.stdin.as_mut().expect("psql's input");
        input.write_all(b"COMMIT;\n").expect("psql reads");
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        // psql exits at the end of its input. Its locks are free then.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A database of one test's own. A link to the socket leads to it, so that it can become unavailable.
pub struct Database {
    name: String,
    folder: PathBuf,
    cluster: Arc<Cluster>,
}

impl Database {
    /// A new database with all tables.
    pub fn create() -> Self {
        Self::copy(&CLUSTER, "windu_template")
    }

    /// An empty database, without tables.
    pub fn create_empty() -> Self {
        Self::copy(&CLUSTER, "template1")
    }

    /// A database on a PostgreSQL of its own that may be harmed; its commits are on the disk.
    pub fn create_alone() -> Self {
        Self::copy(&Arc::new(Cluster::start_careful()), "windu_template")
    }

    /// The same on a disk of `size` MiB; `None` when the disk cannot be mounted.
    pub fn create_on_small_disk(size: u32) -> Option<Self> {
        let cluster = Cluster::start_on_small_disk(size)?;
        Some(Self::copy(&Arc::new(cluster), "windu_template"))
    }

    /// The private one of a program without a `DATABASE_URL`, in its data folder.
    pub fn of_program(data_dir: &Path) -> Self {
        let sockets = data_dir.join("pg");
        let cluster = Cluster::of_program(sockets.clone());
        Self { name: "windu".to_owned(), folder: sockets, cluster: Arc::new(cluster) }
    }

    /// The PostgreSQL that it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its name there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("postgres://{}@localhost/{}?host={}", self.cluster.user(), self.name, self.folder.display())
    }

    /// Runs SQL and returns the rows as psql prints them, unaligned.
    pub fn sql(&self, text: &str) -> String {
        self.cluster.sql(&self.name, text)
    }

    /// [`Database::sql`] that may fail; the error is the output of psql.
    pub fn try_sql(&self, text: &str) -> Result<String, String> {
        self.cluster.try_sql(&self.name, text)
    }

    /// Runs SQL in a transaction that stays open, with the locks that it took.
    pub fn hold(&self, text: &str) -> OpenTransaction {
        let mut psql =
            self.cluster.psql(&self.name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
        let input = psql.stdin.as_mut().expect("piped");
        writeln!(input, "BEGIN; {text};\n\\echo held").expect("psql reads");
        let lines = BufReader::new(psql.stdout.as_mut().expect("piped")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "held"), "{text}");
        OpenTransaction(psql)
    }

    /// Locks the accounts of a number: writes to them wait, and their sessions take no commands.
    pub fn lock_number(&self, number: &str) -> OpenTransaction {
        self.hold(&format!("SELECT FROM account_counter WHERE number = '{number}' FOR UPDATE"))
    }

    /// Simulates an outage: connections end and new ones fail, until [`Database::come_back`].
    pub fn go_away(&self) {
        fs::remove_file(self.socket()).expect("the link");
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname";
        self.cluster.sql("postgres", &format!("{end} = '{}'", self.name));
    }

    /// Undoes [`Database::go_away`].
    pub fn come_back(&self) {
        symlink(self.cluster.socket(), self.socket()).expect("a link to the socket");
    }

    fn copy(cluster: &Arc<Cluster>, template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        let folder = cluster.socket().with_file_name(&name);
        fs::create_dir(&folder).expect("a folder for the link");
        let database = Self { name, folder, cluster: Arc::clone(cluster) };
        database.come_back();
        database
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }
}
