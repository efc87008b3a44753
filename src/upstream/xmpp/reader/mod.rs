//! The reader of one account's connection: what the link passes on becomes signals.
//!
//! The archive (XEP-0313) is read first, from the resume point on: it has the order. Then the server sends what it kept, among
//! it everything that the last connection did not acknowledge, which ejabberd does in any order. What comes both ways is
//! passed on once. Until all that came while the account was away is read, a message that came by itself waits: the server
//! may send it before older ones.
//!
//! The resume point moves to a message when the server has its receipt for certain: Prosody does not send again what is in
//! the archive, although it was not acknowledged.

mod catch_up;
mod late_error;
mod notes;
mod rooms;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::address;
use super::archive::{ArchivePoint, ArchiveStart};
use super::failure::IqFailure;
use super::in_flight::{Entry, InFlight};
use super::inbound::{Envelope, delay, events};
use super::invitations::{Invitation, Invitations};
use super::iq::{ANSWER_TIMEOUT, iq, ping};
use super::ledger::Ledger;
use super::link::{Link, LinkEnd, Received};
use super::memberships::Memberships;
use super::note::Note;
use super::profile::OwnProfile;
use super::rooms::Rooms;
use super::rooms::stanza::noticed;
use super::seen::Seen;
use super::xml::{Build as _, Element, element, ns};
use crate::clock;
use crate::upstream::{Acknowledgement, AdapterState, Address, Incoming, Signal, UpstreamEvent};

use notes::encrypted_by;
pub(super) use rooms::RoomWork;

/// Messages in one signal at the most.
const BATCH: usize = 100;
/// Messages that may wait until the archive is read.
const HELD: usize = 200;
/// The archive is read once more after so long.
const LAST_LOOK: Duration = Duration::from_secs(20);

pub(super) struct Reader {
    /// The account's address without a resource.
    pub own: String,
    pub domain: String,
    pub link: Link,
    pub ledger: Ledger,
    pub received: mpsc::Receiver<Received>,
    pub in_flight: InFlight,
    pub signals: mpsc::Sender<Signal>,
    pub profile: OwnProfile,
    pub note: Note,
    /// People who sent something encrypted that is in the batch.
    pub encrypted: Vec<Address>,
    pub archive: Arc<ArchiveStart>,
    /// The end of what was read of the archive.
    pub point: Option<ArchivePoint>,
    pub seen: Seen,
    /// Events that are not passed on yet.
    pub batch: Vec<Incoming>,
    pub batch_has_archived: bool,
    /// Messages that came by themselves while the archive was not read to its end; `None` once it is.
    pub held: Option<Vec<Held>>,
    /// The number of the last stanza that was read from the archive and passed on.
    pub last_archived: u64,
    pub memberships: Memberships,
    pub invitations: Invitations,
    pub groups: Arc<Rooms>,
    pub state: Arc<dyn AdapterState>,
    pub rooms: RoomWork,
    /// The messages that came by themselves whose receipts the server may not have, by their numbers.
    pub unconfirmed: VecDeque<(u64, ArchivePoint)>,
}

/// A message that waits for older ones.
pub(super) struct Held {
    number: u64,
    message: Element,
    sent_at: DateTime<Utc>,
    is_own: bool,
}

/// Why reading stops.
enum Stop {
    /// The stream has ended.
    Link(LinkEnd),
    /// The session has dropped the connection.
    Dropped,
    /// The server did not answer.
    Silent,
}

impl From<Stop> for Option<LinkEnd> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Link(end) => Some(end),
            Stop::Silent => Some(LinkEnd::Silent),
            Stop::Dropped => None,
        }
    }
}

impl Reader {
    /// Reads until the stream ends; `None` when nobody reads the signals any more.
    pub async fn run(mut self) -> (Option<LinkEnd>, mpsc::Sender<Signal>) {
        let stop = match self.read().await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        // What was read before the end may be stored all the same: the next connection gets it otherwise.
        let _ = self.pass_on().await;
        (stop.into(), self.signals)
    }

    async fn read(&mut self) -> Result<Infallible, Stop> {
        // Copies of what other devices of the account send and receive (XEP-0280); a server without them is fine.
        let carbons = iq("set").child(element("enable", ns::CARBONS));
        let _ = self.ask(carbons).await?;
        self.read_archive().await?;
        // From here on messages come by themselves, first those that the server kept, of which most are in the archive.
        let roster = self.ask(iq("get").child(element("query", ns::ROSTER))).await?;
        self.profile.announce(roster.ok().as_ref()).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
        let _ = self.ask(ping(&self.domain)).await?;
        self.pass_on().await?;
        // What came between the end of the archive and the presence, if the server keeps nothing.
        self.read_archive().await?;
        let moved = self.point.as_ref().filter(|point| Some(*point) != self.archive.point());
        let resume_point = moved.map(ArchivePoint::to_resume_point);
        // What waits and was not in the archive is newer.
        self.release(true);
        self.pass_on().await?;
        self.open_rooms().await?;
        self.pass_on().await?;
        self.archive.finish();
        self.confirm_archive().await?;
        self.signal(Signal::CaughtUp(resume_point)).await?;
        let (last_look, mut has_looked, caught_up) = (Instant::now() + LAST_LOOK, false, self.point.clone());
        self.seen.end_soon();
        let (profile, signals) = (self.profile.clone(), self.signals.clone());
        let (memberships, invitations) = (self.memberships.clone(), self.invitations.clone());
        loop {
            // In the order in which it came: a room before what came behind its message.
            if !self.rooms.is_empty() {
                self.serve_rooms().await?;
                continue;
            }
            if let Some(received) = self.rooms.later.pop_front() {
                self.take(received, true).await?;
                self.pass_on_if_full().await?;
                continue;
            }
            tokio::select! {
                // A session that does not read holds up what is stored, and not the approvals and the answers.
                permit = signals.reserve(), if !self.batch.is_empty() => {
                    let permit = permit.map_err(|_| Stop::Dropped)?;
                    permit.send(Signal::Events(std::mem::take(&mut self.batch)));
                }
                received = self.received.recv() => {
                    self.take(received.ok_or(Stop::Link(LinkEnd::Broken))?, true).await?;
                    while self.batch.len() < BATCH
                        && self.rooms.is_empty()
                        && let Ok(received) = self.received.try_recv()
                    {
                        self.take(received, true).await?;
                    }
                }
                () = profile.has_news() => self.take_news(),
                lost = memberships.lost() => for room in lost {
                    self.rooms.refresh(&room);
                },
                news = invitations.news() => for room in news {
                    self.rooms.refresh(&room);
                },
                () = RoomWork::is_due(self.rooms.next_due()) => self.rooms.take_due(),
                ping = self.rooms.ping() => self.take_ping(ping).await?,
                // ejabberd may keep back what came at the moment of the presence, until the next login.
                () = tokio::time::sleep_until(last_look), if !has_looked => {
                    has_looked = true;
                    self.point.clone_from(&caught_up);
                    self.read_archive().await?;
                }
            }
        }
    }

    /// Asks the server something, and takes what comes before the answer.
    async fn ask(&mut self, iq: Element) -> Result<Result<Element, IqFailure>, Stop> {
        let link = self.link.clone();
        let asking = async {
            let answer = link.begin_to_ask(iq).await?;
            answer.await.unwrap_or(Err(IqFailure::NoAnswer))
        };
        tokio::pin!(asking);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answer = loop {
            tokio::select! {
                biased;
                received = self.received.recv() => {
                    let received = received.ok_or(Stop::Link(LinkEnd::Broken))?;
                    self.take(received, false).await?;
                    if self.batch.len() >= BATCH {
                        self.pass_on().await?;
                    }
                }
                answer = &mut asking => break answer,
                () = tokio::time::sleep_until(deadline) => return Err(Stop::Silent),
            }
        };
        // What came before the answer is in the channel by now.
        while let Ok(received) = self.received.try_recv() {
            self.take(received, false).await?;
        }
        Ok(answer)
    }

    /// Takes one thing that the link passed on. `live`: the account has caught up, so the resume point moves.
    async fn take(&mut self, received: Received, live: bool) -> Result<(), Stop> {
        match received {
            Received::Stanza(number, stanza) => {
                if stanza.name() == "message" {
                    self.message(number, &stanza, live);
                    self.send_notes().await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
                    let from = stanza.attr("from").map_or("", address::bare);
                    let heard = self.profile.heard_of(from).await;
                    return heard.map_err(|_| Stop::Link(LinkEnd::Broken));
                }
                // It says a state, which the server repeats at the next login.
                self.ledger.close([number]);
                if self.room_presence(&stanza) {
                    return Ok(());
                }
                let taken = self.profile.receive(&stanza).await;
                self.take_news();
                taken.map_err(|_| Stop::Link(LinkEnd::Broken))
            }
            Received::Alive => {
                self.confirm_archive().await?;
                match self.signals.try_send(Signal::Alive) {
                    // A full channel says as much.
                    Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
                    Err(TrySendError::Closed(_)) => Err(Stop::Dropped),
                }
            }
            Received::End(end) => Err(Stop::Link(end)),
        }
    }

    /// Puts news of watched people into the batch.
    fn take_news(&mut self) {
        let news = self.profile.take_news().into_iter();
        self.batch.extend(news.map(|event| Incoming { event, acknowledgement: None, resume_point: None }));
    }

    fn message(&mut self, number: u64, message: &Element, live: bool) {
        let is_from_own = message.attr("from").is_none_or(|from| from == self.own);
        if is_from_own && let Some(result) = message.get_child("result", ns::MAM) {
            return self.archived(number, result);
        }
        if is_from_own && let Some((carbon, is_own)) = carbon(message) {
            let sent_at = delay(carbon).unwrap_or_else(clock::now);
            return match forwarded(carbon) {
                Some(inner) => self.passed(number, inner, sent_at, is_own, false, None),
                None => self.ledger.close([number]),
            };
        }
        if message.attr("type") == Some("error") {
            return self.late_error(number, message);
        }
        if message.attr("type") == Some("groupchat") {
            self.room_message(message);
            return self.ledger.close([number]);
        }
        let sent_at = delay(message).unwrap_or_else(clock::now);
        let point = live.then(|| self.archive_id(message)).flatten();
        let point = point.map(|id| ArchivePoint { id, at: sent_at });
        self.passed(number, message, sent_at, false, false, point);
    }

    /// Puts the events of a message into the batch.
    fn passed(
        &mut self,
        number: u64,
        message: &Element,
        sent_at: DateTime<Utc>,
        is_own: bool,
        archived: bool,
        point: Option<ArchivePoint>,
    ) {
        let is_group = message.attr("type") == Some("groupchat");
        let is_late = archived || message.has_child("delay", ns::DELAY);
        if !is_group
            && !is_own
            && let Some((room, revision)) = noticed(message)
        {
            self.rooms.noticed(room, revision);
            return self.ledger.close([number]);
        }
        if !is_group
            && !is_own
            && let Some(invitation) = Invitation::of(message)
        {
            let is_by_room = from_room(message, &invitation);
            self.invitations.receive(invitation);
            if is_by_room {
                // Its text is for apps that do not know invitations, and the room is nobody.
                return self.ledger.close([number]);
            }
        }
        let (mut events, receipt) = if is_group {
            (Vec::new(), None)
        } else {
            events(&Envelope { message, sent_at, is_late, is_own, in_room: None })
        };
        let from = message.attr("from").map(address::bare).filter(|_| !is_own);
        if from.is_some_and(|from| self.profile.is_blocked(from)) {
            // Receipts still count.
            events.retain(|event| matches!(event, UpstreamEvent::Receipt { .. }));
        }
        let is_stored = events.iter().any(|event| !matches!(event, UpstreamEvent::Typing { .. }));
        let has_a_place =
            is_stored && events.iter().any(|event| !matches!(event, UpstreamEvent::Receipt { .. }));
        if has_a_place
            && !archived
            && let Some(held) = &mut self.held
        {
            if self.seen.contains(message) {
                return self.ledger.close([number]);
            }
            if held.len() < HELD {
                return held.push(Held { number, message: message.clone(), sent_at, is_own });
            }
            self.release(false);
        }
        if events.is_empty() || (is_stored && !self.seen.add(message)) {
            return self.ledger.close([number]);
        }
        if archived {
            self.batch_has_archived = true;
            self.last_archived = number;
        }
        self.encrypted.extend(events.iter().filter_map(encrypted_by));
        self.in_flight.add(number, Entry { receipt, place: None });
        let resume_point = self.confirmed_point().map(|point| point.to_resume_point());
        let count = events.len();
        for (index, event) in events.into_iter().enumerate() {
            let is_last = index + 1 == count;
            self.batch.push(Incoming {
                event,
                acknowledgement: is_last.then_some(Acknowledgement(number)),
                resume_point: resume_point.clone().filter(|_| is_last),
            });
        }
        if let Some(point) = point {
            self.unconfirmed.push_back((number, point));
        }
    }

    /// The message's id in the account's own archive (XEP-0359, section 3).
    fn archive_id(&self, message: &Element) -> Option<String> {
        let ids = message.children().filter(|child| child.is("stanza-id", ns::STANZA_ID));
        let own = ids.into_iter().find(|id| id.attr("by") == Some(self.own.as_str()))?;
        own.attr("id").map(str::to_owned)
    }

    async fn pass_on_if_full(&mut self) -> Result<(), Stop> {
        if self.batch.len() >= BATCH { self.pass_on().await } else { Ok(()) }
    }

    async fn pass_on(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.batch_has_archived) {
            self.archive.keep().await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
        }
        let events = std::mem::take(&mut self.batch);
        self.signal(Signal::Events(events)).await
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), Stop> {
        self.signals.send(signal).await.map_err(|_| Stop::Dropped)
    }
}

/// Whether a room passes on an invitation to it.
fn from_room(message: &Element, invitation: &Invitation) -> bool {
    message.attr("from").map(address::bare) == Some(invitation.room.as_str())
}

/// What another device of the account sent or received (XEP-0280), and whether it sent it.
fn carbon(message: &Element) -> Option<(&Element, bool)> {
    let sent = message.get_child("sent", ns::CARBONS).map(|carbon| (carbon, true));
    sent.or_else(|| message.get_child("received", ns::CARBONS).map(|carbon| (carbon, false)))
}

/// The message inside (XEP-0297).
fn forwarded(outer: &Element) -> Option<&Element> {
    outer.get_child("forwarded", ns::FORWARD)?.get_child("message", ns::CLIENT)
}
