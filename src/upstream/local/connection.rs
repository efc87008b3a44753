//! A subscriber's connection to the local network.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::Reader;
use super::stanza::{Stanza, TypingHint};
use super::{failure, group};
use crate::db::DbError;
use crate::domain::{BlobHash, FailureReason, MediaFile, PhoneNumber, ReceiptKind, Typing};
use crate::lifecycle::Lifecycle;
use crate::upstream::local::network::{LocalNet, NewStanza, Subscriber, is_group};
use crate::upstream::{
    Acknowledgement, Address, BlobSource, Connection, Failure, FileStream, Opened, Outgoing, ReadReceipt,
    SendFailure, Signal,
};

/// Batches that may wait for the session.
const CHANNEL: usize = 4;
/// Stanzas that may be told and not yet acknowledged; the mailbox rests until some are.
pub(super) const UNACKNOWLEDGED: usize = 400;

/// Numbers with an open connection in this process, and how many each has.
pub(super) type OpenNumbers = Arc<Mutex<HashMap<PhoneNumber, usize>>>;

/// Told but not acknowledged: the stanza's id, and for a message its receipt.
pub(super) type InFlight = Arc<Mutex<BTreeMap<i64, Option<Value>>>>;

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
    pub(super) async fn upload(&self, messages: &[&Outgoing]) -> Result<(), DbError> {
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
