//! Invitations to rooms (XEP-0249, XEP-0045, section 7.8.2), and what is asked of rooms that other apps have made.
//!
//! Those rooms may be anywhere and answer late or never, so they are asked by a task of their own, one after the other, and
//! never by the reader. Only people whom the account knows may invite it: its contacts, and those with whom it has a chat,
//! unless they are blocked. What waits is bounded, as is what is followed in an hour and in all, so that nobody fills the
//! memory or the list of groups.
//!
//! An invitation that came by the room names the one who invites, and the room's server vouches for that name.
//!
//! What waits is stored before the server may forget it, so the next connection follows it if this one does not. A room that
//! was followed is found again by its group's record.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::address;
use super::link::Link;
use super::memberships::Memberships;
use super::profile::OwnProfile;
use super::rooms::{NotFollowed, Observed, Rooms};
use super::xml::{Element, ns};
use crate::upstream::{AdapterState, Failure};

/// The key of [`Kept`], as JSON.
const KEY: &str = "invitations";
/// Received invitations that are remembered, so that the archive does not repeat them.
const REMEMBERED: usize = 100;
/// Invitations of strangers that wait, and as many of people whom the account knows; others are dropped.
const WAITING: usize = 20;
/// Invitations that are followed in [`PERIOD`].
const FOLLOWED: usize = 30;
const PERIOD: Duration = Duration::from_hours(1);
/// Rooms made elsewhere that an account is in at the most.
const ROOMS: usize = 100;
/// Who writes first may invite at once: the chat is known by then.
const ACQUAINTANCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// Sights of one room that wait. More are a reason to compare all.
const SIGHTS: usize = 2_000;

/// An invitation of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invitation {
    pub room: String,
    /// Who invites, without a resource.
    pub by: String,
}

impl Invitation {
    /// The invitation in a message; `None`: there is none.
    pub fn of(message: &Element) -> Option<Self> {
        let from = message.attr("from").map(address::bare)?;
        let mediated = message.get_child("x", ns::MUC_USER).and_then(|x| x.get_child("invite", ns::MUC_USER));
        if let Some(by) = mediated.and_then(|invite| invite.attr("from")) {
            return Some(Self { room: from.to_owned(), by: address::bare(by).to_owned() });
        }
        let room = address::bare(message.get_child("x", ns::CONFERENCE)?.attr("jid")?);
        room.contains('@').then(|| Self { room: room.to_owned(), by: from.to_owned() })
    }
}

/// What outlives a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The invitations that wait.
    waiting: Vec<Invitation>,
    /// The last invitations that were received, by their ids in the account's archive: its next reading may begin before
    /// them, and the account may have left their rooms since.
    received: VecDeque<String>,
}

/// Work with rooms that other apps have made. Clones share it.
#[derive(Clone)]
pub(super) struct Invitations(Arc<Shared>);

struct Shared {
    own: String,
    link: Link,
    groups: Arc<Rooms>,
    profile: OwnProfile,
    memberships: Memberships,
    state: Arc<dyn AdapterState>,
    /// What is stored under [`KEY`]. One writer at a time.
    stored: tokio::sync::Mutex<Kept>,
    work: Mutex<Work>,
    has_work: Notify,
    has_news: Notify,
}

#[derive(Default)]
struct Work {
    invitations: VecDeque<(Instant, Invitation)>,
    /// The one that is being followed.
    following: Option<Invitation>,
    received: VecDeque<String>,
    /// When the last invitations were followed.
    followed: VecDeque<Instant>,
    /// What was seen of rooms.
    seen: HashMap<String, Vec<Observed>>,
    /// Rooms of which there may be news.
    news: Vec<String>,
}

impl Invitations {
    /// With the invitations that an earlier connection has left.
    pub async fn load(
        own: String,
        link: Link,
        groups: Arc<Rooms>,
        profile: OwnProfile,
        memberships: Memberships,
        state: Arc<dyn AdapterState>,
    ) -> Result<Self, Failure> {
        let stored = state.get(&[KEY]).await?.pop().flatten();
        // What another version wrote is dropped.
        let stored: Kept = stored.and_then(|stored| serde_json::from_slice(&stored).ok()).unwrap_or_default();
        let now = Instant::now();
        let invitations = stored.waiting.iter().map(|invitation| (now, invitation.clone())).collect();
        let received = stored.received.clone();
        let work = Mutex::new(Work { invitations, received, ..Work::default() });
        let stored = tokio::sync::Mutex::new(stored);
        let (has_work, has_news) = (Notify::new(), Notify::new());
        let shared =
            Shared { own, link, groups, profile, memberships, state, stored, work, has_work, has_news };
        Ok(Self(Arc::new(shared)))
    }

    /// Takes an invitation, which [`Self::keep`] stores. `archived`: its id in the account's archive.
    pub fn receive(&self, invitation: Invitation, archived: Option<String>) {
        let mut work = self.work();
        if let Some(id) = archived {
            if work.received.contains(&id) {
                return;
            }
            work.received.push_back(id);
            let surplus = work.received.len().saturating_sub(REMEMBERED);
            work.received.drain(..surplus);
        }
        let is_waiting = work.invitations.iter().any(|(_, waiting)| *waiting == invitation);
        if is_waiting || self.0.memberships.contains(&invitation.room) {
            return;
        }
        let limit = if self.0.profile.knows(&invitation.by) { 2 * WAITING } else { WAITING };
        if work.invitations.len() >= limit {
            tracing::debug!("an invitation is not followed: too many wait");
            return;
        }
        work.invitations.push_back((Instant::now(), invitation));
        self.0.has_work.notify_one();
    }

    /// Stores which invitations wait, and which have come.
    pub async fn keep(&self) -> Result<(), Failure> {
        let mut stored = self.0.stored.lock().await;
        let kept = {
            let work = self.work();
            let waiting = work.invitations.iter().map(|(_, invitation)| invitation.clone());
            let waiting = work.following.clone().into_iter().chain(waiting).collect();
            Kept { waiting, received: work.received.clone() }
        };
        if kept == *stored {
            return Ok(());
        }
        let value = serde_json::to_vec(&kept).unwrap_or_default();
        self.0.state.put(&[(KEY, value)]).await?;
        *stored = kept;
        Ok(())
    }

    /// Takes what was seen of a room that another app has made.
    pub fn see(&self, room: &str, observed: Observed) {
        let mut work = self.work();
        let seen = work.seen.entry(room.to_owned()).or_default();
        if seen.len() >= SIGHTS {
            *seen = vec![Observed::Joined];
        }
        if !seen.contains(&observed) {
            seen.push(observed);
        }
        self.0.has_work.notify_one();
    }

    /// There may be news of a room.
    pub fn report(&self, room: &str) {
        self.work().news.push(room.to_owned());
        self.0.has_news.notify_one();
    }

    /// The rooms of which there may be news, once there are some.
    pub async fn news(&self) -> Vec<String> {
        loop {
            let news = std::mem::take(&mut self.work().news);
            if !news.is_empty() {
                return news;
            }
            self.0.has_news.notified().await;
        }
    }

    /// Does the work, as long as the connection lives.
    pub async fn work_on(&self) -> Infallible {
        loop {
            let (seen, invitation) = {
                let mut work = self.work();
                let room = work.seen.keys().next().cloned();
                let known = |(_, invitation): &(Instant, Invitation)| self.0.profile.knows(&invitation.by);
                let next = work.invitations.iter().position(known).unwrap_or_default();
                let invitation = work.invitations.remove(next);
                work.following = invitation.as_ref().map(|(_, invitation)| invitation.clone());
                (room.and_then(|room| work.seen.remove_entry(&room)), invitation)
            };
            if seen.is_none() && invitation.is_none() {
                self.0.has_work.notified().await;
                continue;
            }
            if let Some((room, observed)) = seen {
                // Both on the heap as long as they last: an account that waits needs no room for them.
                let comparing = Box::pin(self.0.groups.compare(&self.0.link, &room, &observed));
                if let Err(failure) = comparing.await {
                    tracing::debug!(%failure, "a room could not be compared with its group");
                }
                self.report(&room);
            }
            if let Some((since, invitation)) = invitation {
                Box::pin(self.follow(since, invitation)).await;
                self.work().following = None;
                if let Err(failure) = self.keep().await {
                    tracing::debug!(%failure, "an invitation is followed once more");
                }
            }
        }
    }

    async fn follow(&self, since: Instant, invitation: Invitation) {
        if self.0.profile.is_blocked(&invitation.by) {
            return tracing::debug!("an invitation is not followed: its author is blocked");
        }
        if !self.0.profile.knows(&invitation.by) {
            if since.elapsed() < ACQUAINTANCE {
                return self.wait_with(since, invitation).await;
            }
            return tracing::debug!("an invitation is not followed: its author is a stranger");
        }
        if self.0.memberships.made_elsewhere() >= ROOMS || !self.may_follow() {
            return tracing::debug!("an invitation is not followed: there were too many");
        }
        match self.0.groups.follow(&self.0.link, &invitation.room, &self.0.own).await {
            Ok(()) => self.report(&invitation.room),
            Err(NotFollowed::Failed(failure)) if !matches!(failure, Failure::Refused(_)) => {
                tracing::debug!(%failure, "an invitation is followed later");
                self.wait_with(since, invitation).await;
            }
            Err(reason) => tracing::debug!(%reason, "an invitation is not followed"),
        }
    }

    async fn wait_with(&self, since: Instant, invitation: Invitation) {
        {
            let mut work = self.work();
            work.invitations.push_back((since, invitation));
            work.following = None;
        }
        sleep(LOOK).await;
    }

    /// Counts an invitation; false: there were too many.
    fn may_follow(&self) -> bool {
        let mut work = self.work();
        work.followed.retain(|at| at.elapsed() < PERIOD);
        let may = work.followed.len() < FOLLOWED;
        if may {
            work.followed.push_back(Instant::now());
        }
        may
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_names_the_room_and_who_invites() {
        let of = |from: &str, inner: &str| {
            let message = format!("<message xmlns='jabber:client' from='{from}'>{inner}</message>");
            Invitation::of(&message.parse().expect("XML"))
        };
        let expected = Some(Invitation { room: "hall@rooms.b".to_owned(), by: "romeo@b".to_owned() });
        let direct = "<x xmlns='jabber:x:conference' jid='hall@rooms.b'/>";
        assert_eq!(of("romeo@b/orchard", direct), expected);
        let mediated = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='romeo@b/orchard'/></x>";
        assert_eq!(of("hall@rooms.b", mediated), expected);
        // Servers add the older form.
        assert_eq!(of("hall@rooms.b", &format!("{mediated}{direct}")), expected);
        assert_eq!(of("romeo@b", "<x xmlns='jabber:x:conference' jid='rooms.b'/>"), None);
        assert_eq!(of("romeo@b", "<body>hi</body>"), None);
    }
}
