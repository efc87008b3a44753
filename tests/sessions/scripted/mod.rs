//! A scripted network that records its calls.

mod codes;
mod connector;
mod private;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use windu::domain::{Content, PhoneNumber, Photo, Privacy, ReceiptKind, Typing};
use windu::upstream::{
    Acknowledgement, Address, CodeMethod, Credentials, End, Failure, Group, GroupEdit, GroupFailure,
    Incoming, Login, Proof, ResumePoint, SendFailure, SentCode, Signal, Submitted, UpstreamEvent,
};

use crate::support::wait::{DEADLINE, wait_until_async};

pub use private::{PRIVATE_NETWORK, Private};

/// The network whose accounts are ours.
pub const NETWORK: &str = "scripted";
/// The network whose accounts are those of persons, and which sends codes.
pub const PERSONS: &str = "scripted_persons";

/// The result of opening a connection.
#[derive(Clone, Copy, Debug)]
pub enum Opening {
    /// It opens and has caught up at once: the default.
    Online,
    /// It opens and sends nothing.
    Quiet,
    /// It fails.
    Fails(End),
    /// It panics.
    Panics,
    /// It never answers.
    Hangs,
}

/// The fault of a call of a connection or the connector. Without a fault it succeeds.
#[derive(Clone, Debug)]
pub enum Fault {
    Fails(Failure),
    Panics,
    Hangs,
    /// It goes on when the test says so.
    Waits(Arc<Notify>),
}

/// A recorded call of a connection or the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Send {
        id: String,
        to: String,
        text: String,
        outcome: Result<(), SendFailure>,
    },
    Acknowledge(Vec<u64>),
    /// Receiver, message and group.
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
        edit: GroupEdit,
    },
    Existing,
    Register,
    Unregister,
    Start(CodeMethod),
    Again(CodeMethod),
    Submit(Proof),
    LogOut {
        credentials: Credentials,
        state: Values,
    },
}

/// What an adapter keeps, by key.
pub type Values = Vec<(String, Vec<u8>)>;

/// The network; clones share it, so that several processes can use it.
#[derive(Clone, Default)]
pub struct Scripted {
    scripts: Arc<Mutex<HashMap<PhoneNumber, Script>>>,
    /// Whether it is [`PERSONS`].
    persons: bool,
    /// The network chooses the ids of messages.
    pub remote_ids: Arc<AtomicBool>,
    /// How long a person may be written to after their last message; 0: at any time.
    pub reply_seconds: Arc<AtomicU64>,
}

#[derive(Default)]
struct Script {
    openings: VecDeque<Opening>,
    faults: HashMap<&'static str, VecDeque<Fault>>,
    /// The failures of the next attempts to send this text.
    sends: HashMap<String, VecDeque<SendFailure>>,
    /// The ids that the network chooses for these texts.
    remote_ids: HashMap<String, String>,
    /// The files of the network, in chunks.
    files: HashMap<String, Vec<Result<Bytes, Failure>>>,
    /// What the network lets the account know of numbers.
    addresses: HashMap<PhoneNumber, String>,
    calls: Vec<Call>,
    logins: Vec<Login>,
    /// The answers to group calls.
    groups: VecDeque<Result<Group, GroupFailure>>,
    /// The answers to the next codes that the network is asked for. Without one it sends the code as asked for.
    codes: VecDeque<SentCode>,
    /// The answers to what is submitted. Without one it is right.
    submissions: VecDeque<Submitted>,
    /// The adapter's state at each opening, on [`PERSONS`].
    states: Vec<Values>,
    /// The channel of the newest connection.
    signals: Option<mpsc::Sender<Signal>>,
    open: usize,
}

/// The connections of one number, for the test.
#[derive(Clone)]
pub struct Line {
    network: Scripted,
    number: PhoneNumber,
}

impl Scripted {
    /// The network whose accounts are those of persons.
    pub fn of_persons() -> Self {
        Self { persons: true, ..Self::default() }
    }

    pub fn line(&self, number: &PhoneNumber) -> Line {
        Line { network: self.clone(), number: number.clone() }
    }
}

impl Line {
    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(self.network.scripts.lock().unwrap().entry(self.number.clone()).or_default())
    }

    /// Plans the next openings.
    pub fn plan(&self, openings: &[Opening]) {
        self.script(|script| script.openings.extend(openings));
    }

    /// Plans a fault of the next call of a kind: `acknowledge`, `discard`, `read`, `fetch`, `nickname`,
    /// `status_message`, `photo`, `online`,
    /// `privacy`, `contacts`, `blocked`, `watch`, `existing`, `register`, `unregister`, `start`, `again`, `submit` or
    /// `log_out`; or `send`, which can only hang or wait.
    pub fn plan_fault(&self, kind: &'static str, deed: Fault) {
        self.script(|script| script.faults.entry(kind).or_default().push_back(deed));
    }

    /// The failures of the next attempts to send this text.
    pub fn plan_send(&self, text: &str, failures: &[SendFailure]) {
        self.script(|script| script.sends.entry(text.to_owned()).or_default().extend(failures));
    }

    /// The id that the network chooses for messages with this text.
    pub fn plan_remote_id(&self, text: &str, id: &str) {
        self.script(|script| script.remote_ids.insert(text.to_owned(), id.to_owned()));
    }

    /// Stores a file for the number, in these chunks.
    pub fn keep_file(&self, reference: &str, parts: Vec<Result<Bytes, Failure>>) {
        self.script(|script| script.files.insert(reference.to_owned(), parts));
    }

    /// The answer to the next group call. Without an answer it hangs.
    pub fn plan_group(&self, answer: Result<Group, GroupFailure>) {
        self.script(|script| script.groups.push_back(answer));
    }

    /// The code that the network sends when it is asked next.
    pub fn plan_code(&self, sent: SentCode) {
        self.script(|script| script.codes.push_back(sent));
    }

    /// The answers to what is submitted next.
    pub fn plan_submissions(&self, answers: &[Submitted]) {
        self.script(|script| script.submissions.extend(answers.iter().cloned()));
    }

    /// The adapter's state at each opening, on [`PERSONS`].
    pub fn states(&self) -> Vec<Values> {
        self.script(|script| script.states.clone())
    }

    /// The credentials of the log-outs.
    pub fn log_outs(&self) -> Vec<(Credentials, Values)> {
        let log_out = |call| {
            if let Call::LogOut { credentials, state } = call { Some((credentials, state)) } else { None }
        };
        self.calls().into_iter().filter_map(log_out).collect()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.script(|script| script.calls.clone())
    }

    /// The sent texts in order, with their outcomes.
    pub fn sent(&self) -> Vec<(String, Result<(), SendFailure>)> {
        let calls = self.calls().into_iter();
        calls
            .filter_map(|call| match call {
                Call::Send { text, outcome, .. } => Some((text, outcome)),
                _ => None,
            })
            .collect()
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        let calls = self.calls().into_iter();
        calls
            .filter_map(|call| if let Call::Acknowledge(ids) = call { Some(ids) } else { None })
            .flatten()
            .collect()
    }

    /// The logins of the opened connections.
    pub fn logins(&self) -> Vec<Login> {
        self.script(|script| script.logins.clone())
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.script(|script| script.open)
    }

    /// Waits until `count` connections were opened in total.
    pub async fn opened(&self, count: usize) {
        let what = format!("{count} connections of {:?}", self.number);
        wait_until_async(&what, DEADLINE, async || (self.logins().len() >= count).then_some(())).await;
    }

    /// Waits for a call.
    pub async fn waits_for_call(&self, wanted: &Call) {
        let what = format!("{wanted:?}");
        wait_until_async(&what, DEADLINE, async || self.calls().contains(wanted).then_some(())).await;
    }

    /// Sends a signal through the newest connection; false when its session has ended.
    pub async fn signal(&self, signal: Signal) -> bool {
        let signals = self.script(|script| script.signals.clone());
        signals.expect("an open connection").send(signal).await.is_ok()
    }

    pub async fn receives(&self, events: Vec<Incoming>) -> bool {
        self.signal(Signal::Events(events)).await
    }

    pub async fn ends(&self, end: End) {
        self.signal(Signal::End(end)).await;
    }

    /// Delivers the events and waits until the last one is acknowledged, so that all are stored.
    pub async fn stores(&self, events: Vec<Incoming>) {
        let last = events.iter().rev().find_map(|event| event.acknowledgement.clone()).unwrap();
        let before = self.acknowledged().iter().filter(|id| **id == last.0).count();
        assert!(self.receives(events).await);
        let acknowledged =
            async || (self.acknowledged().iter().filter(|id| **id == last.0).count() > before).then_some(());
        wait_until_async("the acknowledgement", DEADLINE, acknowledged).await;
    }

    async fn group(&self, call: Call) -> Result<Group, GroupFailure> {
        let answer = self.script(|script| {
            script.calls.push(call);
            script.groups.pop_front()
        });
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn call(&self, kind: &'static str, call: Call) -> Result<(), Failure> {
        let deed = self.script(|script| {
            script.calls.push(call);
            script.faults.get_mut(kind).and_then(VecDeque::pop_front)
        });
        match deed {
            None => Ok(()),
            Some(Fault::Fails(failure)) => Err(failure),
            Some(Fault::Panics) => panic!("the test wants {kind} to panic"),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Waits(released)) => {
                released.notified().await;
                Ok(())
            }
        }
    }
}

/// An inbound text message with this acknowledgement.
pub fn message(from: &str, id: &str, text: &str, number: u64) -> Incoming {
    let content = Content::Text(text.to_owned());
    incoming(
        UpstreamEvent::Message {
            from: address(from),
            id: id.to_owned(),
            content,
            reply_to: None,
            sent_at: long_ago(),
            group: None,
        },
        number,
    )
}

pub fn receipt(from: &str, id: &str, kind: ReceiptKind, number: u64) -> Incoming {
    let (from, id) = (address(from), id.to_owned());
    incoming(UpstreamEvent::Receipt { from, id, kind, group: None, up_to: false }, number)
}

/// A receipt for a message and all earlier ones.
pub fn receipt_up_to(from: &str, id: &str, kind: ReceiptKind, number: u64) -> Incoming {
    let (from, id) = (address(from), id.to_owned());
    incoming(UpstreamEvent::Receipt { from, id, kind, group: None, up_to: true }, number)
}

pub fn incoming(event: UpstreamEvent, number: u64) -> Incoming {
    Incoming { event, acknowledgement: Some(Acknowledgement(number)), resume_point: None }
}

/// The same event with a resume point.
pub fn at(point: &str, incoming: Incoming) -> Incoming {
    Incoming { resume_point: Some(ResumePoint(point.as_bytes().to_vec())), ..incoming }
}

pub fn address(number: &str) -> Address {
    Address(format!("{number}@scripted"))
}

pub fn long_ago() -> DateTime<Utc> {
    DateTime::from_timestamp(1_466_000_000, 0).unwrap()
}
