//! A NATS server with JetStream on disk, and what its stream has.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream::{self, stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::follower::Followed;
use crate::support::not_run::not_run;
use crate::support::server::{Server, Setup};
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};
use crate::support::xmpp::ports::Port;

const PROGRAM: &str = "/usr/sbin/nats-server";

/// A server that keeps its port and its data when it is killed and started again; killed when dropped.
pub struct NatsServer {
    folder: TempDir,
    port: Port,
    running: Option<Running>,
}

/// A process, and what kills it when the test process has ended.
struct Running {
    server: Child,
    watchdog: Child,
}

impl NatsServer {
    /// `None`: the program is missing, which is reported.
    pub fn start() -> Option<Self> {
        Self::start_with("jetstream { store_dir: FOLDER }")
    }

    /// With this configuration besides its address, in which `FOLDER` stands for its folder.
    pub fn start_with(configuration: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            not_run(&format!("tests with a message broker: {PROGRAM} is missing (Debian: nats-server)"));
            return None;
        }
        let (folder, port) = (TempDir::new().expect("a folder"), Port::reserve());
        let place = folder.path().display();
        let configuration = configuration.replace("FOLDER", &format!("\"{place}\""));
        let text = format!("listen: \"{}\"\nlogfile: \"{place}/log\"\n{configuration}\n", port.address());
        std::fs::write(folder.path().join("nats.conf"), text).expect("a file");
        let mut server = Self { folder, port, running: None };
        server.start_again();
        Some(server)
    }

    pub fn start_again(&mut self) {
        let server = Command::new(PROGRAM)
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("nats-server");
        let watchdog = Command::new("/bin/sh")
            .args(["-c", "cat >/dev/null; kill -9 $0", &server.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        self.running = Some(Running { server, watchdog });
        wait_until("nats-server to listen", DEADLINE, || TcpStream::connect(self.port.address()).ok());
    }

    pub fn kill(&mut self) {
        self.running = None;
    }

    pub fn signal(&self, signal: Signal) {
        let server = &self.running.as_ref().expect("it runs").server;
        kill(Pid::from_raw(server.id().try_into().expect("a process id")), signal).expect("it runs");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// A server of the program that publishes to this broker, with `login` such as `user:password@`.
    pub fn setup(&self, login: &str) -> Setup {
        Server::setup().env("WINDU_EVENTS_NATS_URL", format!("nats://{login}{}", self.address()))
    }

    /// A client of its own.
    pub async fn client(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.address()).await.expect("a connection"))
    }

    /// The stream with the events.
    pub async fn stream(&self) -> stream::Stream {
        self.client().await.get_stream("windu").await.expect("the stream")
    }

    /// The number of messages in the stream; `None`: it or the server is not there.
    pub async fn count(&self) -> Option<u64> {
        let client = jetstream::new(async_nats::connect(self.address()).await.ok()?);
        Some(client.get_stream("windu").await.ok()?.cached_info().state.messages)
    }

    /// Waits until the stream gets more.
    pub async fn wait_for_more(&self) {
        let mut before = None;
        wait_until_async("more events in the stream", DEADLINE, async || {
            let count = self.count().await?;
            (count > *before.get_or_insert(count)).then_some(())
        })
        .await;
    }

    /// Reads all that the stream has.
    ///
    /// # Panics
    /// When a message is no event, is there twice, or is not the next one of its account.
    pub async fn read(&self) -> (Followed, Vec<(String, Value)>) {
        let (stream, mut followed, mut messages) = (self.stream().await, Followed::default(), Vec::new());
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            let event: Value = serde_json::from_slice(&message.payload).expect("JSON");
            let id = message.headers.get("Nats-Msg-Id").expect("an id").as_str();
            assert_eq!(event["id"], id);
            let subject = message.subject.to_string();
            let end = format!(
                ".{}.{}",
                event["account"].as_str().expect("an account"),
                event["type"].as_str().expect("a type")
            );
            assert!(subject.starts_with("windu.user") && subject.ends_with(&end), "{subject}: {event}");
            followed.take(&event);
            messages.push((subject, event));
        }
        (followed, messages)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // Before its pipe closes, or it would kill another process with the same id.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}
