//! The real program, as a process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::client::Client;
use super::postgres::Database;
use super::wait::{DEADLINE, wait_until};

/// The user of every test server.
pub const USER: &str = "alice";
/// Their password.
pub const PASSWORD: &str = "correct horse battery staple";
/// 32 bytes, the same for all servers, so that several can share a database.
pub const SECRET_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The settings of a server. Chain the methods, then call [`Setup::start`].
pub struct Setup {
    environment: BTreeMap<String, String>,
    database: Option<Arc<Database>>,
    has_own_database: bool,
}

/// A running program; killed when dropped.
pub struct Server {
    // Dropped first, because it would start its own database again.
    process: Process,
    environment: BTreeMap<String, String>,
    database: Arc<Database>,
    /// Its working and data folder.
    folder: TempDir,
    client: Client,
}

impl Setup {
    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Listens on a port that stays the same when the program is started again.
    #[must_use]
    pub fn on_a_fixed_port(self) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
        self.env("WINDU_LISTEN", free.to_string())
    }

    /// Uses a database that is there already, for example another server's.
    #[must_use]
    pub fn database(mut self, database: Arc<Database>) -> Self {
        self.database = Some(database);
        self
    }

    /// Gives no `DATABASE_URL`: the program runs a PostgreSQL of its own in its data folder.
    #[must_use]
    pub fn with_own_database(mut self) -> Self {
        self.has_own_database = true;
        self
    }

    /// Starts the program and waits until it serves.
    pub fn start(self) -> Server {
        let (environment, database, folder) = self.prepare();
        let mut process = Process::start(&environment, &folder);
        let client = Client::new(process.wait_for_address());
        Server { process, environment, database, folder, client }
    }

    /// Runs a command with these settings to its end, then starts the program. Returns the command's standard output, too.
    ///
    /// # Panics
    /// When the command fails.
    pub fn start_after(self, arguments: &[&str]) -> (Server, String) {
        let (environment, database, folder) = self.prepare();
        let output = command(&environment, &folder).args(arguments).output().expect("the program runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut process = Process::start(&environment, &folder);
        let client = Client::new(process.wait_for_address());
        let server = Server { process, environment, database, folder, client };
        (server, String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// Lets `run` run commands of the program with these settings, then starts the program.
    pub fn start_after_runs(self, run: impl FnOnce(&dyn Fn() -> Command)) -> Server {
        let (environment, database, folder) = self.prepare();
        run(&|| command(&environment, &folder));
        let mut process = Process::start(&environment, &folder);
        let client = Client::new(process.wait_for_address());
        Server { process, environment, database, folder, client }
    }

    /// Runs a command with these settings that must fail. Returns standard error.
    ///
    /// # Panics
    /// When the command succeeds.
    pub fn fail_command(self, arguments: &[&str]) -> String {
        let (environment, _database, folder) = self.prepare();
        let output = command(&environment, &folder).args(arguments).output().expect("the program runs");
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// Starts the program and returns before it serves, for a start that is expected to wait. The address of the client
    /// comes from the log.
    pub fn start_early(self) -> Server {
        let (environment, database, folder) = self.prepare();
        let mut process = Process::start(&environment, &folder);
        let client = Client::new(process.wait_for_early_address());
        Server { process, environment, database, folder, client }
    }

    /// Runs the program to its end, for a start that is expected to fail. Returns the status and standard error.
    pub fn fail(self) -> (ExitStatus, String) {
        let (environment, _database, folder) = self.prepare();
        let mut process = Process::start(&environment, &folder);
        let status = process.wait();
        let errors = process.errors.text();
        assert!(errors.contains("windu: "), "{errors}");
        (status, errors)
    }

    fn prepare(self) -> (BTreeMap<String, String>, Arc<Database>, TempDir) {
        let folder = TempDir::new().expect("a temporary folder");
        let mut environment = self.environment;
        let database = if self.has_own_database {
            // The user postgres must be able to enter the folder when the test runs as root.
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("a mode");
            Arc::new(Database::of_program(folder.path()))
        } else {
            let database = self.database.unwrap_or_else(|| Arc::new(Database::create()));
            environment.entry("DATABASE_URL".into()).or_insert_with(|| database.url());
            database
        };
        environment.entry("WINDU_DATA_DIR".into()).or_insert_with(|| folder.path().display().to_string());
        (environment, database, folder)
    }
}

impl Server {
    /// A server with its own database and the usual settings.
    pub fn start() -> Self {
        Self::setup().start()
    }

    /// The same settings, to be changed before the start.
    pub fn setup() -> Setup {
        let environment = [
            ("WINDU_LISTEN", "127.0.0.1:0"),
            ("WINDU_SECRET_KEY", SECRET_KEY),
            ("WINDU_BOOTSTRAP_USER", USER),
            ("WINDU_BOOTSTRAP_PASSWORD", PASSWORD),
            ("WINDU_LOG", "debug,sqlx=info,hyper=info"),
            // The load of tests is more than any caller's.
            ("WINDU_RATE_REQUESTS", "off"),
            ("WINDU_RATE_SENDS", "off"),
        ];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Setup { environment, database: None, has_own_database: false }
    }

    /// A client of this server, without a token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        self.client.base()
    }

    /// `127.0.0.1:PORT`, for raw sockets.
    pub fn address(&self) -> &str {
        self.url().trim_start_matches("http://")
    }

    /// Its database; share it with a second server by [`Setup::database`].
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Its working and data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The log: its standard error so far.
    pub fn log(&self) -> String {
        self.process.errors.text()
    }

    /// Its standard output so far.
    pub fn output(&self) -> String {
        self.process.output.text()
    }

    /// Waits until the log holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), DEADLINE, || self.log().contains(text).then_some(()));
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Sends SIGHUP and does not wait.
    pub fn hang_up(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Waits until it prints that it serves.
    pub fn wait_until_it_serves(&mut self) {
        self.process.wait_for_address();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// A size in its `/proc/PID/status`, in bytes: `VmRSS` is the memory in use, `VmHWM` its peak.
    pub fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the program runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kibibytes") * 1024
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.child.try_wait().expect("a child").is_some()
    }

    /// Starts it again (killed first if it still runs) with the same settings and database. The port changes,
    /// unless `WINDU_LISTEN` names one; the log starts empty.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Process::start(&self.environment, &self.folder);
        self.client = Client::new(self.process.wait_for_address());
    }

    /// Runs another command of the program beside the server, with the server's settings and this standard input.
    /// Returns standard output.
    ///
    /// # Panics
    /// When the command fails.
    pub fn run(&self, arguments: &[&str], input: &str) -> String {
        let output = self.command(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// [`Server::run`] for a command that must fail. Returns standard error.
    ///
    /// # Panics
    /// When the command succeeds.
    pub fn fail(&self, arguments: &[&str], input: &str) -> String {
        let output = self.command(arguments, input);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// [`Server::fail`] for a command that reports on standard output, which is returned.
    ///
    /// # Panics
    /// When the command succeeds.
    pub fn run_failing(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments, "");
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The program with the settings of this server, to be run.
    pub fn program(&self) -> Command {
        command(&self.environment, &self.folder)
    }

    /// Runs the program with the settings of this server to its end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        let mut child = command(&self.environment, &self.folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("windu");
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("windu")
    }
}

struct Process {
    child: Child,
    /// Kills the program when the test process has ended: `Drop` does not run after SIGKILL.
    watchdog: Child,
    output: Captured,
    errors: Captured,
}

impl Process {
    fn start(environment: &BTreeMap<String, String>, folder: &TempDir) -> Self {
        let ((output, stdout), (errors, stderr)) = (Captured::new(), Captured::new());
        let child = command(environment, folder)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .expect("windu");
        let watchdog = Command::new("/bin/sh")
            .args(["-c", "cat >/dev/null; kill -9 $0", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        Self { child, watchdog, output, errors }
    }

    /// The URL in the line that the program prints once it serves.
    fn wait_for_address(&mut self) -> String {
        wait_until("the program to listen", DEADLINE, || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the program ended with {status}: {}", self.errors.text());
            }
            let output = self.output.text();
            let url = output.lines().find_map(|line| line.strip_prefix("Windu listens on "))?;
            output.ends_with('\n').then(|| url.to_owned())
        })
    }

    /// The URL in the log line of the start.
    fn wait_for_early_address(&mut self) -> String {
        wait_until("the program to start", DEADLINE, || {
            let log = self.errors.text();
            let line = log.lines().find(|line| line.contains("starting") && line.contains("url="))?;
            let (_, url) = line.split_once("url=")?;
            url.split_whitespace().next().map(str::to_owned)
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        // It may have ended already. Its process id is not reused before it is reaped.
        let _ = kill(pid, signal);
    }

    fn wait(&mut self) -> ExitStatus {
        wait_until("the program to end", DEADLINE * 2, || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Before its pipe closes, or it would kill another process with the same id.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

fn command(environment: &BTreeMap<String, String>, folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windu"));
    command.env_clear().envs(environment).current_dir(folder);
    command
}

/// Whether a log has a secret. Digits count as a word alone: they may be part of a time or an id.
pub fn mentions(log: &str, secret: &str) -> bool {
    if secret.bytes().all(|sign| sign.is_ascii_digit()) {
        log.split(|sign: char| !sign.is_ascii_alphanumeric()).any(|word| word == secret)
    } else {
        log.contains(secret)
    }
}

/// What the program writes to one of its streams: a file, so that all of it is there as soon as it is written.
struct Captured(File);

impl Captured {
    fn new() -> (Self, Stdio) {
        let file = tempfile::tempfile().expect("a temporary file");
        let stream = Stdio::from(file.try_clone().expect("a descriptor"));
        (Self(file), stream)
    }

    fn text(&self) -> String {
        let length = self.0.metadata().expect("a length").len();
        let mut bytes = vec![0; usize::try_from(length).expect("a length")];
        // The descriptors share one position, which is the writer's.
        self.0.read_exact_at(&mut bytes, 0).expect("what was written");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
