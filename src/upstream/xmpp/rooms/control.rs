//! The administrator in rooms: it makes them, and does in them what groups decide.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::awaited::Awaited;
use super::observed::is_gone;
use super::record::{Affiliation, Pending, Record};
use super::stanza::{self, Occupant};
use crate::secrets;
use crate::upstream::Address;
use crate::upstream::xmpp::archive::{Page, PageResult, page_request, page_result};
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::iq::{ANSWER_TIMEOUT, ask, is_handled};
use crate::upstream::xmpp::link::Link;
use crate::upstream::xmpp::xml::{Build as _, Element, ns};

/// Requests for affiliations that are under way at one time.
const AFFILIATIONS: usize = 50;
/// For a room's answer. ejabberd does not answer for a room that ends at this moment, so it is asked again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 3;
/// For the last messages of a page, which come before its end.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The status of a room that was made by joining it (XEP-0045, section 10.1).
pub(in crate::upstream::xmpp) const CREATED: u16 = 201;

/// The administrator's connection, as rooms need it. It is the owner of each room that it makes.
#[derive(Clone)]
pub(in crate::upstream::xmpp) struct Control {
    pub link: Link,
    pub awaited: Awaited,
    pub domain: String,
    /// The address of the service that has the rooms; `None`: the server has none.
    pub service: Option<String>,
}

/// What has become of a change of a room.
pub(super) enum CarriedOut {
    /// The id of its announcement in the room's archive.
    Announced(Option<String>),
    /// Somebody has destroyed the room.
    Gone,
}

/// A message in a room's archive.
pub(in crate::upstream::xmpp) struct Archived {
    pub id: String,
    /// The element `result` of it (XEP-0313).
    pub result: Element,
}

impl Control {
    /// Does in the room what a change needs, and announces it.
    ///
    /// Done twice, it only announces twice. `picture` is the group's, in base64.
    pub(super) async fn carry_out(
        &self,
        room: &str,
        record: &Record,
        pending: &Pending,
        picture: Option<&str>,
        occupants: usize,
    ) -> Result<CarriedOut, IqFailure> {
        let nickname = format!("windu-{}", secrets::random_id());
        let is_new = match self.enter(room, &nickname).await {
            Ok(is_new) => is_new,
            Err(failure) if is_gone(&failure) => return Ok(CarriedOut::Gone),
            Err(failure) => return Err(failure),
        };
        if is_new && !pending.create {
            ask(&self.link, stanza::destroy(room)).await?;
            return Ok(CarriedOut::Gone);
        }
        let done = if pending.create {
            self.make(room, record, occupants).await
        } else {
            self.affiliate(room, &pending.affiliations).await
        };
        let done = match done {
            Ok(()) => self.tell(room, record, pending, picture).await,
            Err(failure) => Err(failure),
        };
        let left = self.link.send(vec![stanza::leave(room, &nickname)]).await;
        let announced = done?;
        left?;
        let added = pending.added.iter().map(|who| (who, true));
        let concerned = added.chain(pending.removed.iter().map(|who| (who, false)));
        let notices =
            concerned.map(|(who, is_added)| stanza::notice(&who.0, room, record.revision, is_added));
        let notices: Vec<Element> = notices.collect();
        if !notices.is_empty() {
            self.link.send(notices).await?;
            if !is_handled(&self.link, &self.domain).await {
                return Err(IqFailure::NoAnswer);
            }
        }
        Ok(CarriedOut::Announced(announced))
    }

    /// Configures a room, and lets the members of the group in.
    async fn make(&self, room: &str, record: &Record, occupants: usize) -> Result<(), IqFailure> {
        let answer = ask(&self.link, stanza::configuration(room)).await?;
        let form = answer.get_child("query", ns::MUC_OWNER).and_then(|query| query.get_child("x", ns::DATA));
        let form = form.ok_or(IqFailure::NoAnswer)?;
        ask(&self.link, stanza::configured(room, form, occupants)).await?;
        let members = record.members.iter();
        let members: Vec<(Address, Affiliation)> =
            members.map(|member| (member.address.clone(), Affiliation::of(member.admin))).collect();
        self.affiliate(room, &members).await
    }

    async fn affiliate(&self, room: &str, affiliations: &[(Address, Affiliation)]) -> Result<(), IqFailure> {
        // In their order: a room always keeps an owner. Prosody takes one of a request.
        let requests: Vec<Element> = affiliations
            .iter()
            .map(|(who, affiliation)| stanza::affiliation(room, &who.0, *affiliation))
            .collect();
        let requests = stream::iter(requests).map(|request| {
            let link = self.link.clone();
            async move { ask(&link, request).await.map(drop) }
        });
        requests.buffered(AFFILIATIONS).try_collect().await
    }

    /// Shows the group's subject and picture, where they have changed, and announces the revision.
    async fn tell(
        &self,
        room: &str,
        record: &Record,
        pending: &Pending,
        picture: Option<&str>,
    ) -> Result<Option<String>, IqFailure> {
        let subject = stanza::subject(room, &record.subject);
        // Prosody passes a subject on without its id, so only an error is heard of.
        let mut refused = self.awaited.expect(subject.attr("id").unwrap_or_default());
        if pending.subject {
            self.link.send(vec![subject]).await?;
        }
        if pending.photo {
            ask(&self.link, stanza::picture(room, picture)).await?;
        }
        let announcement = self.say(stanza::announcement(room, record.revision)).await?;
        if let Ok(error) = refused.try_recv()
            && error.attr("type") == Some("error")
        {
            return Err(IqFailure::of(&error));
        }
        Ok(stanza::archive_id(&announcement, room).map(str::to_owned))
    }

    /// Joins a room, which is made if there is none. Returns whether it is new.
    async fn enter(&self, room: &str, nickname: &str) -> Result<bool, IqFailure> {
        for _ in 1..ATTEMPTS {
            match self.try_to_enter(room, nickname).await {
                Err(IqFailure::NoAnswer) => {}
                entered => return entered,
            }
        }
        self.try_to_enter(room, nickname).await
    }

    async fn try_to_enter(&self, room: &str, nickname: &str) -> Result<bool, IqFailure> {
        let mut presences = self.awaited.expect(&format!("{room}/{nickname}"));
        self.link.send(vec![stanza::join(room, nickname)]).await?;
        let entering = async {
            while let Some(presence) = presences.recv().await {
                if presence.attr("type") == Some("error") {
                    return Err(IqFailure::of(&presence));
                }
                if let Some(occupant) = Occupant::of(&presence).filter(Occupant::is_own) {
                    return Ok(occupant.statuses.contains(&CREATED));
                }
            }
            Err(IqFailure::NoAnswer)
        };
        timeout(ROOM_TIMEOUT, entering).await.unwrap_or(Err(IqFailure::NoAnswer))
    }

    /// Says something in a room; returns it as the room passes it on.
    async fn say(&self, message: Element) -> Result<Element, IqFailure> {
        let mut reflections = self.awaited.expect(message.attr("id").unwrap_or_default());
        self.link.send(vec![message]).await?;
        match timeout(ANSWER_TIMEOUT, reflections.recv()).await {
            Ok(Some(reflection)) if reflection.attr("type") == Some("error") => {
                Err(IqFailure::of(&reflection))
            }
            Ok(Some(reflection)) => Ok(reflection),
            Ok(None) | Err(_) => Err(IqFailure::NoAnswer),
        }
    }

    /// Who is in the room's lists, with their affiliations.
    pub async fn affiliated(&self, room: &str) -> Result<Vec<(String, Affiliation)>, IqFailure> {
        let mut found = Vec::new();
        for affiliation in Affiliation::OF_MEMBERS {
            let answer = self.list(room, affiliation).await?;
            found.extend(stanza::listed(&answer).into_iter().map(|who| (who, affiliation)));
        }
        Ok(found)
    }

    async fn list(&self, room: &str, affiliation: Affiliation) -> Result<Element, IqFailure> {
        for _ in 1..ATTEMPTS {
            let answer = self.link.ask(stanza::affiliated(room, affiliation));
            if let Ok(answer) = timeout(ROOM_TIMEOUT, answer).await {
                return answer;
            }
        }
        ask(&self.link, stanza::affiliated(room, affiliation)).await
    }

    /// A page of the room's archive, which an owner may read in any case.
    pub async fn page(
        &self,
        room: &str,
        page: &Page,
    ) -> Result<(Vec<Archived>, Option<PageResult>), IqFailure> {
        let query = secrets::random_id();
        let mut results = self.awaited.expect(&query);
        let answer = ask(&self.link, page_request(&query, page).attribute("to", room)).await?;
        let end = page_result(&answer);
        let mut archived: Vec<Archived> = Vec::new();
        let last = end.as_ref().and_then(|end| end.last.clone());
        while last.is_some() && archived.last().map(|message| &message.id) != last.as_ref() {
            archived.push(next_result(&mut results).await?);
        }
        Ok((archived, end))
    }
}

async fn next_result(results: &mut mpsc::Receiver<Element>) -> Result<Archived, IqFailure> {
    loop {
        let message = timeout(PAGE_TIMEOUT, results.recv()).await.ok().flatten();
        let message = message.ok_or(IqFailure::NoAnswer)?;
        if let Some(archived) = Archived::of(&message) {
            return Ok(archived);
        }
    }
}

impl Archived {
    pub fn of(message: &Element) -> Option<Self> {
        let result = message.get_child("result", ns::MAM)?;
        Some(Self { id: result.attr("id")?.to_owned(), result: result.clone() })
    }
}
