//! Real XMPP servers for tests: Prosody and ejabberd from the installed packages, each in its own folder on free ports.
//!
//! They end, and their folders go, when the test process ends, in any way: a watchdog reads from a pipe that only this
//! process holds.

mod admin;
pub mod certificates;
pub mod chat;
mod configuration;
pub mod federation;
pub mod kept;
pub mod peer;
pub mod ports;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User, geteuid};

use self::admin::Admin;
use self::certificates::{Certificate, Issued};
pub use self::configuration::Uploads;
use self::configuration::{Configuration, Ports, missing_packages};
use super::wait::{self, DEADLINE, wait_until};

/// The name of the admin's account.
const ADMIN: &str = "admin";
const ADMIN_PASSWORD: &str = "the admin's password";

/// Waits for the end of its input, ends the server of the folder `$0` and removes the folder.
///
/// The folder moves before the second look: after that no server can start in it. A server that still lives makes the
/// folder anew for its log, so it is ended before, and what it made goes too.
const WATCHDOG: &str = r#"
    end() { if pid=$(cat "$1/pid"); then kill -KILL "-$pid"; fi; }
    cat >/dev/null
    end "$0"
    mv "$0" "$0.ended" || exit
    end "$0.ended"
    until rm -rf "$0.ended" "$0"; do sleep 0.1; done
"#;

static PROSODY: LazyLock<XmppServer> = LazyLock::new(|| XmppServer::start(Software::Prosody));
static EJABBERD: LazyLock<XmppServer> = LazyLock::new(|| XmppServer::start(Software::Ejabberd));

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    Prosody,
    Ejabberd,
}

impl Software {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Prosody, Self::Ejabberd];

    /// The domain of each server with this software.
    pub fn domain(self) -> &'static str {
        match self {
            Self::Prosody => "prosody.example",
            Self::Ejabberd => "ejabberd.example",
        }
    }

    /// The user and group of its package, when we are root: servers refuse to be root.
    fn unprivileged(self) -> Option<(u32, u32)> {
        if !geteuid().is_root() {
            return None;
        }
        let name = match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
        };
        let user = User::from_name(name).expect("the list of users").expect("the user of the package");
        Some((user.uid.as_raw(), user.gid.as_raw()))
    }
}

/// A server; ends when dropped.
pub struct XmppServer {
    software: Software,
    folder: PathBuf,
    ca_file: PathBuf,
    ports: Ports,
    issued: Issued,
    uploads: Uploads,
    dns: Option<u16>,
    /// While it runs, or has ended by itself.
    process: Option<Child>,
    /// Its standard input is the pipe. A static is never dropped, so the pipe closes when the process ends.
    watchdog: Child,
}

impl XmppServer {
    /// What is not installed, for a report of tests that do not run; `None` when the servers can start.
    pub fn missing() -> Option<String> {
        let missing = missing_packages();
        (!missing.is_empty()).then(|| format!("not installed: {} (tests/run does that)", missing.join(", ")))
    }

    /// The server that most tests share.
    pub fn shared(software: Software) -> &'static Self {
        match software {
            Software::Prosody => &PROSODY,
            Software::Ejabberd => &EJABBERD,
        }
    }

    /// A server of its own with a good certificate; it serves and the admin's account exists.
    pub fn start(software: Software) -> Self {
        Self::start_with(software, Certificate::Good)
    }

    /// A server that shows this certificate.
    pub fn start_with(software: Software, certificate: Certificate) -> Self {
        Self::start_in(software, certificate, None)
    }

    /// A server that finds others by the DNS on this port.
    fn start_federated(software: Software, dns: u16) -> Self {
        Self::start_in(software, Certificate::Good, Some(dns))
    }

    fn start_in(software: Software, certificate: Certificate, dns: Option<u16>) -> Self {
        let folder = folder(software);
        // It starts first, so that nothing outlives this process. It has its own process group, or Ctrl-C would end it
        // too early.
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        let mut server = Self {
            software,
            ca_file: folder.join("ca.pem"),
            folder,
            ports: Ports::reserve(),
            issued: certificate.issue(software.domain()),
            uploads: Uploads::default(),
            dns,
            process: None,
            watchdog,
        };
        server.configuration().write();
        server.start_again();
        server
    }

    /// Starts it again with other settings for files.
    #[must_use]
    pub fn with_uploads(mut self, uploads: Uploads) -> Self {
        self.stop();
        self.uploads = uploads;
        self.configuration().rewrite();
        self.start_again();
        self
    }

    pub fn software(&self) -> Software {
        self.software
    }

    /// The domain of its accounts. Rooms are at `rooms.` and uploads at `upload.` of it.
    pub fn domain(&self) -> &'static str {
        self.software.domain()
    }

    /// Where clients connect. Without STARTTLS nobody is let in.
    pub fn address(&self) -> SocketAddr {
        self.ports.starttls.address()
    }

    /// Where clients connect with TLS from the first byte.
    pub fn direct_tls(&self) -> SocketAddr {
        self.ports.direct_tls.address()
    }

    /// Where clients connect without TLS.
    pub fn plain(&self) -> SocketAddr {
        self.ports.plain.address()
    }

    /// Where other servers connect, if it is one of a [`federation::Federation`].
    pub fn server_address(&self) -> SocketAddr {
        self.ports.server.address()
    }

    /// Where files are uploaded to and fetched from, by https.
    pub fn upload_address(&self) -> SocketAddr {
        self.ports.https.address()
    }

    /// The certificate of the private authority, as PEM.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub fn admin_jid(&self) -> String {
        format!("{ADMIN}@{}", self.domain())
    }

    #[expect(clippy::unused_self, reason = "an own password for each server may come")]
    pub fn admin_password(&self) -> &'static str {
        ADMIN_PASSWORD
    }

    /// What it has logged since its first start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes an account.
    pub fn add_user(&self, name: &str, password: &str) {
        self.add_users([(name, password)]);
    }

    /// Makes accounts, in one session of the admin.
    pub fn add_users<'a>(&self, users: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut admin = self.admin();
        for (name, password) in users {
            let (jid, password) = (self.jid(name), ("password", password));
            admin.command("add-user", &[("accountjid", &jid), password, ("password-verify", password.1)]);
        }
    }

    /// Deletes an account; its sessions end.
    pub fn delete_user(&self, name: &str) {
        self.admin().command("delete-user", &[("accountjids", &self.jid(name))]);
    }

    /// Changes a password. Prosody ends the account's sessions, ejabberd does not.
    pub fn change_password(&self, name: &str, password: &str) {
        let fields = [("accountjid", self.jid(name)), ("password", password.to_owned())];
        self.admin().command("change-user-password", &fields.each_ref().map(|(name, text)| (*name, &**text)));
    }

    /// Ends the sessions of an account.
    pub fn end_sessions(&self, name: &str) {
        let jid = self.jid(name);
        // Each server knows another of the fields.
        self.admin().command("end-user-session", &[("accountjids", &jid), ("accountjid", &jid)]);
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Stops it in good order and waits for its end.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Starts it again with the same data on the same ports; stops it before, if it still runs.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut command = self.configuration().command();
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut process = command.spawn().expect("sh");
        let mut last = None;
        let mut others = vec![self.address(), self.plain()];
        others.extend(self.uploads.are_taken.then(|| self.upload_address()));
        others.extend(self.dns.map(|_| self.server_address()));
        wait_until(&format!("{:?} to serve", self.software), DEADLINE * 2, || {
            if let Some(status) = process.try_wait().expect("a child") {
                panic!("{:?} ended with {status}; at last {last:?}:\n{}", self.software, self.log());
            }
            others.retain(|address| TcpStream::connect(address).is_err());
            if !others.is_empty() {
                return None;
            }
            self.try_admin().map_err(|error| last = Some(error)).ok()
        });
        self.process = Some(process);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id().try_into().expect("a process id"));
        // It may have ended by itself. Its process id is not reused before it is reaped.
        let _ = if signal == Signal::SIGKILL { killpg(pid, signal) } else { kill(pid, signal) };
        wait_until("the server to end", DEADLINE, || process.try_wait().expect("a child"));
        // The watchdog must not end another process that has the same id.
        fs::remove_file(self.folder.join("pid")).expect("the server's process id");
    }

    fn admin(&self) -> Admin {
        self.try_admin().unwrap_or_else(|error| panic!("the admin's login: {error}\n{}", self.log()))
    }

    fn try_admin(&self) -> std::io::Result<Admin> {
        Admin::login(self.direct_tls(), self.domain(), &self.issued.certificate, ADMIN, ADMIN_PASSWORD)
    }

    fn jid(&self, name: &str) -> String {
        format!("{name}@{}", self.domain())
    }

    fn configuration(&self) -> Configuration<'_> {
        Configuration {
            software: self.software,
            domain: self.domain(),
            folder: &self.folder,
            ports: &self.ports,
            issued: &self.issued,
            uploads: &self.uploads,
            dns: self.dns,
        }
    }
}

impl Drop for XmppServer {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
        if let Some(process) = &mut self.process {
            let _ = process.wait();
        }
    }
}

/// A fresh folder that the server may use.
fn folder(software: Software) -> PathBuf {
    // Not below TMPDIR, which may be closed to the server's user.
    let folder =
        tempfile::Builder::new().prefix("windu-test-").tempdir_in("/tmp").expect("a folder in /tmp").keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("permissions");
    if let Some((user, group)) = software.unprivileged() {
        chown(&folder, Some(user), Some(group)).expect("chown to the user of the server");
    }
    folder
}
