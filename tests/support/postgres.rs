//! A private PostgreSQL per test binary, from the installed binaries; one migrated template, one database per test.
//!
//! It stops when the test process ends, however that ends: a watchdog reads from a pipe that only we hold.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

use super::server::SECRET_KEY;
use super::wait::{DEADLINE, wait_until};

/// An open transaction of a psql of its own; rolled back when dropped.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input ends it in order: its locks are free when it has ended.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A database of one test's own. It is reached through a link of its own to the socket, so that it can go away.
pub struct Database {
    name: String,
    folder: PathBuf,
}

impl Database {
    /// A fresh one with all tables.
    pub fn create() -> Self {
        Self::copy("windu_template")
    }

    /// An empty database, without tables.
    pub fn create_empty() -> Self {
        Self::copy("template1")
    }

    /// What `DATABASE_URL` takes.
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost/{}?host={}", self.name, self.folder.display())
    }

    /// Runs SQL and gives the rows as psql prints them, unaligned.
    pub fn sql(&self, text: &str) -> String {
        CLUSTER.sql(&self.name, text)
    }

    /// Runs SQL in a transaction that stays open, with the locks that it took.
    pub fn hold(&self, text: &str) -> Held {
        let mut psql = Command::new(CLUSTER.binaries.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-d", &self.name, "-h"])
            .arg(&CLUSTER.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let input = psql.stdin.as_mut().expect("piped");
        writeln!(input, "BEGIN; {text};\n\\echo held").expect("psql reads");
        let lines = BufReader::new(psql.stdout.as_mut().expect("piped")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "held"), "{text}");
        Held(psql)
    }

    /// Takes the database away: connections end and new ones fail; see [`Database::come_back`].
    pub fn go_away(&self) {
        fs::remove_file(self.socket()).expect("the link");
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname";
        CLUSTER.sql("postgres", &format!("{end} = '{}'", self.name));
    }

    /// Undoes [`Database::go_away`].
    pub fn come_back(&self) {
        symlink(CLUSTER.folder.join(SOCKET), self.socket()).expect("a link to the socket");
    }

    fn copy(template: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        CLUSTER.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        let folder = CLUSTER.folder.join(&name);
        fs::create_dir(&folder).expect("a folder for the link");
        let database = Self { name, folder };
        database.come_back();
        database
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }
}

const SOCKET: &str = ".s.PGSQL.5432";

/// What PostgreSQL is told: fast rather than durable, for tests.
const FAST: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=64MB";

static SETTINGS: OnceLock<String> = OnceLock::new();

/// Chooses other settings than those of tests; to be called before the first database is made.
pub fn use_settings(settings: &str) {
    assert!(SETTINGS.set(settings.to_owned()).is_ok(), "PostgreSQL's settings are chosen once");
}

/// The process id of the private PostgreSQL.
pub fn postmaster() -> u32 {
    let file = fs::read_to_string(CLUSTER.folder.join("data/postmaster.pid")).expect("postmaster.pid");
    file.lines().next().and_then(|line| line.trim().parse().ok()).expect("a process id")
}

/// Waits for the end of its input, stops the cluster in `$0` at once (SIGQUIT) and removes the folder `$1`.
const WATCHDOG: &str = r#"
    cat >/dev/null
    pid=$(head -n 1 "$0/postmaster.pid") && kill -QUIT "$pid" && while kill -0 "$pid"; do sleep 0.1; done
    rm -rf "$1"
"#;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);

struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    /// Its standard input is the pipe. A static is never dropped: the pipe closes when the process ends.
    _watchdog: Child,
}

impl Cluster {
    fn start() -> Self {
        let binaries = binaries();
        // Not below TMPDIR, which may be too deep for a socket's path or closed to the user postgres.
        let folder = tempfile::Builder::new()
            .prefix("windu-test-")
            .tempdir_in("/tmp")
            .expect("a folder in /tmp")
            .keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("permissions");
        if let Some((user, group)) = unprivileged() {
            chown(&folder, Some(user), Some(group)).expect("chown to postgres");
        }
        let data = folder.join("data");
        succeed(
            program(&binaries, "initdb")
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
                .arg("-D")
                .arg(&data),
        );
        // The watchdog first, so that nothing outlives us. Its own process group, or Ctrl-C would end it too early.
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG])
            .args([&data, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c max_connections=300 {}",
            folder.display(),
            SETTINGS.get().map_or(FAST, String::as_str)
        );
        succeed(
            program(&binaries, "pg_ctl")
                .arg("-D")
                .arg(&data)
                .arg("-l")
                .arg(folder.join("log"))
                .args(["-w", "-t", "60", "-o", &options, "start"])
                .process_group(0)
                .stdout(Stdio::null()),
        );
        let cluster = Self { binaries, folder, _watchdog: watchdog };
        cluster.sql("postgres", "CREATE DATABASE windu_template");
        succeed(
            Command::new(env!("CARGO_BIN_EXE_windu"))
                .arg("migrate")
                .current_dir(&cluster.folder)
                .env_clear()
                .env("WINDU_SECRET_KEY", SECRET_KEY)
                .env("DATABASE_URL", cluster.url("windu_template")),
        );
        // A template with a connection to it cannot be copied: the program's ends a moment after the program.
        wait_until("the template to be free", DEADLINE, || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'windu_template'";
            (cluster.sql("postgres", count) == "0").then_some(())
        });
        cluster
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.display())
    }

    fn sql(&self, database: &str, text: &str) -> String {
        let output = succeed(
            Command::new(self.binaries.join("psql"))
                .args([
                    "-X",
                    "-q",
                    "-A",
                    "-t",
                    "-U",
                    "postgres",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-d",
                    database,
                    "-c",
                ])
                .arg(text)
                .arg("-h")
                .arg(&self.folder)
                .stdin(Stdio::null()),
        );
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }
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
