//! Messages, receipts and typing, as stanzas.

use std::collections::BTreeMap;

use super::address;
use super::inbound::WantedReceipt;
use super::rooms::stanza::of_room;
use super::sharing::{SharedFile, place, share};
use super::xml::{Build as _, Element, element, ns};
use crate::domain::{Content, FailureReason, Location, Typing};
use crate::upstream::{Address, Outgoing, ReadReceipt};

/// The largest stanza, in bytes. Servers as installed close the stream at 256 KiB.
const LARGEST_STANZA: usize = 250_000;
/// The text of a stanza, in bytes with its escapes; the rest is for what stands around it.
pub(super) const LARGEST_TEXT: usize = 240_000;
/// A character may become so many bytes, as `&quot;` does.
const LONGEST_ESCAPE: usize = 6;

/// The stanza of a message, or why it cannot be sent. `file` is its file with the URL where it was uploaded.
pub(super) fn message(
    outgoing: &Outgoing,
    file: Option<(&SharedFile, &str)>,
) -> Result<Element, FailureReason> {
    let (body, elements) = match (&outgoing.content, file) {
        (Content::Text(text), _) => (lines(text), Vec::new()),
        // Apps show the URI as a place.
        (Content::Location(location), _) => {
            let described = location.caption.as_ref().map(|_| place(location));
            (geo(location), described.into_iter().collect())
        }
        (content @ (Content::Media(_) | Content::VCard(_)), Some((file, url))) => {
            (url.to_owned(), share(content, file, url))
        }
        (Content::Media(_) | Content::VCard(_), None) | (Content::Other(_), _) => {
            return Err(FailureReason::Refused);
        }
    };
    let text = match &outgoing.content {
        Content::VCard(card) => card.vcard.len(),
        content => content.text().map_or(0, str::len),
    };
    let may_be_large = (body.len() + text) * LONGEST_ESCAPE > LARGEST_STANZA;
    let stanza = to(&outgoing.to)
        .attribute("id", &outgoing.id)
        .child(element("body", ns::CLIENT).content(&body))
        .child(element("origin-id", ns::STANZA_ID).attribute("id", &outgoing.id));
    let stanza = if address::room(&outgoing.to).is_some() {
        stanza.child(element("sent", ns::WINDU_GROUP))
    } else {
        stanza.child(element("request", ns::RECEIPTS))
    };
    let stanza = stanza.child(element("markable", ns::MARKERS));
    let stanza = elements.into_iter().fold(stanza, Element::child);
    if may_be_large && String::from(&stanza).len() > LARGEST_STANZA {
        return Err(FailureReason::TooLarge);
    }
    Ok(stanza)
}

/// The bytes of a text in XML.
pub(super) fn escaped_bytes(text: &str) -> usize {
    let bytes = |character: char| match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '"' | '\'' => "&quot;".len(),
        other => other.len_utf8(),
    };
    text.chars().map(bytes).sum()
}

/// The text with one end of lines: XML knows no other (XML 1.0, section 2.11).
pub(super) fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Delivered receipts (XEP-0184). Those of messages in a group go to the author alone, in one stanza.
pub(super) fn delivered<'a>(receipts: impl Iterator<Item = &'a WantedReceipt>) -> Vec<Element> {
    let received = |id: &str| element("received", ns::RECEIPTS).attribute("id", id);
    let (mut stanzas, mut in_rooms) = (Vec::new(), BTreeMap::<(&str, &str), Element>::new());
    for WantedReceipt { to, id, room } in receipts {
        match room {
            Some(room) => {
                let stanza = in_rooms.entry((to, room)).or_insert_with(|| within(chat(to), Some(room)));
                stanza.append_child(received(id));
            }
            None => stanzas.push(kept(chat(to).child(received(id)))),
        }
    }
    stanzas.extend(in_rooms.into_values().map(kept));
    stanzas
}

/// A read receipt (XEP-0333). Other apps expect that of a message in a group in the room.
pub(super) fn read(receipt: &ReadReceipt, own_domain: &str) -> Element {
    let displayed = element("displayed", ns::MARKERS).attribute("id", &receipt.id);
    match receipt.group.as_ref() {
        Some(group) if address::number(&receipt.to.0, own_domain).is_none() => {
            kept(to(group).child(displayed))
        }
        group => kept(within(chat(&receipt.to.0).child(displayed), group.and_then(address::room))),
    }
}

fn within(stanza: Element, room: Option<&str>) -> Element {
    match room {
        Some(room) => stanza.child(of_room(room)),
        None => stanza,
    }
}

/// A chat state (XEP-0085), which no server keeps.
pub(super) fn typing(receiver: &Address, typing: Typing) -> Element {
    let state = match typing {
        Typing::Composing => "composing",
        Typing::Paused => "paused",
    };
    to(receiver).child(element(state, ns::CHAT_STATES)).child(element("no-store", ns::HINTS))
}

/// A message to a person or a group.
fn to(receiver: &Address) -> Element {
    match address::room(receiver) {
        Some(room) => element("message", ns::CLIENT).attribute("type", "groupchat").attribute("to", room),
        None => chat(&receiver.0),
    }
}

fn chat(to: &str) -> Element {
    element("message", ns::CLIENT).attribute("type", "chat").attribute("to", to)
}

/// A server keeps what has no body only when it is asked to (XEP-0334).
fn kept(message: Element) -> Element {
    let id = crate::secrets::random_id();
    message.attribute("id", &id).child(element("store", ns::HINTS))
}

/// A geo URI (RFC 5870).
fn geo(location: &Location) -> String {
    format!("geo:{},{}", location.latitude, location.longitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Address;

    #[test]
    fn every_text_within_the_limit_fits_into_a_stanza() {
        for character in ['a', '&', '<', '"', '\'', 'é', '😀'] {
            let count = LARGEST_TEXT / escaped_bytes(&character.to_string());
            let text: String = std::iter::repeat_n(character, count).collect();
            let content = crate::domain::Content::Text(text);
            let to = Address("15550100002@chat.example".to_owned());
            let outgoing = Outgoing { id: "0".repeat(32), to, content };
            assert!(message(&outgoing, None).is_ok(), "{character}");
        }
    }
}
