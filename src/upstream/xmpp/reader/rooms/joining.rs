//! Joining rooms. A room on another server may answer late or never, so nothing waits for it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{RoomWork, Work};
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::link::LinkEnd;
use crate::upstream::xmpp::memberships::Presence;
use crate::upstream::xmpp::reader::{Reader, Stop};
use crate::upstream::xmpp::rooms::{Observed, stanza};

/// For a room's answer. ejabberd does not answer for a room that ends at this moment, so it is asked again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

impl RoomWork {
    /// Waiting for rooms of other servers holds up the account: it takes a fifth of the time at the most.
    pub(super) fn waited_for_far(&mut self, waited: Duration) {
        self.far_pause = Some(Instant::now() + waited * 4);
    }

    /// Puts work with a room of another server off while there is a pause; whether it has.
    pub(super) fn put_off(&mut self, room: &str) -> bool {
        let pause = self.far_pause.filter(|pause| *pause > Instant::now());
        if let Some(pause) = pause {
            self.again.entry(room.to_owned()).or_insert(pause);
        }
        pause.is_some()
    }
}

impl Reader {
    /// A room that another app has made on another server, which may not answer soon.
    pub(super) fn is_far(&self, room: &str) -> bool {
        let domain = address::domain(room);
        let is_near = domain == self.domain
            || domain.strip_suffix(self.domain.as_str()).is_some_and(|part| part.ends_with('.'));
        !is_near && self.memberships.is_made_elsewhere(room)
    }

    pub(super) fn is_still_outside(&self, room: &str) -> bool {
        matches!(self.memberships.presence(room), Some(Presence::Outside | Presence::Joining))
    }

    /// The room does not know the account as a member. Its lists decide.
    pub(super) fn kept_out_elsewhere(&mut self, room: &str) {
        self.rooms.try_again(room);
        self.invitations.see(room, Observed::Refused(self.own.clone()));
    }

    /// Asks to join, without waiting for the answer.
    pub(super) async fn join_far_room(&mut self, room: &str) -> Result<(), Stop> {
        self.memberships.set_presence(room, Presence::Joining);
        self.rooms.try_again(room);
        let join = stanza::join(room, self.nickname());
        self.link.send(vec![join]).await.map_err(|_| Stop::Link(LinkEnd::Broken))
    }

    /// A room of another server has let the account in, or has not.
    pub(super) fn far_answered(&mut self, room: &str) {
        if self.is_far(room) {
            self.rooms.again.remove(room);
            self.rooms.note(room, Work::Refresh);
            self.rooms.note(room, Work::Observe(Observed::Joined));
        }
    }

    pub(super) async fn join_room(&mut self, room: &str) -> Result<Result<(), IqFailure>, Stop> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            match self.memberships.presence(room) {
                Some(Presence::Inside) => return Ok(Ok(())),
                Some(Presence::Joining) => {}
                Some(Presence::Outside) => {
                    self.memberships.set_presence(room, Presence::Joining);
                    let join = stanza::join(room, self.nickname());
                    self.link.send(vec![join]).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
                }
                Some(Presence::Refused(failure)) => {
                    self.memberships.set_presence(room, Presence::Outside);
                    return Ok(Err(failure));
                }
                Some(Presence::Destroyed) | None => return Ok(Err(IqFailure::NoAnswer)),
            }
            match timeout_at(deadline, self.received.recv()).await {
                Ok(Some(received)) => {
                    self.set_aside(received, None).await?;
                }
                Ok(None) => return Err(Stop::Link(LinkEnd::Broken)),
                Err(_) => {
                    self.memberships.set_presence(room, Presence::Outside);
                    return Ok(Err(IqFailure::NoAnswer));
                }
            }
        }
    }
}
