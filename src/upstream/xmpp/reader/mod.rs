//! The reader of one account's connection: what the link passes on becomes signals.
//!
//! The archive (XEP-0313) is read first, from the resume point on: it has the order. Then the server sends what it kept, among
//! it everything that the last connection did not acknowledge, which ejabberd does in any order. What comes both ways is
//! passed on once, and a page that an earlier connection asked for is ignored: this one reads it again. Until all that came
//! while the account was away is read, a message that came by itself waits: the server may send it before older ones.
//!
//! Prosody sends nothing of what it kept to a session that has asked for the archive, and keeps all that is in the archive,
//! too. There the kept messages come first: those of the archive are left to it, the others wait until it is read. Prosody
//! archives a message before it passes it on, and in that order, so the messages that are too many to wait are left to it, too.
//!
//! The resume point moves to a message when the server has its receipt for certain: Prosody does not send again what is in
//! the archive, although it was not acknowledged.

mod catch_up;
mod late_error;
mod messages;
mod notes;
mod rooms;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::address;
use super::archive::{ArchivePoint, ArchiveStart};
use super::failure::IqFailure;
use super::in_flight::InFlight;
use super::invitations::Invitations;
use super::iq::{ANSWER_TIMEOUT, iq, ping};
use super::ledger::Ledger;
use super::link::{Link, LinkEnd, Received};
use super::memberships::Memberships;
use super::note::Note;
use super::profile::OwnProfile;
use super::rooms::Rooms;
use super::seen::Seen;
use super::xml::{Build as _, Element, element, ns};
use crate::upstream::{AdapterState, Address, Incoming, Signal};

use messages::{Held, forwarded};
pub(super) use rooms::RoomWork;

/// Messages in one signal at the most.
const BATCH: usize = 100;
/// How often the archive is read until a connection keeps up with what comes.
const READINGS: usize = 10;
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
    /// The id of the last request for a page of the archive.
    pub query: String,
    pub is_prosody: bool,
    pub left_to_archive: LeftToArchive,
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
    /// Stanzas that are closed when their invitations are stored.
    pub invited: Vec<u64>,
    pub groups: Arc<Rooms>,
    pub state: Arc<dyn AdapterState>,
    pub rooms: RoomWork,
    /// The messages that came by themselves whose receipts the server may not have, by their numbers.
    pub unconfirmed: VecDeque<(u64, ArchivePoint)>,
}

/// Which messages that come by themselves and are in the archive are left to the next reading of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftToArchive {
    None,
    /// Those were left that were too many to wait.
    Some,
    /// All are left, because the archive is not asked for yet.
    All,
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
    pub async fn run(&mut self) -> Option<LinkEnd> {
        let stop = match self.read().await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        // What was read before the end may be stored all the same: the next connection gets it otherwise.
        let _ = self.pass_on().await;
        stop.into()
    }

    // What takes long and comes rarely is on the heap meanwhile: a session that waits needs no room for it.
    async fn read(&mut self) -> Result<Infallible, Stop> {
        Box::pin(self.catch_up()).await?;
        let (last_look, mut has_looked, caught_up) = (Instant::now() + LAST_LOOK, false, self.point.clone());
        self.seen.end_soon();
        let (profile, signals) = (self.profile.clone(), self.signals.clone());
        let (memberships, invitations) = (self.memberships.clone(), self.invitations.clone());
        loop {
            // In the order in which it came: a room before what came behind its message.
            if !self.rooms.is_empty() {
                Box::pin(self.serve_rooms()).await?;
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
                ping = self.rooms.ping() => Box::pin(self.take_ping(ping)).await?,
                // ejabberd may keep back what came at the moment of the presence, until the next login.
                () = tokio::time::sleep_until(last_look), if !has_looked => {
                    has_looked = true;
                    self.point.clone_from(&caught_up);
                    Box::pin(self.read_archive()).await?;
                }
            }
        }
    }

    /// Reads what the account has missed.
    async fn catch_up(&mut self) -> Result<(), Stop> {
        // Copies of what other devices of the account send and receive (XEP-0280); a server without them is fine.
        let carbons = iq("set").child(element("enable", ns::CARBONS));
        let _ = self.ask(carbons).await?;
        if !self.is_prosody {
            self.read_archive().await?;
        }
        // From here on messages come by themselves, first those that the server kept, of which most are in the archive.
        let roster = self.ask(iq("get").child(element("query", ns::ROSTER))).await?;
        self.profile.announce(roster.ok().as_ref()).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
        let _ = self.ask(ping(&self.domain)).await?;
        self.pass_on().await?;
        for _ in 0..READINGS {
            self.left_to_archive = LeftToArchive::None;
            // Where it was read before: what came between its end and the presence, if the server keeps nothing.
            self.read_archive().await?;
            if self.left_to_archive == LeftToArchive::None {
                break;
            }
            self.forget_read();
        }
        let moved = self.point.as_ref().filter(|point| Some(*point) != self.archive.point());
        let resume_point = moved.map(ArchivePoint::to_resume_point);
        // What waits and was not in the archive is newer.
        self.release(true);
        self.pass_on().await?;
        self.open_rooms().await?;
        self.pass_on().await?;
        self.archive.finish();
        self.confirm_archive().await?;
        self.signal(Signal::CaughtUp(resume_point)).await
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
                    self.keep_invitations().await?;
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

    /// Stores the invitations that wait, before the server may forget their messages.
    async fn keep_invitations(&mut self) -> Result<(), Stop> {
        self.invitations.keep().await.map_err(|failure| {
            tracing::debug!(%failure, "invitations were not stored");
            Stop::Link(LinkEnd::Broken)
        })?;
        self.ledger.close(self.invited.drain(..));
        Ok(())
    }

    /// Puts news of watched people into the batch.
    fn take_news(&mut self) {
        let news = self.profile.take_news().into_iter();
        self.batch.extend(news.map(|event| Incoming { event, acknowledgement: None, resume_point: None }));
    }

    async fn pass_on_if_full(&mut self) -> Result<(), Stop> {
        if self.batch.len() >= BATCH { self.pass_on().await } else { Ok(()) }
    }

    async fn pass_on(&mut self) -> Result<(), Stop> {
        self.keep_invitations().await?;
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
