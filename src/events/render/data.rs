//! The field `data` of an event: its facts, and what they are about as it is now.

use serde_json::{Map, Value, json};

use super::{Found, Need};
use crate::db::DbError;
use crate::domain::{AccountId, Event, Photo, Timestamp, UncutTimestamp, Visible};
use crate::events::view::{ContactInfo, GroupDetails, MessageInfo, PhotoSize, PhotoUrl};
use crate::media::Media;
use crate::store::{EventGroup, EventMessage, EventPerson, EventProfile, SequencedEvent};

/// What a kind of events shows besides its facts.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    Message,
    /// A time of the message, by the field's name.
    MessageTime(&'static str),
    Contact,
    ContactStatus,
    ContactPhoto,
    GroupInfo,
    GroupSubject,
    Nickname,
    StatusMessage,
    Connected,
    Privacy,
    OwnPhoto,
    /// Nothing.
    Facts,
}

impl Shown {
    pub fn of(kind: &str) -> Self {
        match kind {
            Event::MESSAGE_QUEUED
            | "message.received"
            | "message.sent_elsewhere"
            | "message.media"
            | "message.undecryptable" => Self::Message,
            Event::MESSAGE_SENT => Self::MessageTime("sent"),
            Event::MESSAGE_DELIVERED => Self::MessageTime("delivered"),
            Event::MESSAGE_READ => Self::MessageTime("read"),
            Event::CONTACT_UPDATED | "contact.added" => Self::Contact,
            "contact.status_message_changed" => Self::ContactStatus,
            "contact.photo_changed" => Self::ContactPhoto,
            "group.created" => Self::GroupInfo,
            "group.changed" => Self::GroupSubject,
            "account.nickname_changed" => Self::Nickname,
            "account.status_message_changed" => Self::StatusMessage,
            "account.connected_status_changed" => Self::Connected,
            "account.privacy_changed" => Self::Privacy,
            "account.photo_changed" => Self::OwnPhoto,
            // Also those of a newer version of this program.
            _ => Self::Facts,
        }
    }
}

pub(super) fn data(
    media: &Media,
    account: Option<AccountId>,
    event: &SequencedEvent,
    need: Need,
    found: &Found,
) -> Result<Value, DbError> {
    let mut data = match &event.payload {
        Value::Object(facts) => facts.clone(),
        _ => Map::new(),
    };
    let shown = Shown::of(&event.kind);
    let is_there = match need {
        Need::Nothing => true,
        Need::Gone => false,
        Need::Message(position) => match found.messages.get(&position).zip(account) {
            None => false,
            Some((message, account)) => {
                show_message(media, account, event, shown, message, &mut data)?;
                true
            }
        },
        Need::Person(position) => {
            found.people.get(&position).is_some_and(|person| show_person(media, shown, person, &mut data))
        }
        Need::Group(position) => match found.groups.get(&position) {
            None => false,
            Some(group) => show_group(shown, group, &mut data)?,
        },
        Need::Profile(account) => {
            found.profiles.get(&account).is_some_and(|profile| show_profile(shown, profile, &mut data))
        }
    };
    match event.kind.as_str() {
        // Journals of earlier versions do not have it.
        "chat.read" => drop(data.entry("unread").or_insert(Value::Null)),
        "group.changed" => {
            // Journals of earlier versions do not have it.
            data.entry("by").or_insert(Value::Null);
            data.entry("subject").or_insert(Value::Null);
        }
        // Shown as the field `media` of the message.
        "message.media" if is_there => drop(data.remove("state")),
        _ => {}
    }
    if !is_there {
        data.insert("gone".to_owned(), true.into());
    }
    Ok(Value::Object(data))
}

fn show_message(
    media: &Media,
    account: AccountId,
    event: &SequencedEvent,
    shown: Shown,
    found: &EventMessage,
    data: &mut Map<String, Value>,
) -> Result<(), DbError> {
    let EventMessage { message, title, participant_title } = found;
    if let Shown::MessageTime(name) = shown {
        let at = match name {
            "sent" => message.sent,
            "delivered" => message.delivered,
            _ => message.read,
        };
        // Without one, by the event.
        let at = at.unwrap_or(event.at);
        data.insert(name.to_owned(), json!(Timestamp(at)));
        data.insert(format!("{name}_timestamp"), json!(UncutTimestamp(at)));
        return Ok(());
    }
    let chat = data.get("chat").cloned().unwrap_or_default();
    let shown = serde_json::to_value(MessageInfo::new(media, account, message.clone()))
        .map_err(|error| unwritable(&error))?;
    let Value::Object(mut shown) = shown else { return Ok(()) };
    shown.insert("chat".to_owned(), chat);
    shown.insert("title".to_owned(), title.as_str().into());
    if let Some(title) = participant_title {
        shown.insert("participant_title".to_owned(), title.as_str().into());
    }
    if event.kind == "message.media"
        && let Some(state) = event.payload.get("state")
    {
        shown.insert("media".to_owned(), state.clone());
    }
    data.insert("message".to_owned(), Value::Object(shown));
    Ok(())
}

fn show_person(media: &Media, shown: Shown, person: &EventPerson, data: &mut Map<String, Value>) -> bool {
    match shown {
        Shown::ContactStatus => {
            let text = match &person.status_message {
                Visible::Hidden => Value::Null,
                Visible::Value(text) => text.as_str().into(),
            };
            data.insert("status_message".to_owned(), text);
        }
        Shown::ContactPhoto => {
            let whole = PhotoUrl::of(media, &person.photo, PhotoSize::Whole);
            let preview = PhotoUrl::of(media, &person.photo, PhotoSize::Preview);
            data.insert("photo_url".to_owned(), whole.photo_url.into());
            data.insert("preview_photo_url".to_owned(), preview.photo_url.into());
            data.insert("photo_status".to_owned(), whole.photo_status.into());
        }
        _ => {
            let Some(contact) = &person.contact else { return false };
            if let Ok(Value::Object(shown)) = serde_json::to_value(ContactInfo::from(contact.clone())) {
                data.extend(shown);
            }
        }
    }
    true
}

fn show_group(shown: Shown, group: &EventGroup, data: &mut Map<String, Value>) -> Result<bool, DbError> {
    if matches!(shown, Shown::GroupSubject) {
        data.insert("subject".to_owned(), group.subject.as_str().into());
        return Ok(true);
    }
    let Some(info) = &group.info else { return Ok(false) };
    let info = serde_json::to_value(GroupDetails::from(info.clone())).map_err(|error| unwritable(&error))?;
    data.insert("info".to_owned(), info);
    Ok(true)
}

fn show_profile(shown: Shown, profile: &EventProfile, data: &mut Map<String, Value>) -> bool {
    let shown = match shown {
        Shown::Nickname => json!({"nickname": profile.nickname}),
        Shown::StatusMessage => json!({"status_message": profile.status_message}),
        Shown::Connected => {
            json!({"connected_status": if profile.connected { "online" } else { "offline" }})
        }
        Shown::Privacy => json!(profile.privacy),
        _ => json!({"photo_status": photo_status(profile.photo)}),
    };
    if let Value::Object(shown) = shown {
        data.extend(shown);
    }
    true
}

fn photo_status(photo: Option<Photo>) -> &'static str {
    if photo.is_some() { "200" } else { "404" }
}

pub(super) fn unwritable(error: &serde_json::Error) -> DbError {
    DbError::Corrupt(format!("an event cannot be written: {error}"))
}
