//! An independent client: slixmpp in a process of its own, which peer.py drives. It shares no code with the program.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::XmppServer;
use super::chat::Chat;
use super::wait::DEADLINE;

/// The password of [`Peer::register`].
pub const PASSWORD: &str = "the peer's password";

/// How a peer connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    StartTls,
    Direct,
    Off,
}

/// A login, for [`Peer::try_login`].
pub struct Login<'a> {
    pub address: SocketAddr,
    pub encryption: Encryption,
    /// Without a resource.
    pub jid: &'a str,
    pub password: &'a str,
    /// The only authority that is trusted.
    pub ca_file: &'a Path,
    /// Without one the server chooses.
    pub resource: Option<&'a str>,
    /// Whether it answers messages with receipts by itself, as most clients do.
    pub receipts: bool,
}

/// A logged-in client; its process is killed when it is dropped. It is not available until [`Peer::available`].
pub struct Peer {
    jid: String,
    full_jid: String,
    _process: Child,
    commands: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    shared: Arc<Shared>,
    /// The reader of its output.
    _tasks: JoinSet<()>,
}

/// A file that is somewhere on the web.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    pub length: u64,
    /// In hexadecimal.
    pub sha256: String,
}

#[derive(Default)]
struct Shared {
    events: Mutex<Vec<Value>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// Changes with each event; whether the output has ended.
    changed: watch::Sender<bool>,
}

impl Peer {
    /// What is not installed, for a report of tests that do not run.
    pub fn missing() -> Option<String> {
        let versions = fs::read_dir(environment().join("lib")).into_iter().flatten().flatten();
        let is_there =
            versions.map(|entry| entry.path().join("site-packages/slixmpp")).any(|path| path.exists());
        (!is_there).then(|| "slixmpp is not installed (tests/run does that)".to_owned())
    }

    /// Makes an account, logs in and becomes available.
    pub async fn register(server: &XmppServer, name: &str) -> Self {
        server.add_user(name, PASSWORD);
        let peer = Self::login(server, name, PASSWORD).await;
        peer.available().await;
        peer
    }

    /// Logs in with STARTTLS, and answers messages with receipts by itself.
    pub async fn login(server: &XmppServer, name: &str, password: &str) -> Self {
        let login = Login {
            address: server.address(),
            encryption: Encryption::StartTls,
            jid: &server.jid(name),
            password,
            ca_file: server.ca_file(),
            resource: None,
            receipts: true,
        };
        Self::try_login(login).await.unwrap_or_else(|error| panic!("the login of {name}: {error}"))
    }

    /// Logs in. An error begins with `certificate:`, `connection:`, `stream error:` or `ended:`, or is `not-authorized` or
    /// `no login in time`, as when a server offers nothing that it accepts.
    pub async fn try_login(login: Login<'_>) -> Result<Self, String> {
        let mut process = Command::new(environment().join("bin/python"))
            .args(["-c", include_str!("peer.py")])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python");
        let commands = process.stdin.take().expect("piped");
        let output = process.stdout.take().expect("piped");
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(read(output, shared.clone()));
        let mut peer = Self {
            jid: login.jid.to_owned(),
            full_jid: String::new(),
            _process: process,
            commands: commands.into(),
            next: AtomicU64::default(),
            shared,
            _tasks: tasks,
        };
        let tls = match login.encryption {
            Encryption::StartTls => "starttls",
            Encryption::Direct => "direct",
            Encryption::Off => "off",
        };
        let (host, port) = (login.address.ip(), login.address.port());
        let answer = peer.ask(json!({
            "do": "login", "host": host, "port": port, "tls": tls, "jid": login.jid, "password": login.password,
            "ca_file": login.ca_file, "resource": login.resource, "receipts": login.receipts,
        }));
        peer.full_jid = string(&answer.await?);
        Ok(peer)
    }

    /// Its address without a resource.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Its address with the resource.
    pub fn full_jid(&self) -> &str {
        &self.full_jid
    }

    /// The conversation with a person.
    pub fn chat(&self, jid: &str) -> Chat<'_> {
        Chat::new(self, jid, "chat")
    }

    /// The conversation of a room, which it has joined.
    pub fn room(&self, jid: &str) -> Chat<'_> {
        Chat::new(self, jid, "groupchat")
    }

    /// Waits for an event and takes it out of the list; `what` is for the report when none comes.
    ///
    /// # Panics
    /// When the deadline passes or its process ends.
    pub async fn until(&self, what: &str, mut predicate: impl FnMut(&Value) -> bool) -> Value {
        let mut changes = self.shared.changed.subscribe();
        let search = async {
            loop {
                let has_ended = *changes.borrow_and_update();
                {
                    let mut events = self.shared.events.lock().expect("not poisoned");
                    if let Some(place) = events.iter().position(&mut predicate) {
                        return Some(events.remove(place));
                    }
                }
                if has_ended || changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = tokio::time::timeout(DEADLINE, search).await.ok().flatten();
        found.unwrap_or_else(|| panic!("{} waited for: {what}; it has: {:#?}", self.jid, self.brief_events()))
    }

    /// Waits for a message with this text from a person or in a room.
    pub async fn hears(&self, from: &str, body: &str) -> Value {
        self.until(&format!("{body:?} from {from}"), |event| {
            event["event"] == "message" && event["body"] == body && is_from(event, from)
        })
        .await
    }

    /// All events that were not taken.
    pub fn events(&self) -> Vec<Value> {
        self.shared.events.lock().expect("not poisoned").clone()
    }

    /// Forgets the events so far.
    pub fn forget(&self) {
        self.shared.events.lock().expect("not poisoned").clear();
    }

    /// Presence for all who may see it; returns when the server knows it. From now on messages to the address without a
    /// resource come. ejabberd may keep one that comes at the same moment for the next login.
    pub async fn available(&self) {
        self.do_it(json!({"do": "presence"})).await;
        self.until("the own presence", |event| {
            event["event"] == "presence" && event["from"] == *self.full_jid && event["type"].is_null()
        })
        .await;
    }

    /// Presence with any of: `to`, `kind` (`unavailable`), `show`, `status`, `idle` (since when, RFC 3339), `priority`.
    pub async fn presence(&self, what: Value) {
        self.with("presence", what).await;
    }

    /// Asks to see somebody's presence.
    pub async fn subscribe(&self, to: &str) {
        self.presence(json!({"to": to, "kind": "subscribe"})).await;
    }

    /// Lets somebody see the presence.
    pub async fn accept(&self, who: &str) {
        self.presence(json!({"to": who, "kind": "subscribed"})).await;
    }

    /// Its contacts with their subscriptions: `none`, `to`, `from` or `both`.
    pub async fn roster(&self) -> Value {
        self.do_it(json!({"do": "roster"})).await
    }

    /// Publishes its name (XEP-0172).
    pub async fn nickname(&self, nick: &str) {
        self.do_it(json!({"do": "nickname", "nick": nick})).await;
    }

    /// Publishes its photo (XEP-0084); returns the id.
    pub async fn avatar(&self, picture: &[u8], mime: &str, width: u32, height: u32) -> String {
        let data = BASE64.encode(picture);
        let what = json!({"data": data, "mime": mime, "width": width, "height": height});
        string(&self.with("avatar", what).await)
    }

    /// Gets the data of somebody's photo, or the server's error.
    pub async fn avatar_of(&self, jid: &str, id: &str) -> Result<Fetched, String> {
        self.ask(json!({"do": "avatar_of", "jid": jid, "id": id})).await.map(|answer| fetched(&answer))
    }

    /// Uploads a file (XEP-0363); returns its URL.
    pub async fn upload(&self, content: &[u8], name: &str, mime: &str) -> String {
        let what = json!({"data": BASE64.encode(content), "name": name, "mime": mime});
        string(&self.with("upload", what).await)
    }

    /// Gets what is at a URL, or an error such as `status 404`.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, String> {
        self.ask(json!({"do": "fetch", "url": url})).await.map(|answer| fetched(&answer))
    }

    /// Joins a room and gets the last `history` messages of it, or says why not: `registration-required`.
    pub async fn join(&self, room: &str, nick: &str, history: u32) -> Result<(), String> {
        self.ask(json!({"do": "join", "room": room, "nick": nick, "history": history})).await.map(drop)
    }

    /// Leaves a room until it joins again.
    pub async fn leave(&self, room: &str, nick: &str) {
        self.do_it(json!({"do": "leave", "room": room, "nick": nick})).await;
    }

    /// Makes a room, for members only, and gives affiliations: `{"bert@prosody.example": "member"}`.
    pub async fn create_room(&self, room: &str, nick: &str, affiliations: Value) {
        let form = json!({
            "muc#roomconfig_persistentroom": "1", "muc#roomconfig_membersonly": "1",
            "muc#roomconfig_whois": "anyone", "muc#roomconfig_publicroom": "0",
            "muc#roomconfig_moderatedroom": "0", "muc#roomconfig_changesubject": "1",
        });
        let what = json!({"room": room, "nick": nick, "form": form, "affiliations": affiliations});
        self.with("create_room", what).await;
    }

    /// Sets an affiliation, or says why not.
    pub async fn affiliate(&self, room: &str, jid: &str, affiliation: &str) -> Result<(), String> {
        let what = json!({"do": "affiliate", "room": room, "jid": jid, "affiliation": affiliation});
        self.ask(what).await.map(drop)
    }

    /// Who has an affiliation.
    pub async fn affiliates(&self, room: &str, affiliation: &str) -> Value {
        self.do_it(json!({"do": "affiliates", "room": room, "affiliation": affiliation})).await
    }

    /// Invites somebody directly (XEP-0249).
    pub async fn invite(&self, room: &str, jid: &str) {
        self.do_it(json!({"do": "invite", "room": room, "jid": jid})).await;
    }

    /// Changes the subject of a room.
    pub async fn subject(&self, room: &str, subject: &str) {
        self.do_it(json!({"do": "subject", "room": room, "subject": subject})).await;
    }

    /// Up to `limit` messages of the own archive, or a room's, after an id of that archive; the oldest first.
    pub async fn archive(&self, jid: Option<&str>, after: Option<&str>, limit: u32) -> Vec<Value> {
        let what = json!({"jid": jid, "after": after, "limit": limit});
        let Value::Array(messages) = self.with("archive", what).await else { panic!("no list") };
        messages
    }

    /// Asks for copies of what its other clients send and get (XEP-0280).
    pub async fn carbons(&self) {
        self.do_it(json!({"do": "carbons"})).await;
    }

    /// Whether it answers messages with receipts by itself.
    pub async fn automatic_receipts(&self, automatic: bool) {
        self.do_it(json!({"do": "receipts", "automatic": automatic})).await;
    }

    /// Sends any XML.
    pub async fn raw(&self, xml: &str) {
        self.do_it(json!({"do": "raw", "xml": xml})).await;
    }

    /// Sends any request and returns the XML of its answer, or the condition of its error. The element needs its
    /// namespace: `<iq xmlns='jabber:client' …`.
    pub async fn request(&self, xml: &str) -> Result<String, String> {
        self.ask(json!({"do": "request", "xml": xml})).await.map(|answer| string(&answer))
    }

    /// Ends its stream in good order.
    pub async fn logout(self) {
        self.do_it(json!({"do": "logout"})).await;
    }

    /// Does any command of peer.py.
    pub async fn ask(&self, mut command: Value) -> Result<Value, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        command["number"] = number.into();
        let (answer, answered) = oneshot::channel();
        self.shared.waiting.lock().expect("not poisoned").insert(number, answer);
        let line = format!("{command}\n");
        self.commands.lock().await.write_all(line.as_bytes()).await.map_err(|error| error.to_string())?;
        // The process has its own, shorter deadline.
        let answer = tokio::time::timeout(DEADLINE + Duration::from_secs(5), answered).await;
        let mut answer =
            answer.expect("an answer in time").map_err(|_| "its process has ended".to_owned())?;
        match answer.get("error") {
            Some(error) => Err(string(error)),
            None => Ok(answer["result"].take()),
        }
    }

    async fn do_it(&self, command: Value) -> Value {
        let shown = command["do"].clone();
        self.ask(command).await.unwrap_or_else(|error| panic!("{}: {shown}: {error}", self.jid))
    }

    /// Does a command of peer.py that must succeed.
    pub async fn with(&self, name: &str, mut arguments: Value) -> Value {
        arguments["do"] = name.into();
        self.do_it(arguments).await
    }

    /// The last events without their XML, for reports.
    fn brief_events(&self) -> Vec<String> {
        let events = self.events();
        let last = events.iter().skip(events.len().saturating_sub(30)).cloned();
        let brief = last.map(|mut event| {
            event.as_object_mut().map(|event| event.remove("xml"));
            event.to_string()
        });
        brief.collect()
    }
}

/// Whether an event is from an address, with any resource.
pub fn is_from(event: &Value, jid: &str) -> bool {
    event["from"].as_str().and_then(|from| from.split('/').next()) == Some(jid)
}

/// The virtual environment in which tests/run installs slixmpp.
fn environment() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("xmpp")
}

async fn read(output: ChildStdout, shared: Arc<Shared>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).expect("a JSON object");
        if event["event"] == "answer" {
            let number = event["number"].as_u64().expect("a number");
            let waiting = shared.waiting.lock().expect("not poisoned").remove(&number);
            // Who asked may have given up.
            let _ = waiting.map(|waiting| waiting.send(event));
        } else {
            shared.events.lock().expect("not poisoned").push(event);
            shared.changed.send_replace(false);
        }
    }
    shared.waiting.lock().expect("not poisoned").clear();
    shared.changed.send_replace(true);
}

/// The text of a JSON string.
pub fn string(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn fetched(answer: &Value) -> Fetched {
    Fetched { length: answer["length"].as_u64().expect("a length"), sha256: string(&answer["sha256"]) }
}
