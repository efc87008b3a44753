//! What a change needs in the room, after it is written to the record.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use data_encoding::BASE64;
use tokio::time::{sleep, timeout};

use super::control::CarriedOut;
use super::{LARGEST_GROUP, Loaded, Record, Rooms, group_key, revision_key, to_json};
use crate::clock;
use crate::upstream::Failure;
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::pep::{picture_bytes, picture_id};

/// Devices in a room at the most: the members' and the administrator.
const OCCUPANTS: usize = 4 * LARGEST_GROUP;
/// The process that has begun a change finishes it. After so long another one does.
const TAKEOVER: TimeDelta = TimeDelta::seconds(20);
/// For a change that another process has begun.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two looks at such a change.
const LOOK: Duration = Duration::from_millis(200);
/// A change that failed in the room is tried again so often, each time after this pause.
const RETRIES: usize = 20;
const RETRY_PAUSE: Duration = Duration::from_secs(3);

impl Rooms {
    /// Finishes the pending change of a room. What fails for now is tried again in the background.
    pub(super) async fn finish_soon(self: &Arc<Self>, room: &str) -> Result<Record, Failure> {
        match timeout(FINISH_TIMEOUT, self.finish(room)).await {
            Ok(Ok(record)) => Ok(record),
            Ok(Err(failure @ (Failure::Refused(_) | Failure::Unsupported(_)))) => Err(failure),
            Ok(Err(failure)) => {
                tracing::debug!(%failure, "a change of a group is not in its room yet");
                self.finish_later(room);
                Err(Failure::OutcomeUnknown)
            }
            Err(_) => {
                self.finish_later(room);
                Err(Failure::OutcomeUnknown)
            }
        }
    }

    fn finish_later(self: &Arc<Self>, room: &str) {
        let (rooms, room) = (self.clone(), room.to_owned());
        let stopping = self.server.lifecycle.soft().clone();
        self.server.lifecycle.spawn(async move {
            for _ in 0..RETRIES {
                tokio::select! {
                    () = sleep(RETRY_PAUSE) => {}
                    () = stopping.cancelled() => return,
                }
                if rooms.finish(&room).await.is_ok() {
                    return;
                }
            }
            tracing::warn!("a change of a group is still not in its room; the next one tries again");
        });
    }

    async fn finish(&self, room: &str) -> Result<Record, Failure> {
        let lock = self.working(room);
        let _working = lock.lock().await;
        loop {
            let Some(Loaded { record, bytes }) = self.load(room).await? else {
                return Err(Failure::Refused("this room is no group".to_owned()));
            };
            let Some(pending) = &record.pending else { return Ok(record) };
            if pending.by != self.process && clock::now() - pending.at < TAKEOVER {
                sleep(LOOK).await;
                continue;
            }
            let picture = match record.photo.filter(|_| pending.photo) {
                Some(photo) => picture_bytes(&*self.server.blobs, &photo).await?,
                None => None,
            };
            let picture_id = pending.photo.then(|| picture.as_deref().map_or_else(String::new, picture_id));
            let picture = picture.map(|bytes| BASE64.encode(&bytes));
            let control = self.admin.control().await?;
            let done = control.carry_out(room, &record, pending, picture.as_deref(), OCCUPANTS).await;
            let announced = match done {
                Ok(CarriedOut::Announced(announced)) => announced,
                Ok(CarriedOut::Gone) => {
                    self.end(room, record, &bytes).await?;
                    continue;
                }
                Err(failure) => {
                    self.admin.close_if_silent(&failure).await;
                    return Err(not_done(failure));
                }
            };
            let mut revisions = self.revisions(room, record.revision, record.revision).await?;
            let (number, mut revision) = revisions.pop().ok_or(Failure::Retry("internal"))?;
            revision.announced = announced;
            let mut after = record;
            after.pending = None;
            after.picture = picture_id.or(after.picture);
            let log = [(revision_key(room, number), Some(to_json(&revision)?))];
            if self.state.replace(&group_key(room), Some(&bytes), &to_json(&after)?, &log).await? {
                return Ok(after);
            }
        }
    }

    pub(super) fn working(&self, room: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        working.retain(|_, lock| Arc::strong_count(lock) > 1);
        working.entry(room.to_owned()).or_default().clone()
    }
}

/// The failure of a change that is decided, but not in the room.
pub(super) fn not_done(failure: IqFailure) -> Failure {
    match failure.failure() {
        Failure::Refused(reason) => {
            tracing::warn!(reason, "the server refused to change a room");
            Failure::Refused(reason)
        }
        other => other,
    }
}
