//! The event object, the same on every way out.
//!
//! Facts are as they were when the event was written. Messages, names and URLs are as they are now, looked up for many
//! events in one query for each kind of data. Of what is no longer there, the facts are shown, and `gone`.

mod data;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use self::data::{Shown, data, unwritable};
use super::{Cursor, Events};
use crate::db::DbError;
use crate::domain::{AccountId, CounterId, Timestamp, UncutTimestamp, UserId};
use crate::store::{
    EventGroup, EventMessage, EventPerson, EventProfile, JournalOwner, NamedEventMessage, NamedPeer,
    SequencedEvent,
};

/// Messages that are in memory for one rendering.
const MESSAGES: usize = 20;

/// An event as clients see it.
#[derive(Clone, Debug)]
pub struct RenderedEvent {
    pub place: i64,
    pub counter: CounterId,
    /// Never given twice, not after a restoration either.
    pub id: String,
    /// Such as `message.received`.
    pub kind: String,
    pub seq: i64,
    /// The number of the account; `None`: it is about the user.
    pub account: Option<String>,
    /// The time at which it was stored.
    pub at: DateTime<Utc>,
    /// The object, on one line.
    pub json: Arc<str>,
}

/// The object as JSON.
#[derive(Serialize)]
struct EventObject<'a> {
    id: &'a str,
    seq: i64,
    epoch: &'a str,
    r#type: &'a str,
    account: Option<&'a str>,
    time: Timestamp,
    timestamp: UncutTimestamp,
    cursor: String,
    data: Value,
}

/// What an event needs besides its facts: the position among those that are named.
#[derive(Clone, Copy)]
enum Need {
    /// The message itself, or a time of it.
    Message(usize),
    Person(usize),
    Group(usize),
    Profile(AccountId),
    /// It is about something that is not there any more.
    Gone,
    Nothing,
}

/// Things that are named, each once.
struct Named<T>(Vec<T>, HashMap<T, usize>);

impl<T: Clone + Eq + Hash> Named<T> {
    fn new() -> Self {
        Self(Vec::new(), HashMap::new())
    }

    fn position(&mut self, named: T) -> usize {
        *self.1.entry(named.clone()).or_insert_with(|| {
            self.0.push(named);
            self.0.len() - 1
        })
    }
}

/// What was looked up, by position.
struct Found {
    messages: HashMap<usize, EventMessage>,
    people: HashMap<usize, EventPerson>,
    groups: HashMap<usize, EventGroup>,
    profiles: HashMap<AccountId, EventProfile>,
}

impl Events {
    /// The first of a user's events as clients see them now, in the same order, and how many of `events` were rendered: so
    /// many that their messages fit into memory, at least one.
    pub async fn render(
        &self,
        user: UserId,
        events: &[SequencedEvent],
    ) -> Result<(Vec<RenderedEvent>, usize), DbError> {
        // Not too many at once in a process: each may hold long texts.
        let _permit = self.inner.renderings.acquire().await;
        let epochs = self.epochs().await?;
        let mut counters: Vec<CounterId> = events.iter().map(|event| event.counter).collect();
        counters.sort_unstable();
        counters.dedup();
        let owners = self.store().journal_owners(counters).await?;
        let owners: HashMap<CounterId, JournalOwner> =
            owners.into_iter().map(|owner| (owner.counter, owner)).collect();

        let (mut messages, mut people, mut groups) = (Named::new(), Named::new(), Named::new());
        let (mut needs, mut accounts) = (Vec::new(), Vec::new());
        for event in events {
            let need = need(event, owners.get(&event.counter), &mut messages, &mut people, &mut groups);
            if let Need::Profile(account) = need
                && !accounts.contains(&account)
            {
                accounts.push(account);
            }
            needs.push(need);
            if messages.0.iter().filter(|message| message.whole).count() >= MESSAGES {
                break;
            }
        }
        let found = self.look_up(messages.0, &people.0, &groups.0, &accounts).await?;

        let taken = needs.len();
        let mut rendered = Vec::with_capacity(taken);
        for (event, need) in events.iter().zip(needs) {
            // The user was deleted meanwhile.
            let Some(owner) = owners.get(&event.counter) else { continue };
            let account = owner.number.as_ref().map(|number| number.as_str().to_owned());
            let id = format!("{}-{}-{}", epochs.word(event.epoch)?, event.counter, event.seq);
            let cursor = Cursor { epoch: epochs.present().to_owned(), user, place: event.place };
            let account_id = owner.account.as_ref().map(|(account, _)| *account);
            let object = EventObject {
                id: &id,
                seq: event.seq,
                epoch: epochs.present(),
                r#type: &event.kind,
                account: account.as_deref(),
                time: Timestamp(event.at),
                timestamp: UncutTimestamp(event.at),
                cursor: cursor.to_string(),
                data: data(self.media(), account_id, event, need, &found)?,
            };
            let json = serde_json::to_string(&object).map_err(|error| unwritable(&error))?;
            rendered.push(RenderedEvent {
                place: event.place,
                counter: event.counter,
                id,
                kind: event.kind.clone(),
                seq: event.seq,
                account,
                at: event.at,
                json: json.into(),
            });
        }
        Ok((rendered, taken))
    }

    async fn look_up(
        &self,
        messages: Vec<NamedEventMessage>,
        people: &[NamedPeer],
        groups: &[(NamedPeer, bool)],
        accounts: &[AccountId],
    ) -> Result<Found, DbError> {
        let store = self.store();
        let (groups, with_info): (Vec<NamedPeer>, Vec<bool>) = groups.iter().cloned().unzip();
        let profiles = if accounts.is_empty() { Vec::new() } else { store.event_profiles(accounts).await? };
        Ok(Found {
            messages: if messages.is_empty() {
                HashMap::new()
            } else {
                store.event_messages(messages).await?.into_iter().collect()
            },
            people: if people.is_empty() {
                HashMap::new()
            } else {
                store.event_people(people).await?.into_iter().collect()
            },
            groups: if groups.is_empty() {
                HashMap::new()
            } else {
                store.event_groups(&groups, &with_info).await?.into_iter().collect()
            },
            profiles: profiles.into_iter().map(|profile| (profile.account, profile)).collect(),
        })
    }
}

fn need(
    event: &SequencedEvent,
    owner: Option<&JournalOwner>,
    messages: &mut Named<NamedEventMessage>,
    people: &mut Named<NamedPeer>,
    groups: &mut Named<(NamedPeer, bool)>,
) -> Need {
    let fact = |name: &str| event.payload.get(name).and_then(Value::as_str).map(str::to_owned);
    let account = owner.filter(|owner| event.seq > owner.former_seq).and_then(|owner| owner.account.as_ref());
    let peer = |name: Option<String>| {
        let ((account, directory), name) = account.zip(name)?;
        Some(NamedPeer { account: *account, directory: directory.clone(), name })
    };
    let shown = Shown::of(&event.kind);
    let need = match shown {
        Shown::Facts => return Need::Nothing,
        Shown::Message | Shown::MessageTime(_) => peer(fact("chat")).zip(fact("id")).map(|(chat, id)| {
            let whole = matches!(shown, Shown::Message);
            Need::Message(messages.position(NamedEventMessage { chat, id, letter: fact("type"), whole }))
        }),
        Shown::Contact | Shown::ContactStatus | Shown::ContactPhoto => {
            peer(fact("contact")).map(|contact| Need::Person(people.position(contact)))
        }
        Shown::GroupInfo => peer(fact("group")).map(|group| Need::Group(groups.position((group, true)))),
        Shown::GroupSubject => peer(fact("group")).map(|group| Need::Group(groups.position((group, false)))),
        Shown::Nickname | Shown::StatusMessage | Shown::Connected | Shown::Privacy | Shown::OwnPhoto => {
            account.map(|(account, _)| Need::Profile(*account))
        }
    };
    need.unwrap_or(Need::Gone)
}
