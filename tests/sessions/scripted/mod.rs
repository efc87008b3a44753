//! A network that does as the test tells it, and notes what is asked of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use windu::domain::{Content, PhoneNumber, Photo, Privacy, ReceiptKind, Typing};
use windu::upstream::{
    Acknowledgement, AdapterState, Address, Capabilities, Connection, Connector, Credentials, End, Failure,
    FileStream, Group, GroupEdit, GroupFailure, Groups, Incoming, Login, Opened, Outgoing, Profile,
    ReadReceipt, RegistrationKind, ResumePoint, SendFailure, Signal, UpstreamEvent,
};

use crate::support::wait::{DEADLINE, wait_until_async};

pub const NETWORK: &str = "scripted";

/// What opening a connection does.
#[derive(Clone, Copy, Debug)]
pub enum Opening {
    /// It opens and has caught up at once: what happens when nothing else is planned.
    Online,
    /// It opens and tells nothing.
    Quiet,
    /// It fails.
    Fails(End),
    /// It panics.
    Panics,
    /// It never answers.
    Hangs,
}

/// What one thing asked of an open connection or the connector does. Nothing planned: it succeeds.
#[derive(Clone, Debug)]
pub enum Deed {
    Fails(Failure),
    Panics,
    Hangs,
}

/// Something asked of a connection or the connector, as the network noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Send {
        id: String,
        to: String,
        text: String,
        outcome: Result<(), SendFailure>,
    },
    Acknowledge(Vec<u64>),
    /// To whom, which message, and in which group.
    Read(Vec<(String, String, Option<String>)>),
    Typing(String, Typing),
    Discard(Vec<u64>),
    Fetch(String),
    Nickname(String),
    StatusMessage(String),
    Photo(Option<Photo>),
    Online(bool),
    Privacy(Privacy),
    Contacts(Vec<String>),
    Blocked(Vec<String>),
    Watch(Vec<String>),
    CreateGroup {
        operation: String,
        subject: String,
        members: Vec<String>,
    },
    ChangeGroup {
        operation: String,
        group: String,
        wish: GroupEdit,
    },
    Existing,
    Register,
    Unregister,
}

/// The network; clones share it, so that several processes meet on it.
#[derive(Clone, Default)]
pub struct Scripted {
    scripts: Arc<Mutex<HashMap<PhoneNumber, Script>>>,
}

#[derive(Default)]
struct Script {
    openings: VecDeque<Opening>,
    deeds: HashMap<&'static str, VecDeque<Deed>>,
    /// What becomes of the next attempts to send this text.
    sends: HashMap<String, VecDeque<SendFailure>>,
    /// The files that the network keeps, in the parts in which they come.
    files: HashMap<String, Vec<Result<Bytes, Failure>>>,
    asked: Vec<Asked>,
    logins: Vec<Login>,
    /// The answers to what is asked about groups.
    groups: VecDeque<Result<Group, GroupFailure>>,
    /// The newest connection's.
    signals: Option<mpsc::Sender<Signal>>,
    open: usize,
}

/// One number's end of the network.
#[derive(Clone)]
pub struct Line {
    network: Scripted,
    number: PhoneNumber,
}

impl Scripted {
    pub fn line(&self, number: &PhoneNumber) -> Line {
        Line { network: self.clone(), number: number.clone() }
    }
}

impl Line {
    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(self.network.scripts.lock().unwrap().entry(self.number.clone()).or_default())
    }

    /// What the next openings do.
    pub fn plan(&self, openings: &[Opening]) {
        self.script(|script| script.openings.extend(openings));
    }

    /// What the next thing of this kind does: `acknowledge`, `discard`, `read`, `fetch`, `nickname`, `status_message`, `photo`, `online`,
    /// `privacy`, `contacts`, `blocked`, `watch`, `existing`, `register` or `unregister`; or `send`, which can only hang.
    pub fn plan_deed(&self, kind: &'static str, deed: Deed) {
        self.script(|script| script.deeds.entry(kind).or_default().push_back(deed));
    }

    /// What becomes of the next attempts to send this text.
    pub fn plan_send(&self, text: &str, failures: &[SendFailure]) {
        self.script(|script| script.sends.entry(text.to_owned()).or_default().extend(failures));
    }

    /// Keeps a file for the number, which comes in these parts.
    pub fn keep_file(&self, reference: &str, parts: Vec<Result<Bytes, Failure>>) {
        self.script(|script| script.files.insert(reference.to_owned(), parts));
    }

    /// What is answered to the next that is asked about a group. Nothing planned: it hangs.
    pub fn plan_group(&self, answer: Result<Group, GroupFailure>) {
        self.script(|script| script.groups.push_back(answer));
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.script(|script| script.asked.clone())
    }

    /// The texts that the network was asked to send, in order, with what became of them.
    pub fn sent(&self) -> Vec<(String, Result<(), SendFailure>)> {
        let asked = self.asked().into_iter();
        asked
            .filter_map(|asked| match asked {
                Asked::Send { text, outcome, .. } => Some((text, outcome)),
                _ => None,
            })
            .collect()
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        let asked = self.asked().into_iter();
        asked
            .filter_map(|asked| if let Asked::Acknowledge(ids) = asked { Some(ids) } else { None })
            .flatten()
            .collect()
    }

    /// The logins that connections were opened with.
    pub fn logins(&self) -> Vec<Login> {
        self.script(|script| script.logins.clone())
    }

    /// Connections that nobody has let go of.
    pub fn open(&self) -> usize {
        self.script(|script| script.open)
    }

    /// Waits until so many connections were opened in all.
    pub async fn opened(&self, count: usize) {
        let what = format!("{count} connections of {:?}", self.number);
        wait_until_async(&what, DEADLINE, async || (self.logins().len() >= count).then_some(())).await;
    }

    /// Waits until something was asked.
    pub async fn was_asked(&self, wanted: &Asked) {
        let what = format!("{wanted:?}");
        wait_until_async(&what, DEADLINE, async || self.asked().contains(wanted).then_some(())).await;
    }

    /// Lets the newest connection tell something, or its session's end be heard: false.
    pub async fn tell(&self, signal: Signal) -> bool {
        let signals = self.script(|script| script.signals.clone());
        signals.expect("an open connection").send(signal).await.is_ok()
    }

    pub async fn happens(&self, events: Vec<Incoming>) -> bool {
        self.tell(Signal::Events(events)).await
    }

    pub async fn ends(&self, end: End) {
        self.tell(Signal::End(end)).await;
    }

    /// Tells the events and waits until the last one is acknowledged, which says that all are stored.
    pub async fn stores(&self, events: Vec<Incoming>) {
        let last = events.iter().rev().find_map(|event| event.acknowledgement.clone()).unwrap();
        let before = self.acknowledged().iter().filter(|id| **id == last.0).count();
        assert!(self.happens(events).await);
        let acknowledged =
            async || (self.acknowledged().iter().filter(|id| **id == last.0).count() > before).then_some(());
        wait_until_async("the acknowledgement", DEADLINE, acknowledged).await;
    }

    async fn group(&self, asked: Asked) -> Result<Group, GroupFailure> {
        let answer = self.script(|script| {
            script.asked.push(asked);
            script.groups.pop_front()
        });
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn deed(&self, kind: &'static str, asked: Asked) -> Result<(), Failure> {
        let deed = self.script(|script| {
            script.asked.push(asked);
            script.deeds.get_mut(kind).and_then(VecDeque::pop_front)
        });
        match deed {
            None => Ok(()),
            Some(Deed::Fails(failure)) => Err(failure),
            Some(Deed::Panics) => panic!("the test wants {kind} to panic"),
            Some(Deed::Hangs) => std::future::pending().await,
        }
    }
}

/// A message from somebody, to be acknowledged under a number.
pub fn message(from: &str, id: &str, text: &str, number: u64) -> Incoming {
    let content = Content::Text(text.to_owned());
    told(
        UpstreamEvent::Message {
            from: address(from),
            id: id.to_owned(),
            content,
            sent_at: long_ago(),
            group: None,
        },
        number,
    )
}

pub fn receipt(from: &str, id: &str, kind: ReceiptKind, number: u64) -> Incoming {
    told(UpstreamEvent::Receipt { from: address(from), id: id.to_owned(), kind, group: None }, number)
}

pub fn told(event: UpstreamEvent, number: u64) -> Incoming {
    Incoming { event, acknowledgement: Some(Acknowledgement(number)), resume_point: None }
}

/// The same, with a resume point.
pub fn at(point: &str, incoming: Incoming) -> Incoming {
    Incoming { resume_point: Some(ResumePoint(point.as_bytes().to_vec())), ..incoming }
}

pub fn address(number: &str) -> Address {
    Address(format!("{number}@scripted"))
}

pub fn long_ago() -> DateTime<Utc> {
    DateTime::from_timestamp(1_466_000_000, 0).unwrap()
}

#[async_trait]
impl Connector for Scripted {
    fn network(&self) -> &'static str {
        NETWORK
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { largest_group: 10, tells_again: true }
    }

    fn registration(&self) -> RegistrationKind {
        RegistrationKind::OurCode
    }

    fn address_of(&self, number: &PhoneNumber) -> Address {
        address(number.as_str())
    }

    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        address.0.strip_suffix("@scripted")?.parse().ok()
    }

    fn is_group(&self, address: &Address) -> bool {
        address.0.ends_with("@groups.scripted")
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        self.line(number).deed("register", Asked::Register).await?;
        Ok(Credentials(b"login".to_vec()))
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.line(number).deed("unregister", Asked::Unregister).await
    }

    /// All that are asked for, but those that begin with 9. The plan is that of the first.
    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        self.line(&numbers[0]).deed("existing", Asked::Existing).await?;
        Ok(numbers.iter().filter(|number| !number.as_str().starts_with('9')).cloned().collect())
    }

    async fn open(&self, login: Login, _state: Arc<dyn AdapterState>) -> Result<Opened, End> {
        let line = self.line(&login.number);
        let opening = line.script(|script| {
            script.logins.push(login);
            script.openings.pop_front().unwrap_or(Opening::Online)
        });
        let (sender, signals) = mpsc::channel(4);
        match opening {
            Opening::Online => sender.try_send(Signal::CaughtUp).unwrap(),
            Opening::Quiet => {}
            Opening::Fails(end) => return Err(end),
            Opening::Panics => panic!("the test wants opening to panic"),
            Opening::Hangs => std::future::pending().await,
        }
        line.script(|script| {
            script.signals = Some(sender);
            script.open += 1;
        });
        Ok(Opened { connection: Arc::new(ScriptedConnection(line)), signals })
    }
}

struct ScriptedConnection(Line);

impl Drop for ScriptedConnection {
    fn drop(&mut self) {
        self.0.script(|script| script.open -= 1);
    }
}

#[async_trait]
impl Connection for ScriptedConnection {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<(), SendFailure>> {
        let planned = self.0.script(|script| script.deeds.get_mut("send").and_then(VecDeque::pop_front));
        match planned {
            None => {}
            Some(Deed::Hangs) => std::future::pending().await,
            Some(other) => panic!("a send that {other:?} is planned by its text"),
        }
        let mut held_up = Vec::new();
        let outcomes = messages.iter().map(|message| {
            let Content::Text(text) = &message.content else { panic!("a text is planned") };
            self.0.script(|script| {
                let planned = script.sends.get_mut(text).and_then(VecDeque::pop_front);
                let outcome = match planned {
                    _ if held_up.contains(&&message.to) => Err(SendFailure::NotTried),
                    None => Ok(()),
                    Some(failure) => {
                        if !matches!(failure, SendFailure::Refused(_)) {
                            held_up.push(&message.to);
                        }
                        Err(failure)
                    }
                };
                let (id, to) = (message.id.clone(), message.to.0.clone());
                script.asked.push(Asked::Send { id, to, text: text.clone(), outcome });
                outcome
            })
        });
        outcomes.collect()
    }

    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = stored.iter().map(|stored| stored.0).collect();
        self.0.deed("acknowledge", Asked::Acknowledge(ids)).await
    }

    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = dropped.iter().map(|dropped| dropped.0).collect();
        self.0.deed("discard", Asked::Discard(ids)).await
    }

    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure> {
        let group = |receipt: &ReadReceipt| receipt.group.as_ref().map(|group| group.0.clone());
        let receipts = receipts
            .iter()
            .map(|receipt| (receipt.to.0.clone(), receipt.id.clone(), group(receipt)))
            .collect();
        self.0.deed("read", Asked::Read(receipts)).await
    }

    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure> {
        self.0.deed("typing", Asked::Typing(to.0.clone(), typing)).await
    }

    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure> {
        self.0.deed("fetch", Asked::Fetch(reference.to_owned())).await?;
        let file = self.0.script(|script| script.files.get(reference).cloned());
        let file = file.ok_or_else(|| Failure::Refused("there is no such file".to_owned()))?;
        Ok(Box::pin(futures_util::stream::iter(file)))
    }
}

#[async_trait]
impl Profile for ScriptedConnection {
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure> {
        self.0.deed("nickname", Asked::Nickname(nickname.to_owned())).await
    }

    async fn set_status_message(&self, text: &str) -> Result<(), Failure> {
        self.0.deed("status_message", Asked::StatusMessage(text.to_owned())).await
    }

    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        self.0.deed("photo", Asked::Photo(photo)).await
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        self.0.deed("online", Asked::Online(online)).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure> {
        self.0.deed("privacy", Asked::Privacy(privacy)).await
    }

    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure> {
        self.0.deed("contacts", Asked::Contacts(texts(contacts))).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        self.0.deed("blocked", Asked::Blocked(texts(blocked))).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        self.0.deed("watch", Asked::Watch(texts(peers))).await
    }
}

#[async_trait]
impl Groups for ScriptedConnection {
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        let (operation, subject) = (operation.to_owned(), subject.to_owned());
        let members = members.iter().map(|member| member.0.clone()).collect();
        self.0.group(Asked::CreateGroup { operation, subject, members }).await
    }

    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        wish: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        let (operation, group, wish) = (operation.to_owned(), group.0.clone(), wish.clone());
        self.0.group(Asked::ChangeGroup { operation, group, wish }).await
    }
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|address| address.0.clone()).collect()
}
