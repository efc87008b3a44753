//! One subscriber's connection to the local network.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failure::failure;
use super::in_flight::InFlight;
use super::network::{LocalNet, NewStanza, Subscriber, is_group};
use super::open_numbers::OpenNumbers;
use super::reader::MailboxReader;
use super::stanza::{Stanza, TypingHint};
use super::{photo, send};
use crate::domain::{PhoneNumber, ReceiptKind, Typing};
use crate::lifecycle::Lifecycle;
use crate::upstream::{
    Acknowledgement, Address, BlobStorage, Connection, Failure, FileStream, Opened, Outgoing, ReadReceipt,
    SendFailure, Sent, Signal,
};

/// Signals that may wait for the session.
const CHANNEL: usize = 4;

pub(super) struct LocalConnection {
    pub(super) net: LocalNet,
    blobs: Arc<dyn BlobStorage>,
    pub(super) subscriber: Subscriber,
    in_flight: InFlight,
    // Ends the reading task when the session drops the connection.
    _stop: DropGuard,
}

/// Starts the task that reads the mailbox.
pub(super) fn open(
    net: &LocalNet,
    blobs: Arc<dyn BlobStorage>,
    subscriber: Subscriber,
    lifecycle: &Lifecycle,
    open: &OpenNumbers,
) -> Opened {
    let (sender, signals) = mpsc::channel(CHANNEL);
    let in_flight = InFlight::default();
    let stop = CancellationToken::new();
    let reader = MailboxReader {
        net: net.clone(),
        subscriber: subscriber.clone(),
        registered: open.register(subscriber.number.clone()),
        in_flight: in_flight.clone(),
        signals: sender,
    };
    let stopped = stop.clone();
    lifecycle.spawn(async move {
        tokio::select! {
            end = reader.run() => {
                // Fails when the session has stopped listening; then it knows of the end.
                let _ = reader.signals.send(Signal::End(end)).await;
            }
            () = stopped.cancelled() => {}
        }
    });
    let connection =
        LocalConnection { net: net.clone(), blobs, subscriber, in_flight, _stop: stop.drop_guard() };
    Opened { connection: Arc::new(connection), signals }
}

#[async_trait]
impl Connection for LocalConnection {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<Sent, SendFailure>> {
        let outcomes = send::send(&self.net, &self.subscriber, messages).await;
        outcomes.into_iter().map(|outcome| outcome.map(|()| Sent::default())).collect()
    }

    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = ids(stored);
        let receipts = self.in_flight.receipts(&ids);
        self.remove_from_mailbox(&ids, &receipts).await
    }

    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure> {
        self.remove_from_mailbox(&ids(dropped), &[]).await
    }

    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure> {
        let stanzas: Vec<NewStanza> = receipts
            .iter()
            .filter_map(|receipt| {
                let recipient = PhoneNumber::from_stored(&receipt.to.0)?;
                let group = receipt.group.as_ref().map(|group| group.0.as_str());
                let stanza = Stanza::receipt(ReceiptKind::Read, &receipt.id).within(group);
                Some(NewStanza { recipient, stanza, personal: false })
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
            let Some(recipient) = PhoneNumber::from_stored(&to.0) else { return Ok(()) };
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
        if let Some((number, hash)) = photo::parse(reference) {
            let shown = self.net.shows_photo(&number, &self.subscriber, &hash).await;
            return if shown.map_err(|error| failure(&error))? {
                self.blobs.read(&hash).await
            } else {
                Err(Failure::Refused("this photo is not shown any more".to_owned()))
            };
        }
        let hash = self.net.uploaded(reference).await.map_err(|error| failure(&error))?;
        let missing = || Failure::Refused("the file is not stored any more".to_owned());
        self.blobs.read(&hash.ok_or_else(missing)?).await
    }
}

impl LocalConnection {
    /// Removes stanzas from the mailbox and puts `receipts` into the mailboxes of their senders.
    async fn remove_from_mailbox(&self, ids: &[i64], receipts: &[(i64, Stanza)]) -> Result<(), Failure> {
        self.net.acknowledge(&self.subscriber, ids, receipts).await.map_err(|error| failure(&error))?;
        if self.in_flight.remove(ids) {
            self.net.wake_mailbox(&self.subscriber.number);
        }
        Ok(())
    }
}

fn ids(acknowledgements: &[Acknowledgement]) -> Vec<i64> {
    acknowledgements.iter().filter_map(|acknowledgement| i64::try_from(acknowledgement.0).ok()).collect()
}
