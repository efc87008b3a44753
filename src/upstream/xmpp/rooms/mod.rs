//! Groups as rooms (XEP-0045) of the server.
//!
//! The administrator makes a room for each group and owns it; who is in it and what they may do follows the group's
//! [`Record`]. Each change is announced in the room, so that its archive has it in order with the messages, and the
//! announcement only names the revision: what a revision changed is in the network's state, which nobody in the room can
//! write.

mod awaited;
mod changes;
mod control;
mod elsewhere;
mod ended;
mod observed;
mod pending;
mod picture;
mod record;
pub(super) mod stanza;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::Server;
use super::admin::Admin;
use crate::clock;
use crate::secrets;
use crate::upstream::group_rules::Decision;
use crate::upstream::{Address, Failure, NetworkState, NetworkWrite};

pub(super) use awaited::Awaited;
pub(super) use control::{Archived, CREATED, Control};
pub(super) use elsewhere::NotFollowed;
pub(super) use observed::{Observed, is_kept_out};
pub(super) use record::{Record, Revision};
pub(super) use stanza::Occupant;

/// Members of a group at the most.
pub(super) const LARGEST_GROUP: usize = 1_024;
/// Attempts to write a record that others write, too.
const ATTEMPTS: usize = 100;

/// The groups of the server, as one process works with them.
pub(super) struct Rooms {
    server: Arc<Server>,
    pub admin: Arc<Admin>,
    state: Arc<dyn NetworkState>,
    /// Names this process in what it has begun.
    process: String,
    /// One change at a time in each room.
    working: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// When the lists of rooms were last compared with their records.
    compared: Mutex<HashMap<String, Instant>>,
    /// When pictures of rooms were stored lately.
    pictured: Mutex<HashMap<String, Vec<Instant>>>,
}

/// A record with its bytes, which a change replaces.
struct Loaded {
    record: Record,
    bytes: Vec<u8>,
}

impl Rooms {
    pub fn new(server: Arc<Server>, admin: Arc<Admin>, state: Arc<dyn NetworkState>) -> Arc<Self> {
        let process = secrets::random_id();
        let (working, compared, pictured) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { server, admin, state, process, working, compared, pictured })
    }

    /// The record of a room; `None` for a room that is no group here.
    pub async fn record(&self, room: &str) -> Result<Option<Record>, Failure> {
        Ok(self.load(room).await?.map(|loaded| loaded.record))
    }

    /// The record of a room without a pending change.
    pub async fn finished(self: &Arc<Self>, room: &str) -> Result<Option<Record>, Failure> {
        if self.load(room).await?.is_none() {
            return Ok(None);
        }
        self.finish_soon(room).await.map(Some)
    }

    /// These revisions, as far as they are kept.
    pub async fn revisions(&self, room: &str, from: i64, to: i64) -> Result<Vec<(i64, Revision)>, Failure> {
        let numbers: Vec<i64> = (from..=to).collect();
        let keys: Vec<String> = numbers.iter().map(|revision| revision_key(room, *revision)).collect();
        let kept = self.state.get(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let kept = numbers.into_iter().zip(kept);
        Ok(kept.filter_map(|(number, kept)| Some((number, serde_json::from_slice(&kept?).ok()?))).collect())
    }

    /// The rooms whose groups a person is in.
    pub async fn of(&self, who: &str) -> Result<Vec<String>, Failure> {
        let prefix = memberships(who);
        let kept = self.state.list(&prefix).await?;
        Ok(kept.iter().filter_map(|(key, _)| Some(key.strip_prefix(&prefix)?.to_owned())).collect())
    }

    /// Writes the next revision; false: somebody else has written one.
    async fn write(
        &self,
        room: &str,
        record: &mut Record,
        before: &[u8],
        decision: &Decision,
    ) -> Result<bool, Failure> {
        record.apply(decision, &self.process, clock::now());
        self.replace(room, record, before, decision).await
    }

    /// [`Self::write`] of what another app has done in the room already.
    async fn write_observed(
        &self,
        room: &str,
        record: &mut Record,
        before: &[u8],
        decision: &Decision,
    ) -> Result<bool, Failure> {
        record.apply(decision, &self.process, clock::now());
        if let Some(pending) = &mut record.pending {
            pending.subject = false;
            pending.photo = false;
        }
        self.replace(room, record, before, decision).await
    }

    async fn replace(
        &self,
        room: &str,
        record: &Record,
        before: &[u8],
        decision: &Decision,
    ) -> Result<bool, Failure> {
        let writes = writes(room, record, decision)?;
        self.state.replace(&group_key(room), Some(before), &to_json(record)?, &writes).await
    }

    async fn load(&self, room: &str) -> Result<Option<Loaded>, Failure> {
        let Some(bytes) = self.state.get(&[&group_key(room)]).await?.pop().flatten() else { return Ok(None) };
        let record = serde_json::from_slice(&bytes).map_err(|error| {
            tracing::error!(%error, "the record of a group cannot be read");
            Failure::Retry("internal")
        })?;
        Ok(Some(Loaded { record, bytes }))
    }
}

/// What is written together with a record.
fn writes(room: &str, record: &Record, decision: &Decision) -> Result<Vec<NetworkWrite>, Failure> {
    let revision = Revision {
        changes: decision.changes.clone(),
        subject: record.subject.clone(),
        at: clock::now(),
        added: decision.added.clone(),
        announced: None,
    };
    let mut writes = vec![(revision_key(room, record.revision), Some(to_json(&revision)?))];
    writes.extend(decision.added.iter().map(|who| (member_key(who, room), Some(Vec::new()))));
    writes.extend(decision.removed.iter().map(|who| (member_key(who, room), None)));
    Ok(writes)
}

fn group_key(room: &str) -> String {
    format!("group/{room}")
}

fn revision_key(room: &str, revision: i64) -> String {
    format!("revision/{room}/{revision}")
}

/// The beginning of the keys of a person's rooms.
fn memberships(who: &str) -> String {
    format!("member/{who}/")
}

fn member_key(who: &Address, room: &str) -> String {
    format!("{}{room}", memberships(&who.0))
}

fn blocked_key(who: &Address) -> String {
    format!("blocked/{}", who.0)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::Refused(error.to_string()))
}
