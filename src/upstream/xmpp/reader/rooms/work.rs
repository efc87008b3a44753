//! What is to be done with rooms, in which order, and when those that failed are tried again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::pings::Pings;
use crate::upstream::xmpp::link::Received;
use crate::upstream::xmpp::rooms::Observed;

/// A room that does not answer as it should is tried again after this pause, which doubles each time.
const AGAIN: Duration = Duration::from_secs(3);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The reader's part of rooms.
pub(in crate::upstream::xmpp) struct RoomWork {
    pub(super) queue: VecDeque<(String, Work)>,
    /// What came while a room was read.
    pub(in crate::upstream::xmpp::reader) later: VecDeque<Received>,
    /// When rooms are tried again.
    pub(super) again: HashMap<String, Instant>,
    /// The pauses before the next attempts, of rooms that failed last time.
    pub(super) pauses: HashMap<String, Duration>,
    /// The last own messages: their ids in archives, and their own.
    pub(super) own_messages: VecDeque<(String, String)>,
    /// Who last wrote under a nickname, by the address of the occupant.
    pub(super) nicknames: HashMap<String, String>,
    pub(super) pings: Pings,
    /// No room of another server is asked before.
    pub(super) far_pause: Option<Instant>,
}

/// What is to be done with a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// There is more in its archive.
    Read,
    /// The account may have joined or left it.
    Refresh,
    /// A message says that this revision added the account or removed it.
    Noticed(i64),
    /// The account has made it by joining it, which only the administrator may.
    Destroy,
    /// It may differ from its group's record.
    Observe(Observed),
}

impl RoomWork {
    /// `ping_interval`: a silent room is asked whether the account is still inside.
    pub(in crate::upstream::xmpp) fn new(ping_interval: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            later: VecDeque::new(),
            again: HashMap::new(),
            pauses: HashMap::new(),
            own_messages: VecDeque::new(),
            nicknames: HashMap::new(),
            pings: Pings::new(ping_interval),
            far_pause: None,
        }
    }

    pub(super) fn note(&mut self, room: &str, work: Work) {
        let work = (room.to_owned(), work);
        if !self.queue.contains(&work) {
            self.queue.push_back(work);
        }
    }

    pub(in crate::upstream::xmpp::reader) fn refresh(&mut self, room: &str) {
        self.note(room, Work::Refresh);
    }

    pub(in crate::upstream::xmpp::reader) fn noticed(&mut self, room: &str, revision: i64) {
        self.note(room, Work::Noticed(revision));
    }

    pub(in crate::upstream::xmpp::reader) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns when a room is to be tried again.
    pub(in crate::upstream::xmpp::reader) async fn is_due(next: Option<Instant>) {
        match next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    pub(in crate::upstream::xmpp::reader) fn next_due(&self) -> Option<Instant> {
        self.again.values().min().copied()
    }

    pub(in crate::upstream::xmpp::reader) fn take_due(&mut self) {
        let now = Instant::now();
        let due: Vec<String> =
            self.again.iter().filter(|(_, at)| **at <= now).map(|(room, _)| room.clone()).collect();
        for room in due {
            self.again.remove(&room);
            self.note(&room, Work::Refresh);
        }
    }

    pub(super) fn try_again(&mut self, room: &str) {
        let pause = self.pauses.entry(room.to_owned()).or_insert(AGAIN);
        self.again.insert(room.to_owned(), Instant::now() + *pause);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    pub(super) fn succeeded(&mut self, room: &str) {
        self.pauses.remove(room);
    }
}
