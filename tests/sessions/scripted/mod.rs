//! A network that does as the test tells it, and notes what is asked of it.

mod connector;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use windu::domain::{Content, PhoneNumber, Photo, Privacy, ReceiptKind, Typing};
use windu::upstream::{
    Acknowledgement, Address, End, Failure, Group, GroupEdit, GroupFailure, Incoming, Login, ResumePoint,
    SendFailure, Signal, UpstreamEvent,
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
pub enum Fault {
    Fails(Failure),
    Panics,
    Hangs,
}

/// Something asked of a connection or the connector, as the network noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
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
        edit: GroupEdit,
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
    faults: HashMap<&'static str, VecDeque<Fault>>,
    /// What becomes of the next attempts to send this text.
    sends: HashMap<String, VecDeque<SendFailure>>,
    /// The files that the network keeps, in the parts in which they come.
    files: HashMap<String, Vec<Result<Bytes, Failure>>>,
    calls: Vec<Call>,
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
    pub fn plan_fault(&self, kind: &'static str, deed: Fault) {
        self.script(|script| script.faults.entry(kind).or_default().push_back(deed));
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

    pub fn calls(&self) -> Vec<Call> {
        self.script(|script| script.calls.clone())
    }

    /// The texts that the network was asked to send, in order, with what became of them.
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
    pub async fn waits_for_call(&self, wanted: &Call) {
        let what = format!("{wanted:?}");
        wait_until_async(&what, DEADLINE, async || self.calls().contains(wanted).then_some(())).await;
    }

    /// Lets the newest connection tell something, or its session's end be heard: false.
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

    /// Tells the events and waits until the last one is acknowledged, which says that all are stored.
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
        }
    }
}

/// A message from somebody, to be acknowledged under a number.
pub fn message(from: &str, id: &str, text: &str, number: u64) -> Incoming {
    let content = Content::Text(text.to_owned());
    incoming(
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
    incoming(UpstreamEvent::Receipt { from: address(from), id: id.to_owned(), kind, group: None }, number)
}

pub fn incoming(event: UpstreamEvent, number: u64) -> Incoming {
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
