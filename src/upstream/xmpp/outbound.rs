//! Messages, receipts and typing, as stanzas.

use super::sharing::{SharedFile, place, share};
use super::xml::{Build as _, Element, element, ns};
use crate::domain::{Content, FailureReason, Location, Typing};
use crate::upstream::Outgoing;

/// The largest stanza, in bytes. Servers as installed close the stream at 256 KiB.
const LARGEST_STANZA: usize = 250_000;
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
    let stanza = chat(&outgoing.to.0)
        .attribute("id", &outgoing.id)
        .child(element("body", ns::CLIENT).content(&body))
        .child(element("origin-id", ns::STANZA_ID).attribute("id", &outgoing.id))
        .child(element("request", ns::RECEIPTS))
        .child(element("markable", ns::MARKERS));
    let stanza = elements.into_iter().fold(stanza, Element::child);
    if may_be_large && String::from(&stanza).len() > LARGEST_STANZA {
        return Err(FailureReason::TooLarge);
    }
    Ok(stanza)
}

/// The text with one end of lines: XML knows no other (XML 1.0, section 2.11).
pub(super) fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A delivered receipt (XEP-0184).
pub(super) fn delivered(to: &str, id: &str) -> Element {
    kept(chat(to).child(element("received", ns::RECEIPTS).attribute("id", id)))
}

/// A read receipt (XEP-0333).
pub(super) fn read(to: &str, id: &str) -> Element {
    kept(chat(to).child(element("displayed", ns::MARKERS).attribute("id", id)))
}

/// A chat state (XEP-0085), which no server keeps.
pub(super) fn typing(to: &str, typing: Typing) -> Element {
    let state = match typing {
        Typing::Composing => "composing",
        Typing::Paused => "paused",
    };
    chat(to).child(element(state, ns::CHAT_STATES)).child(element("no-store", ns::HINTS))
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
