//! What a message says to people: its content, and the message that it refers to.

use super::sharing;
use super::xml::{Element, child_text, ns};
use crate::domain::{Content, Location, OtherContent, What};

/// The namespaces of OMEMO: the one in use (XEP-0384, version 0.3) and the newest.
const OMEMO: [&str; 2] = ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"];
/// Reactions (XEP-0444).
const REACTIONS: &str = "urn:xmpp:reactions:0";
/// Calls (XEP-0353).
const CALLS: &str = "urn:xmpp:jingle-message:0";
/// Replies (XEP-0461).
const REPLY: &str = "urn:xmpp:reply:0";

/// A message with one of these is no message for people: states, receipts, invitations, events of nodes.
const NO_MESSAGE: [&str; 10] = [
    ns::WINDU_GROUP,
    ns::CHAT_STATES,
    ns::RECEIPTS,
    ns::MARKERS,
    ns::CARBONS,
    CALLS,
    "http://jabber.org/protocol/pubsub#event",
    "http://jabber.org/protocol/muc#user",
    "jabber:x:conference",
    "jabber:x:event",
];
/// What describes a message: alone it says nothing.
const DESCRIPTION: [&str; 12] = [
    ns::CLIENT,
    ns::HINTS,
    ns::DELAY,
    ns::STANZA_ID,
    ns::NICK,
    ns::EME,
    ns::FALLBACK,
    ns::MAM,
    REPLY,
    "urn:xmpp:mam:tmp",
    "jabber:x:delay",
    "urn:xmpp:occupant-id:0",
];

/// The content of a message, and the id of the message that it answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub content: Content,
    pub reply_to: Option<String>,
}

/// `None`: it is no message for people.
pub(super) fn said(message: &Element) -> Option<Said> {
    let body = child_text(message, "body", ns::CLIENT);
    // First of all: the body of an encrypted message is a text about encryption.
    let is_encrypted = message.has_child("encryption", ns::EME)
        || OMEMO.iter().any(|omemo| message.has_child("encrypted", *omemo));
    if is_encrypted {
        // Without a body it carries keys.
        return Some(other(What::Encrypted, body?, None));
    }
    // The body of an action is for apps that do not know it: as a text of its own it would be a second message.
    if let Some((what, id, text)) = action(message, body.as_deref()) {
        return Some(other(what, text, Some(id)));
    }
    if sharing::is_encrypted_file(message) {
        return Some(other(What::Encrypted, body.unwrap_or_default(), None));
    }
    let reply = message.get_child("reply", REPLY);
    let reply_to = reply.and_then(|reply| reply.attr("id")).map(str::to_owned);
    if let Some(content) = sharing::content(message) {
        return Some(Said { content, reply_to });
    }
    let Some(body) = body else { return without_body(message) };
    let body = if reply_to.is_some() { without_quote(message, &body) } else { body };
    let content = place(&body).map_or(Content::Text(body), Content::Location);
    Some(Said { content, reply_to })
}

fn other(what: What, text: String, refers_to: Option<String>) -> Said {
    Said { content: Content::Other(OtherContent { what, text, refers_to }), reply_to: None }
}

/// An action on another message: the id of that one, and what it says itself.
fn action(message: &Element, body: Option<&str>) -> Option<(What, String, String)> {
    let id = |element: &Element| element.attr("id").filter(|id| !id.is_empty()).map(str::to_owned);
    // Corrections (XEP-0308).
    if let Some(corrected) = message.get_child("replace", "urn:xmpp:message-correct:0").and_then(id) {
        return Some((What::Edit, corrected, body.unwrap_or_default().to_owned()));
    }
    if let Some(reactions) = message.get_child("reactions", REACTIONS) {
        let emojis: Vec<String> =
            reactions.children().filter(|child| child.is("reaction", REACTIONS)).map(Element::text).collect();
        return Some((What::Reaction, id(reactions)?, emojis.join(" ")));
    }
    // Retractions (XEP-0424): the present version, and the one on top of XEP-0422.
    let retracted = message.get_child("retract", "urn:xmpp:message-retract:1").and_then(id);
    let fastened = message
        .get_child("apply-to", "urn:xmpp:fasten:0")
        .filter(|target| target.has_child("retract", "urn:xmpp:message-retract:0"));
    let retracted = retracted.or_else(|| fastened.and_then(id))?;
    Some((What::Deletion, retracted, String::new()))
}

/// Something for people that this program does not know, or a call.
fn without_body(message: &Element) -> Option<Said> {
    if message.has_child("propose", CALLS) {
        return Some(other(What::Call, String::new(), None));
    }
    let is_of =
        |child: &Element, namespaces: &[&str]| namespaces.iter().any(|namespace| child.has_ns(*namespace));
    let is_for_people = message.attr("type") != Some("headline")
        && !message.children().any(|child| is_of(child, &NO_MESSAGE))
        && message.children().any(|child| !is_of(child, &DESCRIPTION));
    is_for_people.then(|| other(What::Unknown, String::new(), None))
}

/// The text without the quote of the answered message, which is for apps that do not know replies (XEP-0428).
fn without_quote(message: &Element, body: &str) -> String {
    let fallbacks = message.children().filter(|child| child.is("fallback", ns::FALLBACK));
    let quote = fallbacks.into_iter().find(|fallback| fallback.attr("for") == Some(REPLY));
    let Some(quote) = quote.and_then(|quote| quote.get_child("body", ns::FALLBACK)) else {
        return body.to_owned();
    };
    // In characters; without them it is the whole body.
    let position = |name, default| quote.attr(name).map_or(Some(default), |position| position.parse().ok());
    let (Some(start), Some(end)) = (position("start", 0), position("end", usize::MAX)) else {
        return body.to_owned();
    };
    let kept = body.chars().enumerate().filter(|(index, _)| !(start..end).contains(index));
    kept.map(|(_, character)| character).collect()
}

/// A place in the form that apps send: a geo URI (RFC 5870) as the whole text.
fn place(body: &str) -> Option<Location> {
    let rest = body.strip_prefix("geo:")?;
    let coordinates = rest.split(';').next()?;
    let mut parts = coordinates.split(',');
    let (latitude, longitude): (f64, f64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let is_on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
    (is_on_earth && parts.count() <= 1).then_some(Location { latitude, longitude, caption: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inner: &str) -> Option<Said> {
        let message = format!(
            "<message xmlns='jabber:client' from='a@b/c' to='d@e' id='m1' type='chat'>{inner}</message>"
        );
        said(&message.parse().expect("XML"))
    }

    fn is_other(inner: &str, what: What, text: &str, refers_to: Option<&str>) {
        assert_eq!(of(inner), Some(other(what, text.to_owned(), refers_to.map(str::to_owned))), "{inner}");
    }

    #[test]
    fn an_encrypted_message_is_never_a_text() {
        let encrypted = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>";
        is_other(
            &format!("{encrypted}<body>An OMEMO message</body>"),
            What::Encrypted,
            "An OMEMO message",
            None,
        );
        // Keys alone are for nobody to read.
        assert_eq!(of(encrypted), None);
    }

    #[test]
    fn an_action_refers_to_its_message_and_is_never_a_second_text() {
        let replace = "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>";
        is_other(&format!("<body>as corrected</body>{replace}"), What::Edit, "as corrected", Some("m0"));
        let reactions = "<reactions xmlns='urn:xmpp:reactions:0' id='m0'><reaction>👍</reaction><reaction>🌊</reaction></reactions>";
        is_other(&format!("<body>&gt; hi 👍</body>{reactions}"), What::Reaction, "👍 🌊", Some("m0"));
        is_other("<reactions xmlns='urn:xmpp:reactions:0' id='m0'/>", What::Reaction, "", Some("m0"));
        let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='m0'/>";
        is_other(&format!("<body>I deleted a message</body>{retract}"), What::Deletion, "", Some("m0"));
        let older = "<apply-to xmlns='urn:xmpp:fasten:0' id='m0'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>";
        is_other(older, What::Deletion, "", Some("m0"));
    }

    #[test]
    fn what_is_not_known_is_no_text_and_what_says_nothing_is_no_message() {
        is_other("<poll xmlns='urn:example:poll'/>", What::Unknown, "", None);
        is_other("<propose xmlns='urn:xmpp:jingle-message:0' id='c1'/>", What::Call, "", None);
        for nothing in [
            "<accept xmlns='urn:xmpp:jingle-message:0' id='c1'/>",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>",
            "<received xmlns='urn:xmpp:receipts' id='m0'/><store xmlns='urn:xmpp:hints'/>",
            "<x xmlns='jabber:x:conference' jid='r@c'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/><archived xmlns='urn:example:archive' id='1'/>",
            "<archived xmlns='urn:xmpp:mam:tmp' id='1'/><delay xmlns='urn:xmpp:delay' stamp='2026-11-20T10:00:00Z'/>",
            "",
        ] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_reply_loses_its_quote() {
        let reply = |range: &str| {
            format!(
                "<body>&gt; Ünd?\nYes</body><reply xmlns='urn:xmpp:reply:0' to='a@b' id='m0'/>
                 <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body {range}/></fallback>"
            )
        };
        let said = |text: &str| {
            Some(Said { content: Content::Text(text.to_owned()), reply_to: Some("m0".to_owned()) })
        };
        assert_eq!(of(&reply("start='0' end='7'")), said("Yes"));
        assert_eq!(of(&reply("start='9' end='8'")), said("> Ünd?\nYes"));
        assert_eq!(of(&reply("start='a'")), said("> Ünd?\nYes"));
        assert_eq!(of(&reply("end='99'")), said(""));
    }

    #[test]
    fn a_geo_uri_is_a_place() {
        let place = |body| place(body).map(|place| (place.latitude, place.longitude));
        assert_eq!(place("geo:52.5,13.4"), Some((52.5, 13.4)));
        assert_eq!(place("geo:-52.5,13.4,30;u=12"), Some((-52.5, 13.4)));
        for other in ["geo:91,0", "geo:1", "geo:a,b", "geo:1,2 is near", "see geo:1,2", "geo:1,2,3,4"] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
