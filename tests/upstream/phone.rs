//! A registered number with its stored state, and its open connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use windu::domain::{Content, PhoneNumber, ProfileNews, ReceiptKind, Visible};
use windu::upstream::{
    AdapterState, Address, Connection, Connector, Credentials, End, Failure, Incoming, Login, Opened,
    Outgoing, ResumePoint, SendFailure, Signal, UpstreamEvent,
};

use crate::network::Network;
use crate::support::wait::DEADLINE;

/// A registered number, with the stored state of a session.
pub struct Phone {
    pub number: PhoneNumber,
    pub credentials: Credentials,
    pub connector: Arc<dyn Connector>,
    state: Arc<MemoryState>,
    resume_point: Arc<Mutex<Option<ResumePoint>>>,
    profiles: Arc<Mutex<Option<Profiles>>>,
}

/// What a number knows of others, by address and part of the profile.
type Profiles = HashMap<(Address, usize), ProfileNews>;

/// An open connection.
pub struct Line {
    pub connection: Arc<dyn Connection>,
    pub signals: mpsc::Receiver<Signal>,
    /// Events of a batch that was read in part.
    pending: Vec<Incoming>,
    resume_point: Arc<Mutex<Option<ResumePoint>>>,
    pub caught_up: bool,
    /// Set on a network that reports states: of those only changes are taken.
    profiles: Arc<Mutex<Option<Profiles>>>,
}

/// The next signal of a connection.
#[derive(Debug)]
pub enum Received {
    UpstreamEvent(Incoming),
    CaughtUp,
    End(End),
}

impl Phone {
    /// A fresh number, registered through a connector of its own process.
    pub async fn new<N: Network>(network: &N) -> Self {
        let phone = Self::on(network.connector().await, network.number()).await;
        *phone.profiles.lock().unwrap() = N::STATES.then(Profiles::new);
        phone
    }

    /// This number, registered through this connector.
    pub async fn on(connector: Arc<dyn Connector>, number: PhoneNumber) -> Self {
        let credentials = connector.register(&number).await.unwrap();
        let (state, resume_point) = (Arc::default(), Arc::default());
        Self { number, credentials, connector, state, resume_point, profiles: Arc::default() }
    }

    /// The same account in another process.
    pub fn moved_to(&self, connector: Arc<dyn Connector>) -> Self {
        Self {
            number: self.number.clone(),
            credentials: self.credentials.clone(),
            connector,
            state: self.state.clone(),
            resume_point: self.resume_point.clone(),
            profiles: self.profiles.clone(),
        }
    }

    pub fn address(&self) -> Address {
        self.connector.address_of(&self.number)
    }

    pub async fn try_open(&self) -> Result<Line, End> {
        let login = Login {
            number: self.number.clone(),
            credentials: self.credentials.clone(),
            resume_point: self.resume_point.lock().unwrap().clone(),
        };
        let opening = self.connector.open(login, self.state.clone());
        let Opened { connection, signals } = timeout(DEADLINE, opening).await.expect("an answer")?;
        let (resume_point, profiles) = (self.resume_point.clone(), self.profiles.clone());
        Ok(Line { connection, signals, pending: Vec::new(), resume_point, caught_up: false, profiles })
    }

    pub async fn open(&self) -> Line {
        self.try_open().await.map_err(|end| format!("{end:?}")).unwrap()
    }

    /// Opens a connection and stores the backlog.
    pub async fn online(&self) -> Line {
        let mut line = self.open().await;
        loop {
            match line.next().await {
                Received::CaughtUp => return line,
                Received::UpstreamEvent(incoming) => line.stored(&[incoming]).await,
                Received::End(end) => panic!("ended by {end:?} before it had caught up"),
            }
        }
    }
}

impl Line {
    /// The next signal; keep-alives do not count.
    pub async fn next(&mut self) -> Received {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if !self.pending.is_empty() {
                return Received::UpstreamEvent(self.pending.remove(0));
            }
            let signal = timeout_at(deadline, self.signals.recv()).await.expect("news in time");
            match signal.expect("a signal before the channel closes") {
                Signal::Events(events) => self.pending = events,
                Signal::CaughtUp(point) => {
                    if point.is_some() {
                        *self.resume_point.lock().unwrap() = point;
                    }
                    self.caught_up = true;
                    return Received::CaughtUp;
                }
                Signal::End(end) => return Received::End(end),
                Signal::Alive => {}
            }
        }
    }

    /// The next event, whether or not the line has caught up.
    pub async fn event(&mut self) -> Incoming {
        loop {
            match self.next().await {
                Received::UpstreamEvent(incoming) => return incoming,
                Received::CaughtUp => {}
                Received::End(end) => panic!("an event was expected, not the end {end:?}"),
            }
        }
    }

    /// The next event, stored. A state of a profile that is known already is no event.
    pub async fn take(&mut self) -> UpstreamEvent {
        loop {
            if let Some(event) = self.take_or_caught_up().await {
                return event;
            }
        }
    }

    /// As [`Line::take`]; `None` when the line has caught up.
    pub async fn take_or_caught_up(&mut self) -> Option<UpstreamEvent> {
        loop {
            match self.next().await {
                Received::UpstreamEvent(incoming) => {
                    self.stored(std::slice::from_ref(&incoming)).await;
                    if self.is_new(&incoming.event) {
                        return Some(incoming.event);
                    }
                }
                Received::CaughtUp => return None,
                Received::End(end) => panic!("an event was expected, not the end {end:?}"),
            }
        }
    }

    /// The network reports states, in their own order beside messages.
    pub fn reports_states(&self) -> bool {
        self.profiles.lock().unwrap().is_some()
    }

    fn is_new(&self, event: &UpstreamEvent) -> bool {
        let mut profiles = self.profiles.lock().unwrap();
        let (Some(profiles), UpstreamEvent::Profile { of, news }) = (&mut *profiles, event) else {
            return true;
        };
        let (part, at_first) = match news {
            ProfileNews::Nickname(_) => (0, Some(ProfileNews::Nickname(String::new()))),
            ProfileNews::StatusMessage(_) => (1, Some(ProfileNews::StatusMessage(Visible::default()))),
            ProfileNews::Photo(_) => (2, Some(ProfileNews::Photo(Visible::default()))),
            ProfileNews::Presence(_) => (3, None),
            ProfileNews::Gone => {
                profiles.retain(|(who, _), _| who != of);
                return true;
            }
        };
        let before = profiles.insert((of.clone(), part), news.clone()).or(at_first);
        before.as_ref() != Some(news)
    }

    /// The next event as a message, stored: its id and text.
    pub async fn message(&mut self) -> (Address, String, String) {
        message(self.take().await)
    }

    /// The next event as a receipt, stored.
    pub async fn receipt(&mut self) -> (Address, String, ReceiptKind) {
        match self.take().await {
            UpstreamEvent::Receipt { from, id, kind, group: None, .. } => (from, id, kind),
            other => panic!("a receipt was expected, not {other:?}"),
        }
    }

    /// The end; skips everything before it.
    pub async fn end(&mut self) -> End {
        loop {
            if let Received::End(end) = self.next().await {
                return end;
            }
        }
    }

    /// Acknowledges events, as a session does after its commit.
    pub async fn stored(&self, events: &[Incoming]) {
        if let Some(point) = events.iter().rev().find_map(|incoming| incoming.resume_point.clone()) {
            *self.resume_point.lock().unwrap() = Some(point);
        }
        let acknowledgements: Vec<_> =
            events.iter().filter_map(|incoming| incoming.acknowledgement.clone()).collect();
        if !acknowledgements.is_empty() {
            timeout(DEADLINE, self.connection.acknowledge(&acknowledgements)).await.unwrap().unwrap();
        }
    }

    /// Drops an event, as a session does that has blocked its sender.
    pub async fn discarded(&self, event: Incoming) {
        if event.resume_point.is_some() {
            *self.resume_point.lock().unwrap() = event.resume_point;
        }
        self.connection.discard(&[event.acknowledgement.unwrap()]).await.unwrap();
    }

    /// Sends a text under an id.
    pub async fn send(&self, to: &Address, id: &str, text: &str) -> Result<(), SendFailure> {
        let outcomes = self.send_all(&[outgoing(to, id, text)]).await;
        assert_eq!(outcomes.len(), 1);
        outcomes[0]
    }

    pub async fn send_all(&self, messages: &[Outgoing]) -> Vec<Result<(), SendFailure>> {
        let outcomes = timeout(DEADLINE, self.connection.send(messages)).await.expect("an answer");
        outcomes.into_iter().map(|outcome| outcome.map(drop)).collect()
    }
}

pub fn outgoing(to: &Address, id: &str, text: &str) -> Outgoing {
    Outgoing { id: id.to_owned(), to: to.clone(), content: Content::Text(text.to_owned()) }
}

/// The sender, id and text of an event that must be a message.
pub fn message(event: UpstreamEvent) -> (Address, String, String) {
    match event {
        UpstreamEvent::Message { from, id, content: Content::Text(text), group: None, .. } => {
            (from, id, text)
        }
        other => panic!("a message was expected, not {other:?}"),
    }
}

/// The adapter state of one account, in memory.
#[derive(Default)]
struct MemoryState(Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl AdapterState for MemoryState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let state = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| state.get(*key).cloned()).collect())
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let mut state = self.0.lock().unwrap();
        state.extend(values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Ok(())
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        let mut state = self.0.lock().unwrap();
        for key in keys {
            state.remove(*key);
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let state = self.0.lock().unwrap();
        let found = state.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
