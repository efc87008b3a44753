//! A subscriber's connection to the local network.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::profile::photo_reference;
use super::stanza::{Stanza, TypingHint};
use super::{end, failure, group};
use crate::domain::{
    BlobHash, FailureReason, MediaFile, NeedsUser, PhoneNumber, ProfileNews, ReceiptKind, Typing,
};
use crate::lifecycle::Lifecycle;
use crate::store::StoreError;
use crate::store::localnet::{
    GroupNews, LocalNet, MAILBOX_BATCH, NewStanza, Stanza as Stored, Subscriber, is_group,
};
use crate::upstream::{
    Acknowledgement, Address, BlobSource, Connection, End, Event, Failure, FileStream, Incoming, Opened,
    Outgoing, ReadReceipt, SendFailure, Signal,
};

/// Batches that may wait for the session.
const CHANNEL: usize = 4;
/// Stanzas that may be told and not yet acknowledged; the mailbox rests until some are.
const UNACKNOWLEDGED: usize = 400;

/// How long a quiet connection waits before it shows that it still works.
const ROUND_TRIP: Duration = Duration::from_secs(20);

/// Numbers with an open connection in this process, and how many each has.
pub(super) type OpenNumbers = Arc<Mutex<HashMap<PhoneNumber, usize>>>;

/// Told but not acknowledged: the stanza's id, and for a message its receipt.
type InFlight = Arc<Mutex<BTreeMap<i64, Option<Value>>>>;

pub(super) struct LocalConnection {
    pub(super) net: LocalNet,
    blobs: Arc<dyn BlobSource>,
    pub(super) subscriber: Subscriber,
    in_flight: InFlight,
    // Ends the reading task when the session lets go of the connection.
    _stop: DropGuard,
}

/// Starts the task that reads the mailbox.
pub(super) fn open(
    net: &LocalNet,
    blobs: Arc<dyn BlobSource>,
    subscriber: Subscriber,
    lifecycle: &Lifecycle,
    open: OpenNumbers,
) -> Opened {
    let (events, signals) = mpsc::channel(CHANNEL);
    let in_flight = InFlight::default();
    let stop = CancellationToken::new();
    let reader =
        Reader { net: net.clone(), subscriber: subscriber.clone(), in_flight: in_flight.clone(), events };
    let registration = Registration::new(open, subscriber.number.clone());
    let stopped = stop.clone();
    lifecycle.spawn(async move {
        let _registration = registration;
        tokio::select! {
            end = reader.run() => {
                // The session that no longer listens knows that it is over.
                let _ = reader.events.send(Signal::End(end)).await;
            }
            () = stopped.cancelled() => {}
        }
    });
    let connection =
        LocalConnection { net: net.clone(), blobs, subscriber, in_flight, _stop: stop.drop_guard() };
    Opened { connection: Arc::new(connection), signals }
}

impl LocalConnection {
    /// Where the network keeps the file of a message.
    pub(super) fn reference(&self, id: &str) -> String {
        format!("{}/{id}", self.subscriber.number)
    }

    /// Has the network keep the files of these messages.
    pub(super) async fn upload(&self, messages: &[&Outgoing]) -> Result<(), StoreError> {
        let files: Vec<(String, BlobHash)> = messages
            .iter()
            .filter_map(|message| match message.content.file()? {
                MediaFile::Stored(stored) => Some((self.reference(&message.id), stored.hash)),
                MediaFile::Remote(_) => None,
            })
            .collect();
        if files.is_empty() { Ok(()) } else { self.net.upload(&files).await }
    }

    async fn send_to_people(&self, messages: &[&Outgoing]) -> Vec<Result<(), SendFailure>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let mut stanzas = Vec::with_capacity(messages.len());
        for message in messages {
            if let Ok(recipient) = message.to.0.parse::<PhoneNumber>() {
                let reference = self.reference(&message.id);
                if let Some(stanza) = Stanza::message(&message.id, &message.content, &reference) {
                    stanzas.push(NewStanza { recipient, body: stanza.to_json(), personal: true });
                }
            }
        }
        let retry = || vec![Err(SendFailure::Retry); messages.len()];
        let full = match self.net.full(stanzas.iter().map(|stanza| &stanza.recipient)).await {
            Ok(full) => full,
            Err(error) => {
                failure(&error);
                return retry();
            }
        };
        stanzas.retain(|stanza| !full.contains(&stanza.recipient));
        if let Err(error) = self.upload(messages).await {
            failure(&error);
            return retry();
        }
        let taken = match self.net.deliver(&self.subscriber, &stanzas).await {
            Ok(Some(taken)) => taken,
            // The reader ends this connection with the right reason; the session asks again if it lives on.
            Ok(None) => return retry(),
            Err(error) => {
                failure(&error);
                return retry();
            }
        };
        messages
            .iter()
            .map(|message| {
                if taken.iter().any(|number| number.as_str() == message.to.0) {
                    Ok(())
                } else if full.iter().any(|number| number.as_str() == message.to.0) {
                    Err(SendFailure::Retry)
                } else {
                    Err(SendFailure::Refused(FailureReason::RecipientGone))
                }
            })
            .collect()
    }
}

#[async_trait]
impl Connection for LocalConnection {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<(), SendFailure>> {
        let (groups, people): (Vec<&Outgoing>, Vec<&Outgoing>) =
            messages.iter().partition(|message| is_group(&message.to.0));
        let mut to_people = self.send_to_people(&people).await.into_iter();
        let mut to_groups = group::send(self, &groups).await.into_iter();
        messages
            .iter()
            .map(|message| {
                let outcome = if is_group(&message.to.0) { to_groups.next() } else { to_people.next() };
                outcome.unwrap_or(Err(SendFailure::Retry))
            })
            .collect()
    }

    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = ids(stored);
        let receipts = {
            let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
            ids.iter().filter_map(|id| Some((*id, in_flight.get(id)?.clone()?))).collect::<Vec<_>>()
        };
        self.take_out(&ids, &receipts).await
    }

    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure> {
        self.take_out(&ids(dropped), &[]).await
    }

    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure> {
        let stanzas: Vec<NewStanza> = receipts
            .iter()
            .filter_map(|receipt| {
                let recipient = receipt.to.0.parse().ok()?;
                let group = receipt.group.as_ref().map(|group| group.0.as_str());
                let body = Stanza::receipt(ReceiptKind::Read, &receipt.id).within(group).to_json();
                Some(NewStanza { recipient, body, personal: false })
            })
            .collect();
        match self.net.deliver(&self.subscriber, &stanzas).await.map_err(|error| failure(&error))? {
            Some(_) => Ok(()),
            None => Err(Failure::Retry("logged_out")),
        }
    }

    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure> {
        let recipients = if is_group(&to.0) {
            let members = self.net.other_members(&self.subscriber, &to.0).await;
            members.map_err(|error| failure(&error))?
        } else {
            let Ok(recipient) = to.0.parse::<PhoneNumber>() else { return Ok(()) };
            let blocked = self.net.has_blocked(&recipient, &self.subscriber.number).await;
            if blocked.map_err(|error| failure(&error))? {
                return Ok(());
            }
            vec![recipient]
        };
        let hint = TypingHint {
            from: self.subscriber.number.to_string(),
            composing: typing == Typing::Composing,
            group: is_group(&to.0).then(|| to.0.clone()),
        };
        if let Ok(body) = serde_json::to_string(&hint) {
            for recipient in recipients {
                self.net.hint(&recipient, body.clone());
            }
        }
        Ok(())
    }

    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure> {
        if let Some(photo) = self.shown_photo(reference).await {
            return self.blobs.read(&photo?).await;
        }
        let hash = self.net.uploaded(reference).await.map_err(|error| failure(&error))?;
        let gone = || Failure::Refused("the file is not kept any more".to_owned());
        self.blobs.read(&hash.ok_or_else(gone)?).await
    }
}

impl LocalConnection {
    /// Takes stanzas out of the mailbox and puts `receipts` into their senders'.
    async fn take_out(&self, ids: &[i64], receipts: &[(i64, Value)]) -> Result<(), Failure> {
        self.net.acknowledge(&self.subscriber, ids, receipts).await.map_err(|error| failure(&error))?;
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let was_full = in_flight.len() >= UNACKNOWLEDGED;
        for id in ids {
            in_flight.remove(id);
        }
        drop(in_flight);
        if was_full {
            self.net.wake_mailbox(&self.subscriber.number);
        }
        Ok(())
    }
}

fn ids(acknowledgements: &[Acknowledgement]) -> Vec<i64> {
    acknowledgements.iter().filter_map(|told| i64::try_from(told.0).ok()).collect()
}

/// The task that reads the mailbox and tells what is in it.
struct Reader {
    net: LocalNet,
    subscriber: Subscriber,
    in_flight: InFlight,
    events: mpsc::Sender<Signal>,
}

/// How much of the mailbox was told.
enum Told {
    /// Part of it.
    More,
    /// All that was in it.
    All,
    /// As much as may wait for its acknowledgement; there may be more.
    Enough,
}

impl Reader {
    async fn run(&self) -> End {
        // Registered before the first read, so nothing falls between.
        let mut wakes = self.net.mailbox_wakes(&self.subscriber.number);
        let mut hints = self.net.hints(&self.subscriber.number);
        let (mut caught_up, mut told_caught_up) = (false, false);
        loop {
            match self.tell_batch().await {
                Ok(Told::More) => continue,
                Ok(Told::All) => caught_up = true,
                Ok(Told::Enough) => {}
                Err(end) => return end,
            }
            let news = if caught_up && !told_caught_up { Signal::CaughtUp } else { Signal::Alive };
            told_caught_up = caught_up;
            if self.events.send(news).await.is_err() {
                return End::Retry("disconnected");
            }
            tokio::select! {
                () = wakes.woken_on_beat() => {}
                () = tokio::time::sleep(ROUND_TRIP) => {}
                hint = hints.next() => {
                    if let Some(event) = typing_event(&hint)
                        && self.events.send(Signal::Events(vec![incoming(event, None)])).await.is_err()
                    {
                        return End::Retry("disconnected");
                    }
                }
            }
        }
    }

    async fn tell_batch(&self) -> Result<Told, End> {
        let handed_out: Vec<i64> =
            self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        if handed_out.len() >= UNACKNOWLEDGED {
            return Ok(Told::Enough);
        }
        let stanzas = match self.net.mailbox(&self.subscriber, &handed_out).await {
            Ok(Some(stanzas)) => stanzas,
            Ok(None) => return Err(End::NeedsUser(NeedsUser::LoggedOut)),
            Err(error) => return Err(end(&error)),
        };
        if stanzas.is_empty() {
            return Ok(Told::All);
        }
        let all = i64::try_from(stanzas.len()).is_ok_and(|count| count < MAILBOX_BATCH);
        let mut events = Vec::with_capacity(stanzas.len());
        let (mut told, mut unreadable, mut pointless) = (Vec::new(), Vec::new(), Vec::new());
        for stanza in stanzas {
            let id = stanza.id;
            let (event, receipt) = match read_stanza(stanza) {
                Some(Read::Told(event, receipt)) => (Some(*event), receipt),
                Some(Read::Group(news)) => {
                    (group::event(&self.net, news).await.map_err(|error| end(&error))?, None)
                }
                None => {
                    unreadable.push(id);
                    continue;
                }
            };
            if let Some(event) = event {
                told.push((id, receipt));
                events.push(incoming(event, u64::try_from(id).ok().map(Acknowledgement)));
            } else {
                pointless.push(id);
            }
        }
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        if !unreadable.is_empty() {
            tracing::error!(stanzas = ?unreadable, "stanzas of another version were dropped");
        }
        pointless.extend(unreadable);
        if !pointless.is_empty() {
            self.net.acknowledge(&self.subscriber, &pointless, &[]).await.map_err(|error| end(&error))?;
        }
        if !events.is_empty() && self.events.send(Signal::Events(events)).await.is_err() {
            return Err(End::Retry("disconnected"));
        }
        Ok(if all { Told::All } else { Told::More })
    }
}

/// What is in a stanza.
enum Read {
    /// Something to tell, and the delivered receipt for it.
    Told(Box<Event>, Option<Value>),
    /// News of a group, which has to be looked at.
    Group(GroupNews),
}

fn read_stanza(stored: Stored) -> Option<Read> {
    let from = Address(stored.sender.to_string());
    let (group, stanza) = match serde_json::from_value::<Stanza>(stored.body).ok()? {
        Stanza::InGroup { group, said } => (Some(Address(group)), *said),
        stanza => (None, stanza),
    };
    let (event, receipt) = match stanza {
        Stanza::Delivered { id } => (Event::Receipt { from, id, kind: ReceiptKind::Delivered, group }, None),
        Stanza::Read { id } => (Event::Receipt { from, id, kind: ReceiptKind::Read, group }, None),
        Stanza::Profile { nickname } => (Event::Nickname { of: from, nickname }, None),
        Stanza::StatusMessage { shown } => profile(from, ProfileNews::StatusMessage(shown)),
        Stanza::Photo { shown } => {
            let shown = photo_reference(&from, shown);
            profile(from, ProfileNews::Photo(shown))
        }
        Stanza::Presence { presence } => profile(from, ProfileNews::Presence(presence)),
        Stanza::Gone => profile(from, ProfileNews::Gone),
        message @ (Stanza::Text { .. } | Stanza::File(_) | Stanza::Place { .. } | Stanza::Card { .. }) => {
            let (id, content) = message.into_message()?;
            let receipt = Stanza::receipt(ReceiptKind::Delivered, &id);
            let receipt = receipt.within(group.as_ref().map(|group| group.0.as_str()));
            (Event::Message { from, id, content, sent_at: stored.sent_at, group }, Some(receipt.to_json()))
        }
        Stanza::Group(news) => return Some(Read::Group(news)),
        // No stanza is wrapped twice.
        Stanza::InGroup { .. } => return None,
    };
    Some(Read::Told(Box::new(event), receipt))
}

fn profile(of: Address, news: ProfileNews) -> (Event, Option<Value>) {
    (Event::Profile { of, news }, None)
}

fn typing_event(hint: &str) -> Option<Event> {
    let hint: TypingHint = serde_json::from_str(hint).ok()?;
    let typing = hint.typing();
    Some(Event::Typing { from: Address(hint.from), typing, group: hint.group.map(Address) })
}

fn incoming(event: Event, acknowledgement: Option<Acknowledgement>) -> Incoming {
    Incoming { event, acknowledgement, resume_point: None }
}

/// Counts the open connections of a number while it lives.
struct Registration {
    open: OpenNumbers,
    number: PhoneNumber,
}

impl Registration {
    fn new(open: OpenNumbers, number: PhoneNumber) -> Self {
        *open.lock().unwrap_or_else(PoisonError::into_inner).entry(number.clone()).or_default() += 1;
        Self { open, number }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.number);
            }
        }
    }
}
