//! What lies in a subscriber's mailbox, as events.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::connection::{InFlight, UNACKNOWLEDGED};
use super::profile::photo_reference;
use super::stanza::{Stanza, TypingHint};
use super::{end, group};
use crate::domain::{NeedsUser, ProfileNews, ReceiptKind};
use crate::upstream::local::network::{GroupNews, LocalNet, MAILBOX_BATCH, Stanza as Stored, Subscriber};
use crate::upstream::{Acknowledgement, Address, End, Incoming, Signal, UpstreamEvent};

/// How long a quiet connection waits before it shows that it still works.
const ROUND_TRIP: Duration = Duration::from_secs(20);

/// The task that reads the mailbox and tells what is in it.
pub(super) struct Reader {
    pub net: LocalNet,
    pub subscriber: Subscriber,
    pub in_flight: InFlight,
    pub events: mpsc::Sender<Signal>,
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
    /// Reads until the connection ends; says why.
    pub async fn run(&self) -> End {
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
    Told(Box<UpstreamEvent>, Option<Value>),
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
        Stanza::Delivered { id } => {
            (UpstreamEvent::Receipt { from, id, kind: ReceiptKind::Delivered, group }, None)
        }
        Stanza::Read { id } => (UpstreamEvent::Receipt { from, id, kind: ReceiptKind::Read, group }, None),
        Stanza::Profile { nickname } => (UpstreamEvent::Nickname { of: from, nickname }, None),
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
            (
                UpstreamEvent::Message { from, id, content, sent_at: stored.sent_at, group },
                Some(receipt.to_json()),
            )
        }
        Stanza::Group(news) => return Some(Read::Group(news)),
        // No stanza is wrapped twice.
        Stanza::InGroup { .. } => return None,
    };
    Some(Read::Told(Box::new(event), receipt))
}

fn profile(of: Address, news: ProfileNews) -> (UpstreamEvent, Option<Value>) {
    (UpstreamEvent::Profile { of, news }, None)
}

fn typing_event(hint: &str) -> Option<UpstreamEvent> {
    let hint: TypingHint = serde_json::from_str(hint).ok()?;
    let typing = hint.typing();
    Some(UpstreamEvent::Typing { from: Address(hint.from), typing, group: hint.group.map(Address) })
}

fn incoming(event: UpstreamEvent, acknowledgement: Option<Acknowledgement>) -> Incoming {
    Incoming { event, acknowledgement, resume_point: None }
}
