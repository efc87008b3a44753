//! The messages that come by themselves or from the archive: what becomes an event, and what waits.

use chrono::{DateTime, Utc};

use super::notes::encrypted_by;
use super::{LeftToArchive, Reader};
use crate::clock;
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::archive::ArchivePoint;
use crate::upstream::xmpp::in_flight::Entry;
use crate::upstream::xmpp::inbound::{Envelope, delay, events};
use crate::upstream::xmpp::invitations::Invitation;
use crate::upstream::xmpp::rooms::stanza::noticed;
use crate::upstream::xmpp::xml::{Element, ns};
use crate::upstream::{Acknowledgement, Incoming, UpstreamEvent};

/// Messages that may wait until the archive is read.
const HELD: usize = 200;

/// A message that waits for older ones.
pub(in crate::upstream::xmpp) struct Held {
    pub(super) number: u64,
    pub(super) message: Element,
    pub(super) sent_at: DateTime<Utc>,
    pub(super) is_own: bool,
}

impl Reader {
    /// Takes a message, or the copy of one.
    pub(super) fn message(&mut self, number: u64, message: &Element, live: bool) {
        let is_from_own = message.attr("from").is_none_or(|from| from == self.own);
        if is_from_own && let Some(result) = message.get_child("result", ns::MAM) {
            return self.archived(number, result);
        }
        if is_from_own && let Some((carbon, is_own)) = carbon(message) {
            let sent_at = delay(carbon).unwrap_or_else(clock::now);
            return match forwarded(carbon) {
                Some(inner) => self.passed(number, inner, sent_at, is_own, false, None),
                None => self.ledger.close([number]),
            };
        }
        if message.attr("type") == Some("error") {
            return self.late_error(number, message);
        }
        if self.left_to_archive == LeftToArchive::All && self.archive_id(message).is_some() {
            return self.ledger.close([number]);
        }
        if message.attr("type") == Some("groupchat") {
            self.room_message(message);
            return self.ledger.close([number]);
        }
        let sent_at = delay(message).unwrap_or_else(clock::now);
        let point = live.then(|| self.archive_id(message)).flatten();
        let point = point.map(|id| ArchivePoint { id, at: sent_at });
        self.passed(number, message, sent_at, false, false, point);
    }

    /// Puts the events of a message into the batch.
    pub(super) fn passed(
        &mut self,
        number: u64,
        message: &Element,
        sent_at: DateTime<Utc>,
        is_own: bool,
        archived: bool,
        point: Option<ArchivePoint>,
    ) {
        let is_group = message.attr("type") == Some("groupchat");
        let is_late = archived || message.has_child("delay", ns::DELAY);
        if !is_group
            && !is_own
            && let Some((room, revision)) = noticed(message)
        {
            self.rooms.noticed(room, revision);
            return self.ledger.close([number]);
        }
        let invitation = Invitation::of(message).filter(|_| !is_group && !is_own);
        let is_invitation = invitation.is_some();
        if let Some(invitation) = invitation {
            let is_by_room = from_room(message, &invitation);
            let id = if archived {
                self.point.as_ref().map(|point| point.id.clone())
            } else {
                self.archive_id(message)
            };
            self.invitations.receive(invitation, id);
            if is_by_room {
                // Its text is for apps that do not know invitations, and the room is nobody.
                return self.invited.push(number);
            }
        }
        let (mut events, receipt) = if is_group {
            (Vec::new(), None)
        } else {
            events(&Envelope { message, sent_at, is_late, is_own, in_room: None })
        };
        let from = message.attr("from").map(address::bare).filter(|_| !is_own);
        if from.is_some_and(|from| self.profile.is_blocked(from)) {
            // Receipts still count.
            events.retain(|event| matches!(event, UpstreamEvent::Receipt { .. }));
        }
        let is_stored = events.iter().any(|event| !matches!(event, UpstreamEvent::Typing { .. }));
        let has_a_place =
            is_stored && events.iter().any(|event| !matches!(event, UpstreamEvent::Receipt { .. }));
        if has_a_place
            && !archived
            && let Some(held) = &mut self.held
        {
            if self.seen.contains(message) {
                return self.ledger.close([number]);
            }
            if held.len() < HELD {
                return held.push(Held { number, message: message.clone(), sent_at, is_own });
            }
            if self.is_prosody && self.archive_id(message).is_some() {
                self.left_to_archive = LeftToArchive::Some;
                return self.ledger.close([number]);
            }
            self.release(false);
        }
        if events.is_empty() && is_invitation {
            return self.invited.push(number);
        }
        if events.is_empty() || (is_stored && !self.seen.add(message)) {
            return self.ledger.close([number]);
        }
        if archived {
            self.batch_has_archived = true;
            self.last_archived = number;
        }
        self.encrypted.extend(events.iter().filter_map(encrypted_by));
        self.in_flight.add(number, Entry { receipt, place: None });
        let resume_point = self.confirmed_point().map(|point| point.to_resume_point());
        let count = events.len();
        for (index, event) in events.into_iter().enumerate() {
            let is_last = index + 1 == count;
            self.batch.push(Incoming {
                event,
                acknowledgement: is_last.then_some(Acknowledgement(number)),
                resume_point: resume_point.clone().filter(|_| is_last),
            });
        }
        if let Some(point) = point {
            self.unconfirmed.push_back((number, point));
        }
    }

    /// The message's id in the account's own archive (XEP-0359, section 3).
    pub(super) fn archive_id(&self, message: &Element) -> Option<String> {
        let ids = message.children().filter(|child| child.is("stanza-id", ns::STANZA_ID));
        let own = ids.into_iter().find(|id| id.attr("by") == Some(self.own.as_str()))?;
        own.attr("id").map(str::to_owned)
    }
}

/// Whether a room passes on an invitation to it.
fn from_room(message: &Element, invitation: &Invitation) -> bool {
    message.attr("from").map(address::bare) == Some(invitation.room.as_str())
}

/// What another device of the account sent or received (XEP-0280), and whether it sent it.
fn carbon(message: &Element) -> Option<(&Element, bool)> {
    let sent = message.get_child("sent", ns::CARBONS).map(|carbon| (carbon, true));
    sent.or_else(|| message.get_child("received", ns::CARBONS).map(|carbon| (carbon, false)))
}

/// The message inside (XEP-0297).
pub(super) fn forwarded(outer: &Element) -> Option<&Element> {
    outer.get_child("forwarded", ns::FORWARD)?.get_child("message", ns::CLIENT)
}
