//! The archives of rooms, page by page: messages become events, and announcements the changes of groups.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep_until};

use super::{Reading, not_stored};
use crate::clock;
use crate::secrets;
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::archive::{ArchivePoint, Page, PageResult, page_request, page_result};
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::in_flight::Entry;
use crate::upstream::xmpp::inbound::{Envelope, InRoom, delay, events};
use crate::upstream::xmpp::iq::ANSWER_TIMEOUT;
use crate::upstream::xmpp::link::{LinkEnd, Received};
use crate::upstream::xmpp::memberships::Place;
use crate::upstream::xmpp::reader::{Reader, Stop, forwarded};
use crate::upstream::xmpp::rooms::{Archived, Occupant, stanza};
use crate::upstream::xmpp::xml::{Build as _, Element, ns};
use crate::upstream::{Acknowledgement, Address, Incoming, UpstreamEvent};

/// What may wait while a room is read. Beyond it, messages of other senders may come before those of the room.
const LATER: usize = 150;
/// For an answer of a room on another server, which may be slow or hostile.
const FAR_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of its archive that are read without a pause.
const FAR_PAGES: usize = 20;
/// Own messages that are remembered by their ids in archives, which other apps use in markers.
const OWN_MESSAGES: usize = 1_000;

impl Reader {
    /// Reads the archive of a room behind the account's place, to its end.
    pub(super) async fn read_room(&mut self, room: &str) -> Result<Reading, Stop> {
        let Some(place) = self.memberships.place(room) else { return Ok(Reading::Left) };
        let mut page = first_page(place.point);
        for pages in 0.. {
            if pages >= FAR_PAGES && self.is_far(room) {
                self.rooms.try_again(room);
                return Ok(Reading::Later);
            }
            let (messages, answer) = self.ask_room(room, &page).await?;
            let end = match answer {
                Ok(end) => end,
                Err(failure) => match (failure.condition(), &page) {
                    // The archive does not reach back so far.
                    (Some("item-not-found"), Page::After(point)) => {
                        page = Page::Since(point.at);
                        continue;
                    }
                    (Some("forbidden" | "registration-required" | "not-allowed"), _) => {
                        return Ok(Reading::Refused);
                    }
                    _ => {
                        tracing::debug!(%failure, "the archive of a room was not read");
                        self.rooms.try_again(room);
                        return Ok(Reading::Later);
                    }
                },
            };
            for message in messages {
                if let Reading::Left = self.room_archived(room, &message).await? {
                    return Ok(Reading::Left);
                }
                page = Page::After(archive_point(&message));
            }
            self.pass_on_if_full().await?;
            if end.is_none_or(|end| end.complete || end.last.is_none()) {
                return Ok(Reading::Done);
            }
        }
        Ok(Reading::Later)
    }

    /// Asks for a page of a room's archive. What else comes waits.
    async fn ask_room(
        &mut self,
        room: &str,
        page: &Page,
    ) -> Result<(Vec<Archived>, Result<Option<PageResult>, IqFailure>), Stop> {
        let query = secrets::random_id();
        let request = page_request(&query, page).attribute("to", room);
        let answer = self.link.begin_to_ask(request).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
        tokio::pin!(answer);
        let is_far = self.is_far(room);
        let asked = Instant::now();
        let deadline = asked + if is_far { FAR_TIMEOUT } else { ANSWER_TIMEOUT };
        let wanted = Some((room, query.as_str()));
        let mut messages = Vec::new();
        let answer = loop {
            tokio::select! {
                biased;
                received = self.received.recv() => {
                    let received = received.ok_or(Stop::Link(LinkEnd::Broken))?;
                    messages.extend(self.set_aside(received, wanted).await?);
                }
                answer = &mut answer => break answer.unwrap_or(Err(IqFailure::NoAnswer)),
                () = sleep_until(deadline) => {
                    if !is_far {
                        return Err(Stop::Silent);
                    }
                    break Err(IqFailure::NoAnswer);
                }
            }
        };
        // What came before the answer is in the channel by now.
        while let Ok(received) = self.received.try_recv() {
            messages.extend(self.set_aside(received, wanted).await?);
        }
        if is_far {
            self.rooms.waited_for_far(asked.elapsed());
        }
        Ok((messages, answer.map(|answer| page_result(&answer))))
    }

    /// Lets something wait that came, unless it is of the wanted page, or a presence of a room.
    pub(super) async fn set_aside(
        &mut self,
        received: Received,
        wanted: Option<(&str, &str)>,
    ) -> Result<Option<Archived>, Stop> {
        if let Received::End(end) = received {
            return Err(Stop::Link(end));
        }
        if let Received::Stanza(number, stanza) = &received {
            if let Some((room, query)) = wanted
                && stanza.attr("from") == Some(room)
                && let Some(result) = stanza.get_child("result", ns::MAM)
                && result.attr("queryid") == Some(query)
            {
                // The place in the archive confirms it, not the stream.
                self.ledger.close([*number]);
                return Ok(Archived::of(stanza));
            }
            if stanza.name() == "presence" && self.room_presence(stanza) {
                self.ledger.close([*number]);
                return Ok(None);
            }
        }
        self.rooms.later.push_back(received);
        if self.rooms.later.len() >= LATER {
            while let Some(received) = self.rooms.later.pop_front() {
                self.take(received, self.held.is_none()).await?;
            }
        }
        Ok(None)
    }

    /// Takes a message of a room's archive.
    pub(super) async fn room_archived(&mut self, room: &str, archived: &Archived) -> Result<Reading, Stop> {
        let point = archive_point(archived);
        let sent_at = point.at;
        let Some(place) = self.memberships.place(room) else { return Ok(Reading::Left) };
        self.memberships.move_to(room, |place| place.point = Some(point.clone()));
        let Some(message) = forwarded(&archived.result) else { return Ok(Reading::Done) };
        if let Some(revision) = stanza::announced(message) {
            return self.hear_of(room, revision, Some(point)).await;
        }
        let occupant = message.attr("from").unwrap_or_default();
        let author = Occupant::of(message).and_then(|occupant| occupant.address);
        let author = author.unwrap_or_else(|| occupant.to_owned());
        let is_own = author == self.own;
        if is_own {
            if let Some(id) = message.attr("id") {
                self.rooms.own_messages.push_back((archived.id.clone(), id.to_owned()));
                let surplus = self.rooms.own_messages.len().saturating_sub(OWN_MESSAGES);
                self.rooms.own_messages.drain(..surplus);
            }
            if message.has_child("sent", ns::WINDU_GROUP) {
                return Ok(Reading::Done);
            }
        } else {
            self.rooms.nicknames.insert(occupant.to_owned(), author.clone());
        }
        let in_room = InRoom { group: address::of_room(room), author: Address(author) };
        let envelope = Envelope { message, sent_at, is_late: true, is_own, in_room: Some(in_room) };
        let (events, receipt) = events(&envelope);
        let place = Place { point: Some(point), ..place };
        let count = events.len();
        for (index, event) in events.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let entry = Entry {
                receipt: receipt.clone().filter(|_| is_last),
                place: is_last.then(|| (room.to_owned(), place.clone())),
            };
            self.push_room_event(self.named(event), entry);
        }
        Ok(Reading::Done)
    }

    /// A receipt with the message's own id: other apps name it by its id in the archive.
    fn named(&self, event: UpstreamEvent) -> UpstreamEvent {
        match event {
            UpstreamEvent::Receipt { from, id, kind, group, up_to } => {
                let own = self.rooms.own_messages.iter().find(|(archived, _)| *archived == id);
                let id = own.map_or(id, |(_, own)| own.clone());
                UpstreamEvent::Receipt { from, id, kind, group, up_to }
            }
            other => other,
        }
    }

    /// Reports the revisions of a group up to this one that were not reported yet.
    pub(super) async fn hear_of(
        &mut self,
        room: &str,
        revision: i64,
        point: Option<ArchivePoint>,
    ) -> Result<Reading, Stop> {
        let Some(place) = self.memberships.place(room) else { return Ok(Reading::Left) };
        if revision <= place.revision {
            return Ok(Reading::Done);
        }
        let Some(record) = self.groups.record(room).await.map_err(not_stored)? else {
            return Ok(Reading::Done);
        };
        let last = revision.min(record.revision);
        let revisions = self.groups.revisions(room, place.revision + 1, last).await.map_err(not_stored)?;
        let group = Arc::new(record.group(room));
        for (number, revision) in revisions {
            let left = revision.changes.iter().any(|change| {
                change.kind.removes_members() && change.who.iter().any(|who| who.0 == self.own)
            });
            let point = point.clone().or(place.point.clone());
            let place = Place { point, revision: number, left, made_elsewhere: place.made_elsewhere };
            self.memberships.move_to(room, |kept| kept.revision = number);
            let event = UpstreamEvent::GroupChanged {
                group: group.clone(),
                revision: number,
                subject: revision.subject,
                changes: revision.changes,
            };
            self.push_room_event(event, Entry { receipt: None, place: Some((room.to_owned(), place)) });
            if left {
                self.memberships.leave(room, number);
                return Ok(Reading::Left);
            }
        }
        Ok(Reading::Done)
    }

    fn push_room_event(&mut self, event: UpstreamEvent, entry: Entry) {
        let number = self.in_flight.add_unnumbered(entry);
        self.batch.push(Incoming {
            event,
            acknowledgement: Some(Acknowledgement(number)),
            resume_point: None,
        });
    }
}

/// The page with which reading begins.
pub(super) fn first_page(point: Option<ArchivePoint>) -> Page {
    match point {
        None => Page::First,
        Some(point) if point.id.is_empty() => Page::Since(point.at),
        Some(point) => Page::After(point),
    }
}

pub(super) fn archive_point(archived: &Archived) -> ArchivePoint {
    ArchivePoint { id: archived.id.clone(), at: sent_at(&archived.result) }
}

fn sent_at(result: &Element) -> DateTime<Utc> {
    result.get_child("forwarded", ns::FORWARD).and_then(delay).unwrap_or_else(clock::now)
}
