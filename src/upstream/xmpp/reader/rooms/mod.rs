//! The rooms of the account: it joins them, and reads their archives.
//!
//! A message that a room passes on is only a sign that its archive has more: the archive has the order, and says who
//! wrote what, while anybody may take a nickname. What comes from other senders meanwhile waits, so that it stays behind.

mod archive;
mod joining;
mod leaving;
mod pings;
mod work;

use self::work::Work;
use super::{Reader, Stop};
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::archive::ArchivePoint;
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::inbound::typing;
use crate::upstream::xmpp::iq::ask;
use crate::upstream::xmpp::link::LinkEnd;
use crate::upstream::xmpp::memberships::{Memberships, Place, Presence};
use crate::upstream::xmpp::rooms::{CREATED, Observed, Occupant, is_kept_out, stanza};
use crate::upstream::xmpp::xml::{Element, ns};
use crate::upstream::{Address, Failure, Incoming, UpstreamEvent};

pub(in crate::upstream::xmpp) use self::work::RoomWork;

/// How often the record of a room may differ from what was read before the rest waits.
const ROUNDS: usize = 4;

/// The status of an occupant that has to go because the service ends (XEP-0045, section 15.6).
const SHUTDOWN: u16 = 332;

enum Reading {
    /// To the end.
    Done,
    /// Not to the end. The rest is read when the room is tried again.
    Later,
    /// The account is not in the group any more.
    Left,
    /// The room does not let it read.
    Refused,
}

impl Reader {
    /// Joins the rooms that the account was in, and reads what it has missed there.
    pub(super) async fn open_rooms(&mut self) -> Result<(), Stop> {
        let rooms = self.memberships.rooms();
        let joins = rooms.iter().map(|room| stanza::join(room, self.nickname())).collect();
        for room in &rooms {
            self.memberships.set_presence(room, Presence::Joining);
            self.rooms.note(room, Work::Refresh);
            self.rooms.note(room, Work::Observe(Observed::Joined));
            if self.is_far(room) {
                self.rooms.try_again(room);
            }
        }
        self.link.send(joins).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
        // An earlier connection may have ended between the message that named a room and its place.
        for room in self.groups.of(&self.own).await.map_err(not_stored)? {
            if !rooms.contains(&room) {
                self.rooms.note(&room, Work::Refresh);
            }
        }
        self.serve_rooms().await
    }

    /// Does what is to be done with rooms now.
    pub(super) async fn serve_rooms(&mut self) -> Result<(), Stop> {
        while let Some((room, work)) = self.rooms.queue.pop_front() {
            match work {
                // What failed is tried again when its pause is over, and not for each message.
                Work::Read if self.is_far(&room) && self.rooms.again.contains_key(&room) => {}
                Work::Read | Work::Refresh if self.is_far(&room) && self.rooms.put_off(&room) => {}
                Work::Read if self.memberships.presence(&room) == Some(Presence::Inside) => {
                    match self.read_room(&room).await? {
                        Reading::Done | Reading::Later => {}
                        Reading::Left | Reading::Refused => self.refresh_room(&room, None).await?,
                    }
                }
                Work::Read | Work::Refresh => self.refresh_room(&room, None).await?,
                Work::Noticed(revision) => self.refresh_room(&room, Some(revision)).await?,
                Work::Destroy => {
                    let _ = ask(&self.link, stanza::destroy(&room)).await;
                    self.refresh_room(&room, None).await?;
                }
                Work::Observe(observed) if self.memberships.is_made_elsewhere(&room) => {
                    // Its comparison ends with a refresh.
                    self.invitations.see(&room, observed);
                }
                Work::Observe(observed) => {
                    if let Err(failure) = self.groups.observe(&room, &observed).await {
                        tracing::debug!(%failure, "a room could not be compared with its group");
                    }
                }
            }
            self.pass_on_if_full().await?;
        }
        Ok(())
    }

    /// The nickname in rooms, which is the number.
    fn nickname(&self) -> &str {
        self.own.split_once('@').map_or(&self.own, |(number, _)| number)
    }

    /// Takes a message of a room: a sign that there is more, or typing.
    pub(super) fn room_message(&mut self, message: &Element) {
        let from = message.attr("from").unwrap_or_default();
        let room = address::bare(from);
        if !self.memberships.contains(room) {
            return;
        }
        self.rooms.pings.show(room);
        let is_own = address::resource(from) == Some(self.nickname());
        if let Some(subject) = message.get_child("subject", ns::CLIENT)
            && !message.has_child("body", ns::CLIENT)
        {
            self.rooms.note(room, Work::Observe(Observed::Subject(subject.text())));
        } else if stanza::archive_id(message, room).is_some() {
            if !is_own || !message.has_child("sent", ns::WINDU_GROUP) {
                self.rooms.note(room, Work::Read);
            }
        } else if let Some(typing) =
            typing(message).filter(|_| !is_own && !message.has_child("delay", ns::DELAY))
            && let Some(from) = self.author(from)
        {
            let group = Some(address::of_room(room));
            let event = UpstreamEvent::Typing { from, typing, group };
            self.batch.push(Incoming { event, acknowledgement: None, resume_point: None });
        }
    }

    /// Who is probably behind a nickname. Enough for typing only.
    fn author(&self, occupant: &str) -> Option<Address> {
        let known = self.rooms.nicknames.get(occupant).cloned();
        let as_number = || {
            let address = format!("{}@{}", address::resource(occupant)?, self.domain);
            address::number(&address, &self.domain).map(|_| address)
        };
        known.or_else(as_number).map(Address)
    }

    /// Takes a presence of a room; false: it is of something else.
    pub(super) fn room_presence(&mut self, presence: &Element) -> bool {
        let from = presence.attr("from").unwrap_or_default();
        let room = address::bare(from).to_owned();
        if !self.memberships.contains(&room) {
            return false;
        }
        let is_own = address::resource(from) == Some(self.nickname());
        if presence.attr("type") == Some("error") {
            let is_joining = self.memberships.presence(&room) == Some(Presence::Joining);
            if is_own || (is_joining && address::resource(from).is_none()) {
                self.memberships.set_presence(&room, Presence::Refused(IqFailure::of(presence)));
                self.far_answered(&room);
            }
            return true;
        }
        if let Some(id) = stanza::announced_picture(presence) {
            self.rooms.note(&room, Work::Observe(Observed::Picture(id)));
        }
        let Some(occupant) = Occupant::of(presence) else { return true };
        let is_gone = presence.attr("type") == Some("unavailable");
        if is_own && occupant.address.as_deref().is_none_or(|who| who == self.own) {
            if !is_gone {
                if occupant.statuses.contains(&CREATED) {
                    // There was none, so it is not the group's.
                    self.memberships.set_presence(&room, Presence::Destroyed);
                    self.rooms.note(&room, Work::Destroy);
                } else if occupant.is_own() {
                    self.memberships.set_presence(&room, Presence::Inside);
                    self.rooms.pings.show(&room);
                    self.far_answered(&room);
                }
            } else if self.memberships.presence(&room) != Some(Presence::Joining) {
                let is_destroyed = occupant.is_destroyed;
                let presence = if is_destroyed { Presence::Destroyed } else { Presence::Outside };
                self.memberships.set_presence(&room, presence);
                // Somebody else's server may do that again and again.
                if occupant.statuses.contains(&SHUTDOWN) || self.memberships.is_made_elsewhere(&room) {
                    self.rooms.try_again(&room);
                } else {
                    self.rooms.note(&room, Work::Refresh);
                }
            }
        }
        if let (Some(who), Some(affiliation)) = (occupant.address, occupant.affiliation) {
            self.rooms.note(&room, Work::Observe(Observed::Affiliation(who, affiliation)));
        }
        true
    }

    /// Brings the account's part in a room up to date with the group's record. `noticed`: the revision that a message names,
    /// which anybody may have sent.
    async fn refresh_room(&mut self, room: &str, noticed: Option<i64>) -> Result<(), Stop> {
        for _ in 0..ROUNDS {
            let record = match self.groups.finished(room).await {
                Ok(record) => record,
                Err(failure) => {
                    tracing::debug!(%failure, "the record of a room is not complete yet");
                    self.rooms.try_again(room);
                    return Ok(());
                }
            };
            let joined = record.as_ref().and_then(|record| record.member(&self.own)).map(|me| me.joined);
            if self.memberships.place(room).is_none() {
                // It may have been removed by now, or added again.
                let first = match noticed.filter(|revision| *revision > self.memberships.left_by(room)) {
                    Some(revision) if self.is_added_by(room, revision).await? => Some(revision),
                    _ => joined,
                };
                let Some(first) = first else { return Ok(()) };
                self.enter_room(room, first).await?;
            }
            let Some(joined) = joined else { return self.leave_room(room).await };
            if let Some(place) = self.memberships.place(room) {
                let made_elsewhere = record.as_ref().filter(|record| record.made_elsewhere);
                if let Some(record) = made_elsewhere {
                    // Its archive says nothing of the revisions.
                    self.hear_of(room, record.revision, place.point).await?;
                } else if place.revision == joined - 1 {
                    self.hear_of(room, joined, place.point).await?;
                }
            }
            if self.memberships.presence(room) == Some(Presence::Destroyed) {
                self.memberships.set_presence(room, Presence::Outside);
                if self.memberships.is_made_elsewhere(room) {
                    self.kept_out_elsewhere(room);
                    return Ok(());
                }
                self.observe(room, &Observed::Refused(self.own.clone())).await;
                continue;
            }
            let is_outside = self.is_still_outside(room);
            if is_outside && self.memberships.is_made_elsewhere(room) && self.rooms.again.contains_key(room) {
                // It is asked when its pause is over.
                return Ok(());
            }
            if is_outside && self.is_far(room) {
                return self.join_far_room(room).await;
            }
            if let Err(failure) = self.join_room(room).await? {
                tracing::debug!(%failure, "a room does not let a member in");
                if !is_kept_out(&failure) {
                    self.rooms.try_again(room);
                    return Ok(());
                }
                if self.memberships.is_made_elsewhere(room) {
                    self.kept_out_elsewhere(room);
                    return Ok(());
                }
                self.observe(room, &Observed::Refused(self.own.clone())).await;
                continue;
            }
            match self.read_room(room).await? {
                Reading::Done => {
                    self.rooms.succeeded(room);
                    return Ok(());
                }
                Reading::Later => return Ok(()),
                Reading::Left => {}
                Reading::Refused if self.memberships.is_made_elsewhere(room) => {
                    self.kept_out_elsewhere(room);
                    return Ok(());
                }
                Reading::Refused => self.observe(room, &Observed::Refused(self.own.clone())).await,
            }
        }
        self.rooms.try_again(room);
        Ok(())
    }

    async fn observe(&self, room: &str, observed: &Observed) {
        if let Err(failure) = self.groups.observe(room, observed).await {
            tracing::debug!(%failure, "a room could not be compared with its group");
        }
    }

    /// Whether a revision has added the account to a group.
    async fn is_added_by(&self, room: &str, revision: i64) -> Result<bool, Stop> {
        let found = self.groups.revisions(room, revision, revision).await.map_err(not_stored)?;
        Ok(found.iter().any(|(_, revision)| revision.added.iter().any(|who| who.0 == self.own)))
    }

    /// Begins with a room that this revision has added the account to, and reports it.
    async fn enter_room(&mut self, room: &str, revision: i64) -> Result<(), Stop> {
        let revisions = self.groups.revisions(room, revision, revision).await.map_err(not_stored)?;
        let first = revisions.into_iter().next().map(|(_, first)| first);
        let point = first.map(|first| ArchivePoint { id: first.announced.unwrap_or_default(), at: first.at });
        let record = self.groups.record(room).await.map_err(not_stored)?;
        let made_elsewhere = record.is_some_and(|record| record.made_elsewhere);
        let place = Place { point: point.clone(), revision: revision - 1, left: false, made_elsewhere };
        let stored = [(room.to_owned(), place.clone())];
        Memberships::store(&*self.state, &stored).await.map_err(not_stored)?;
        self.memberships.enter(room, place);
        self.hear_of(room, revision, point).await.map(drop)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn not_stored(failure: Failure) -> Stop {
    tracing::debug!(%failure, "the state of rooms was not read or stored");
    Stop::Link(LinkEnd::Broken)
}
