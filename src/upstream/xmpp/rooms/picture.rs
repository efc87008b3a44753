//! The pictures of rooms (XEP-0486). That of a group is set from here or by another app; a room announces it by its id to
//! everybody who is inside, and to each who joins.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::elsewhere::asked;
use super::observed::is_gone;
use super::{ATTEMPTS, Loaded, Rooms, group_key, stanza, to_json};
use crate::domain::{BlobHash, GroupChangeKind, Photo};
use crate::secrets;
use crate::upstream::group_rules::{Decision, GroupPhotoEdit};
use crate::upstream::xmpp::link::Link;
use crate::upstream::xmpp::pep::picture_id;
use crate::upstream::{Failure, GroupChange};

/// Pictures of one room that are stored in [`PERIOD`]; what comes beyond is read when an account joins the room again.
const STORED: usize = 20;
const PERIOD: Duration = Duration::from_hours(1);

impl Rooms {
    /// Reads the picture of a room that announces the one with this id, if the group has another photo: it becomes a revision
    /// like any other, once, however many accounts and processes see it. What is no picture counts as none.
    pub(super) async fn observe_picture(
        self: &Arc<Self>,
        link: &Link,
        room: &str,
        id: &str,
    ) -> Result<(), Failure> {
        let mut stored = None;
        for _ in 0..ATTEMPTS {
            if self.finished(room).await?.is_none_or(|record| record.has_picture(id)) {
                return Ok(());
            }
            let lock = self.working(room);
            let working = lock.lock().await;
            let Some(Loaded { mut record, bytes }) = self.load(room).await? else { return Ok(()) };
            if record.pending.is_some() {
                // Another change, which may set a picture, has begun meanwhile.
                continue;
            }
            let found = self.found_picture(link, room).await?;
            // The announcement may be older.
            let id = picture_id_of(&found);
            if record.has_picture(&id) {
                return Ok(());
            }
            record.picture = Some(id.clone());
            let photo = if is_of(&found, record.photo) {
                record.photo
            } else {
                match &stored {
                    Some((of, photo)) if *of == id => *photo,
                    _ => self.store_picture(room, &found).await?,
                }
            };
            stored = Some((id, photo));
            if photo == record.photo {
                if self.state.replace(&group_key(room), Some(&bytes), &to_json(&record)?, &[]).await? {
                    return Ok(());
                }
                continue;
            }
            let decision = Decision {
                photo: Some(GroupPhotoEdit(photo)),
                changes: vec![GroupChange { kind: GroupChangeKind::Photo, who: Vec::new(), by: None }],
                ..Decision::default()
            };
            if record.made_elsewhere {
                if self.settle(room, record, Some(&bytes), &decision).await? {
                    return Ok(());
                }
            } else if self.write_observed(room, &mut record, &bytes, &decision).await? {
                drop(working);
                return self.finish_soon(room).await.map(drop);
            }
        }
        Err(Failure::Retry("network_busy"))
    }

    /// The bytes of a room's picture; empty: it has none.
    async fn found_picture(&self, link: &Link, room: &str) -> Result<Vec<u8>, Failure> {
        match asked(link, stanza::card(room)).await {
            Ok(answer) => Ok(stanza::picture_of(&answer)),
            Err(failure) if is_gone(&failure) => Ok(Vec::new()),
            Err(failure) => Err(failure.failure()),
        }
    }

    /// Stores a picture as the photo of a group; `None` when it is none.
    async fn store_picture(&self, room: &str, picture: &[u8]) -> Result<Option<Photo>, Failure> {
        if picture.is_empty() {
            return Ok(None);
        }
        if !self.may_store(room) {
            return Err(Failure::Retry("too_many_pictures"));
        }
        match self.server.blobs.store_photo(picture).await {
            Ok(photo) => Ok(Some(photo)),
            Err(Failure::Refused(reason)) => {
                tracing::debug!(reason, "the picture of a room cannot be shown");
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Counts a picture; false: there were too many.
    fn may_store(&self, room: &str) -> bool {
        let mut pictured = self.pictured.lock().unwrap_or_else(PoisonError::into_inner);
        pictured.retain(|_, times| {
            times.retain(|at| at.elapsed() < PERIOD);
            !times.is_empty()
        });
        let times = pictured.entry(room.to_owned()).or_default();
        let may = times.len() < STORED;
        if may {
            times.push(Instant::now());
        }
        may
    }
}

/// The id of a room's picture, as in [`super::Record::picture`].
fn picture_id_of(picture: &[u8]) -> String {
    if picture.is_empty() { String::new() } else { picture_id(picture) }
}

/// Whether a picture is one of the files of a photo, as rooms have those that were set from here.
fn is_of(picture: &[u8], photo: Option<Photo>) -> bool {
    let hash = BlobHash(secrets::sha256(picture));
    photo.is_some_and(|photo| photo.photo == hash || photo.preview == hash)
}
