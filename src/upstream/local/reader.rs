//! The task that turns a subscriber's mailbox into events.

use std::time::Duration;

use tokio::sync::mpsc;

use super::failure::end;
use super::in_flight::{IN_FLIGHT_LIMIT, InFlight};
use super::network::{LocalNet, MAILBOX_BATCH, StoredStanza, Subscriber};
use super::open_numbers::OpenNumber;
use super::photo;
use super::stanza::{GroupNews, Stanza, TypingHint};
use super::unreadable::UnreadableStanzas;
use crate::db::DbError;
use crate::domain::{NeedsUser, PhoneNumber, ProfileNews, ReceiptKind};
use crate::upstream::{Acknowledgement, Address, End, Incoming, Signal, UpstreamEvent};

/// A quiet connection proves this often that it still works.
const ROUND_TRIP: Duration = Duration::from_secs(20);

/// Reads one mailbox.
pub(super) struct MailboxReader {
    pub net: LocalNet,
    pub subscriber: Subscriber,
    pub registered: OpenNumber,
    pub in_flight: InFlight,
    pub signals: mpsc::Sender<Signal>,
}

/// State of the mailbox after a batch.
enum MailboxProgress {
    More,
    /// Everything was handed to the session.
    Drained,
    /// The in-flight limit is reached; there may be more.
    Paused,
}

impl MailboxReader {
    /// Reads until the connection ends, and returns the reason.
    pub async fn run(&self) -> End {
        // Registered before the first read, so that no wake-up is lost in between.
        let mut wakes = self.net.mailbox_wakes(&self.subscriber.number);
        let mut hints = self.net.hints(&self.subscriber.number);
        let mut unreadable = UnreadableStanzas::default();
        let (mut drained, mut reported) = (false, false);
        loop {
            match self.read_batch(&mut unreadable).await {
                Ok(MailboxProgress::More) => continue,
                Ok(MailboxProgress::Drained) => drained = true,
                Ok(MailboxProgress::Paused) => {}
                Err(end) => return end,
            }
            let signal = if drained && !reported { Signal::CaughtUp(None) } else { Signal::Alive };
            reported = drained;
            if self.signals.send(signal).await.is_err() {
                return End::Retry("disconnected");
            }
            tokio::select! {
                () = wakes.woken_on_beat() => {}
                () = tokio::time::sleep(ROUND_TRIP) => {}
                hint = hints.next() => {
                    if let Some(event) = typing_event(&hint)
                        && self.signals.send(Signal::Events(vec![incoming(event, None)])).await.is_err()
                    {
                        return End::Retry("disconnected");
                    }
                }
            }
        }
    }

    async fn read_batch(&self, unreadable: &mut UnreadableStanzas) -> Result<MailboxProgress, End> {
        let in_flight = self.in_flight.ids();
        let done_up_to = unreadable.done_up_to();
        self.registered.done_up_to(done_up_to);
        if in_flight.len() >= IN_FLIGHT_LIMIT || unreadable.is_full() {
            return Ok(MailboxProgress::Paused);
        }
        let without = in_flight.into_iter().chain(unreadable.recent()).collect();
        let stanzas = match self.net.mailbox(&self.subscriber, done_up_to, without).await {
            Ok(Some(stanzas)) => stanzas,
            Ok(None) => return Err(End::NeedsUser(NeedsUser::LoggedOut)),
            Err(error) => return Err(end(&error)),
        };
        if stanzas.is_empty() {
            return Ok(MailboxProgress::Drained);
        }
        let is_last = i64::try_from(stanzas.len()).is_ok_and(|count| count < MAILBOX_BATCH);
        let mut events = Vec::with_capacity(stanzas.len());
        let (mut passed_on, mut left, mut obsolete) = (Vec::new(), Vec::new(), Vec::new());
        for stanza in stanzas {
            let (id, is_settled) = (stanza.id, stanza.is_settled);
            let (event, receipt) = match decode(stanza) {
                Some(Decoded::Event(event, receipt)) => (Some(*event), receipt),
                Some(Decoded::Group(news)) => {
                    (self.group_event(news).await.map_err(|error| end(&error))?, None)
                }
                None => {
                    left.push((id, is_settled));
                    continue;
                }
            };
            if let Some(event) = event {
                passed_on.push((id, receipt));
                events.push(incoming(event, u64::try_from(id).ok().map(Acknowledgement)));
            } else {
                obsolete.push(id);
            }
        }
        self.in_flight.add(passed_on);
        if !left.is_empty() {
            tracing::warn!(stanzas = left.len(), "stanzas of another version stay in a mailbox");
        }
        for (id, is_settled) in left {
            unreadable.add(id, is_settled);
        }
        if !obsolete.is_empty() {
            self.net.acknowledge(&self.subscriber, &obsolete, &[]).await.map_err(|error| end(&error))?;
        }
        if !events.is_empty() && self.signals.send(Signal::Events(events)).await.is_err() {
            return Err(End::Retry("disconnected"));
        }
        Ok(if is_last { MailboxProgress::Drained } else { MailboxProgress::More })
    }

    /// `None`: the group does not exist any more.
    async fn group_event(&self, news: GroupNews) -> Result<Option<UpstreamEvent>, DbError> {
        let GroupNews { group, revision, subject, changes } = news;
        let Some(group) = self.net.group(&group, revision).await? else { return Ok(None) };
        Ok(Some(UpstreamEvent::GroupChanged { group, revision, subject, changes }))
    }
}

/// The content of a stanza.
enum Decoded {
    /// An event, and the delivered receipt that acknowledges it.
    Event(Box<UpstreamEvent>, Option<Stanza>),
    /// A group's change; the event needs the group from the database.
    Group(GroupNews),
}

/// `None` for a stanza of another version.
fn decode(stored: StoredStanza) -> Option<Decoded> {
    let from = Address(PhoneNumber::from_stored(&stored.sender)?.to_string());
    let (group, stanza) = match serde_json::from_value::<Stanza>(stored.body).ok()? {
        Stanza::InGroup { group, said } => (Some(Address(group)), *said),
        stanza => (None, stanza),
    };
    let (event, receipt) = match stanza {
        Stanza::Delivered { id } => receipt(from, id, ReceiptKind::Delivered, group),
        Stanza::Read { id } => receipt(from, id, ReceiptKind::Read, group),
        Stanza::Profile { nickname } => profile(from, ProfileNews::Nickname(nickname)),
        Stanza::StatusMessage { shown } => profile(from, ProfileNews::StatusMessage(shown)),
        Stanza::Photo { shown } => {
            let shown = photo::reference(&from, shown);
            profile(from, ProfileNews::Photo(shown))
        }
        Stanza::Presence { presence } => profile(from, ProfileNews::Presence(presence)),
        Stanza::Gone => profile(from, ProfileNews::Gone),
        message @ (Stanza::Text { .. } | Stanza::File(_) | Stanza::Place { .. } | Stanza::Card { .. }) => {
            let (id, content) = message.into_message()?;
            let receipt = Stanza::receipt(ReceiptKind::Delivered, &id);
            let receipt = receipt.within(group.as_ref().map(|group| group.0.as_str()));
            (
                UpstreamEvent::Message { from, id, content, reply_to: None, sent_at: stored.sent_at, group },
                Some(receipt),
            )
        }
        Stanza::Group(news) => return Some(Decoded::Group(news)),
        // No stanza is wrapped twice.
        Stanza::InGroup { .. } => return None,
    };
    Some(Decoded::Event(Box::new(event), receipt))
}

fn receipt(
    from: Address,
    id: String,
    kind: ReceiptKind,
    group: Option<Address>,
) -> (UpstreamEvent, Option<Stanza>) {
    (UpstreamEvent::Receipt { from, id, kind, group, up_to: false }, None)
}

fn profile(of: Address, news: ProfileNews) -> (UpstreamEvent, Option<Stanza>) {
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
