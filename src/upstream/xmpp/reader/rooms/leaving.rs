//! The end of a membership in a room.

use super::archive::{archive_point, first_page};
use super::{Reading, not_stored};
use crate::upstream::Failure;
use crate::upstream::xmpp::archive::{ArchivePoint, Page};
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::reader::{Reader, Stop};

impl Reader {
    /// Reports what a room has of the time when the account was in it, up to its end there. The room does not let it read,
    /// so the administrator does.
    pub(super) async fn leave_room(&mut self, room: &str) -> Result<(), Stop> {
        let Some(place) = self.memberships.place(room) else { return Ok(()) };
        // The administrator reads no room that another app has made.
        if !place.made_elsewhere && !self.read_as_administrator(room, place.point).await? {
            return Ok(());
        }
        // The archive does not have the announcement.
        let revision = self.groups.record(room).await.map_err(not_stored)?.map(|record| record.revision);
        if let Some(revision) = revision {
            self.hear_of(room, revision, None).await?;
        }
        self.memberships.leave(room, revision.unwrap_or_default());
        Ok(())
    }

    /// Reads a room behind a place, to its end there. False: the account has left it by that, or it is tried again.
    async fn read_as_administrator(&mut self, room: &str, point: Option<ArchivePoint>) -> Result<bool, Stop> {
        let mut page = first_page(point);
        loop {
            let read = match self.groups.admin.control().await {
                Ok(control) => control.page(room, &page).await.map_err(IqFailure::failure),
                Err(failure) => Err(failure),
            };
            let (messages, end) = match read {
                Ok(read) => read,
                Err(failure) => {
                    if let (Failure::Refused(_), Page::After(point)) = (&failure, &page) {
                        page = Page::Since(point.at);
                        continue;
                    }
                    if matches!(failure, Failure::Refused(_)) {
                        return Ok(true);
                    }
                    self.rooms.try_again(room);
                    return Ok(false);
                }
            };
            for message in messages {
                let last = archive_point(&message);
                if let Reading::Left = self.room_archived(room, &message).await? {
                    return Ok(false);
                }
                page = Page::After(last);
            }
            self.pass_on_if_full().await?;
            if end.is_none_or(|end| end.complete || end.last.is_none()) {
                return Ok(true);
            }
        }
    }
}
