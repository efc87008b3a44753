//! The rooms that an account is in, as its connection knows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::archive::ArchivePoint;
use super::failure::IqFailure;
use crate::upstream::{AdapterState, Failure};

/// The beginning of the keys of places.
const KEY: &str = "room.";

/// How far a room is stored here, as JSON in the adapter's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The last message of its archive.
    pub point: Option<ArchivePoint>,
    /// The last revision that was reported.
    pub revision: i64,
    /// The account has left it, or was removed from it.
    pub left: bool,
    /// Another app has made it.
    #[serde(default)]
    pub made_elsewhere: bool,
}

/// Whether the account's connection is in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Outside,
    /// It has asked to join.
    Joining,
    Inside,
    /// Somebody has destroyed the room.
    Destroyed,
    /// The room does not let it in.
    Refused(IqFailure),
}

#[derive(Clone)]
struct Membership {
    place: Place,
    presence: Presence,
}

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Memberships(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rooms: Mutex<HashMap<String, Membership>>,
    /// Rooms that the account was taken out of, with the revisions.
    left: Mutex<HashMap<String, i64>>,
    /// The presence in a room has changed.
    changed: Notify,
    /// Rooms that the account is not inside any more, as an error has shown.
    lost: Mutex<Vec<String>>,
    has_lost: Notify,
}

impl Memberships {
    /// The stored places.
    pub async fn load(state: &dyn AdapterState) -> Result<Self, Failure> {
        let memberships = Self::default();
        for (key, value) in state.list(KEY).await? {
            let Some(room) = key.strip_prefix(KEY) else { continue };
            match serde_json::from_slice::<Place>(&value) {
                Ok(place) if place.left => memberships.leave(room, place.revision),
                Ok(place) => memberships.enter(room, place),
                Err(error) => tracing::error!(%error, "the place in a room cannot be read"),
            }
        }
        Ok(memberships)
    }

    /// Stores places.
    pub async fn store(state: &dyn AdapterState, places: &[(String, Place)]) -> Result<(), Failure> {
        let values = places.iter().map(|(room, place)| {
            let value = serde_json::to_vec(place).unwrap_or_default();
            (format!("{KEY}{room}"), value)
        });
        let values: Vec<(String, Vec<u8>)> = values.collect();
        let values: Vec<(&str, Vec<u8>)> =
            values.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        state.put(&values).await
    }

    pub fn rooms(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn contains(&self, room: &str) -> bool {
        self.lock().contains_key(room)
    }

    /// Whether another app has made a room that the account is in.
    pub fn is_made_elsewhere(&self, room: &str) -> bool {
        self.lock().get(room).is_some_and(|membership| membership.place.made_elsewhere)
    }

    /// The number of such rooms.
    pub fn made_elsewhere(&self) -> usize {
        self.lock().values().filter(|membership| membership.place.made_elsewhere).count()
    }

    pub fn place(&self, room: &str) -> Option<Place> {
        self.lock().get(room).map(|membership| membership.place.clone())
    }

    pub fn enter(&self, room: &str, place: Place) {
        self.lock().insert(room.to_owned(), Membership { place, presence: Presence::Outside });
    }

    /// The account was taken out of a room by this revision.
    pub fn leave(&self, room: &str, revision: i64) {
        self.lock().remove(room);
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(room.to_owned(), revision);
        self.0.changed.notify_waiters();
    }

    /// The revision by which the account was last taken out of a room; 0: it never was.
    pub fn left_by(&self, room: &str) -> i64 {
        let left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(room).copied().unwrap_or_default()
    }

    pub fn move_to(&self, room: &str, change: impl FnOnce(&mut Place)) {
        if let Some(membership) = self.lock().get_mut(room) {
            change(&mut membership.place);
        }
    }

    pub fn presence(&self, room: &str) -> Option<Presence> {
        self.lock().get(room).map(|membership| membership.presence.clone())
    }

    pub fn set_presence(&self, room: &str, presence: Presence) {
        if let Some(membership) = self.lock().get_mut(room) {
            membership.presence = presence;
        }
        self.0.changed.notify_waiters();
    }

    /// Waits until the account is inside a room. False: not in time.
    pub async fn is_inside(&self, room: &str, deadline: Instant) -> bool {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.presence(room) == Some(Presence::Inside) {
                return true;
            }
            if timeout_at(deadline, changed).await.is_err() {
                return false;
            }
        }
    }

    /// The room says that the account is not inside.
    pub fn lose(&self, room: &str) {
        self.set_presence(room, Presence::Outside);
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).push(room.to_owned());
        self.0.has_lost.notify_one();
    }

    /// The rooms that were lost, once there are some.
    pub async fn lost(&self) -> Vec<String> {
        loop {
            let lost = std::mem::take(&mut *self.0.lost.lock().unwrap_or_else(PoisonError::into_inner));
            if !lost.is_empty() {
                return lost;
            }
            self.0.has_lost.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Membership>> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
