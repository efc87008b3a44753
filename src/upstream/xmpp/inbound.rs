//! Received messages, as upstream events.

use chrono::{DateTime, Utc};

use super::xml::{Element, child_text, ns};
use super::{address, sharing};
use crate::domain::{Content, Location, ReceiptKind, Typing};
use crate::upstream::{Address, UpstreamEvent};

/// The namespaces of OMEMO: the one in use (XEP-0384, version 0.3) and the newest.
const OMEMO: [&str; 2] = ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"];

/// A message for this account or by it, with what the server says about it.
pub(super) struct Envelope<'a> {
    pub message: &'a Element,
    /// When the network got it.
    pub sent_at: DateTime<Utc>,
    /// Kept by the server for later, not sent at this moment.
    pub is_late: bool,
    /// The account's own copy of what another device of it sent.
    pub is_own: bool,
}

/// A delivered receipt that the sender wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedReceipt {
    pub to: String,
    pub id: String,
}

/// The events of a message, in order, and the receipt that it wants.
pub(super) fn events(envelope: &Envelope<'_>) -> (Vec<UpstreamEvent>, Option<WantedReceipt>) {
    let message = envelope.message;
    if message.attr("type") == Some("error") {
        return (Vec::new(), None);
    }
    let Some(peer) = message.attr(if envelope.is_own { "to" } else { "from" }).map(address::bare) else {
        return (Vec::new(), None);
    };
    let peer = Address(peer.to_owned());
    if let Some(said) = said(message) {
        return message_event(envelope, peer, said);
    }
    if envelope.is_own {
        let marker = message.get_child("displayed", ns::MARKERS);
        let read = marker.and_then(|marker| marker.attr("id")).map(str::to_owned);
        return (read.map(|id| UpstreamEvent::ReadElsewhere { chat: peer, id }).into_iter().collect(), None);
    }
    let mut events = Vec::new();
    for (name, namespace, kind) in
        [("received", ns::RECEIPTS, ReceiptKind::Delivered), ("displayed", ns::MARKERS, ReceiptKind::Read)]
    {
        if let Some(id) = message.get_child(name, namespace).and_then(|receipt| receipt.attr("id")) {
            // Other apps mark only the newest message (XEP-0333, section 4.1).
            let up_to = kind == ReceiptKind::Read;
            let (from, id) = (peer.clone(), id.to_owned());
            events.push(UpstreamEvent::Receipt { from, id, kind, group: None, up_to });
        }
    }
    if !envelope.is_late
        && let Some(typing) = typing(message)
    {
        events.push(UpstreamEvent::Typing { from: peer, typing, group: None });
    }
    (events, None)
}

fn message_event(
    envelope: &Envelope<'_>,
    peer: Address,
    said: Said,
) -> (Vec<UpstreamEvent>, Option<WantedReceipt>) {
    let Some(id) = id(envelope.message) else { return (Vec::new(), None) };
    let wants_receipt = envelope.message.has_child("request", ns::RECEIPTS) && !envelope.is_own;
    let receipt = wants_receipt.then(|| WantedReceipt {
        to: peer.0.clone(),
        id: envelope.message.attr("id").unwrap_or(&id).to_owned(),
    });
    let sent_at = envelope.sent_at;
    let event = match said {
        Said::Content(content) if envelope.is_own => {
            UpstreamEvent::SentElsewhere { to: peer, id, content, sent_at }
        }
        Said::Content(content) => UpstreamEvent::Message { from: peer, id, content, sent_at, group: None },
        Said::Unreadable if envelope.is_own => return (Vec::new(), None),
        Said::Unreadable => UpstreamEvent::Undecryptable { from: peer, id, group: None },
    };
    (vec![event], receipt)
}

/// The id under which receipts name a message: its own, or without one what the server gave it.
fn id(message: &Element) -> Option<String> {
    let own = message.attr("id").filter(|id| !id.is_empty());
    let origin = || message.get_child("origin-id", ns::STANZA_ID).and_then(|id| id.attr("id"));
    let server = || message.get_child("stanza-id", ns::STANZA_ID).and_then(|id| id.attr("id"));
    own.or_else(origin).or_else(server).map(str::to_owned)
}

/// What a message has for people.
enum Said {
    Content(Content),
    /// It is encrypted, or an action on another message that this program does not know.
    Unreadable,
}

/// The namespaces of corrections (XEP-0308) and of retractions (XEP-0424, its two versions).
const ACTIONS: [(&str, &str); 3] = [
    ("replace", "urn:xmpp:message-correct:0"),
    ("retract", "urn:xmpp:message-retract:1"),
    ("apply-to", "urn:xmpp:fasten:0"),
];

/// `None`: it is no message for people.
fn said(message: &Element) -> Option<Said> {
    // First of all: the body of an encrypted message is a text about encryption.
    if message.has_child("encryption", ns::EME)
        || OMEMO.iter().any(|omemo| message.has_child("encrypted", *omemo))
    {
        // Without a body it carries keys.
        return message.has_child("body", ns::CLIENT).then_some(Said::Unreadable);
    }
    // The body of an action is for apps that do not know it: as a text of its own it would be a second message.
    let is_action = ACTIONS.iter().any(|(name, namespace)| message.has_child(*name, *namespace));
    if is_action || sharing::is_encrypted_file(message) {
        return Some(Said::Unreadable);
    }
    if let Some(shared) = sharing::content(message) {
        return Some(Said::Content(shared));
    }
    let body = child_text(message, "body", ns::CLIENT)?;
    Some(Said::Content(place(&body).map_or(Content::Text(body), Content::Location)))
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

fn typing(message: &Element) -> Option<Typing> {
    let state = message.children().find(|child| child.has_ns(ns::CHAT_STATES))?;
    Some(if state.name() == "composing" { Typing::Composing } else { Typing::Paused })
}

/// The moment in a delay (XEP-0203, XEP-0082).
pub(super) fn delay(element: &Element) -> Option<DateTime<Utc>> {
    let stamp = element.get_child("delay", ns::DELAY)?.attr("stamp")?;
    DateTime::parse_from_rfc3339(stamp).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(xml: &str, is_own: bool) -> (Vec<UpstreamEvent>, Option<WantedReceipt>) {
        let message: Element = xml.parse().expect("XML");
        events(&Envelope { message: &message, sent_at: DateTime::UNIX_EPOCH, is_late: false, is_own })
    }

    fn message(inner: &str) -> String {
        format!("<message xmlns='jabber:client' from='a@b/c' to='d@e' id='m1' type='chat'>{inner}</message>")
    }

    #[test]
    fn a_body_is_a_text_and_may_want_a_receipt() {
        let (events, receipt) = of(&message("<body>hi</body><request xmlns='urn:xmpp:receipts'/>"), false);
        assert!(
            matches!(&events[..], [UpstreamEvent::Message { from, id, content: Content::Text(text), .. }]
            if from.0 == "a@b" && id == "m1" && text == "hi"),
            "{events:?}"
        );
        assert_eq!(receipt, Some(WantedReceipt { to: "a@b".to_owned(), id: "m1".to_owned() }));
        let (events, receipt) = of(&message("<body>hi</body>"), true);
        assert!(
            matches!(&events[..], [UpstreamEvent::SentElsewhere { to, .. }] if to.0 == "d@e"),
            "{events:?}"
        );
        assert_eq!(receipt, None);
    }

    #[test]
    fn an_encrypted_message_is_never_a_text() {
        let encrypted = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>";
        let (events, _) =
            of(&message(&format!("{encrypted}<body>I sent you an OMEMO message</body>")), false);
        assert!(matches!(&events[..], [UpstreamEvent::Undecryptable { .. }]), "{events:?}");
        assert_eq!(of(&message(encrypted), false).0, []);
    }

    #[test]
    fn a_correction_is_never_a_second_text() {
        let replace = "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>";
        let (events, _) = of(&message(&format!("<body>as corrected</body>{replace}")), false);
        assert!(matches!(&events[..], [UpstreamEvent::Undecryptable { .. }]), "{events:?}");
    }

    #[test]
    fn receipts_and_typing_are_events_and_a_late_typing_is_none() {
        let (events, _) = of(&message("<received xmlns='urn:xmpp:receipts' id='o1'/>"), false);
        assert!(
            matches!(&events[..], [UpstreamEvent::Receipt { id, kind: ReceiptKind::Delivered, .. }] if id == "o1")
        );
        let typing = message("<composing xmlns='http://jabber.org/protocol/chatstates'/>");
        assert!(matches!(
            &of(&typing, false).0[..],
            [UpstreamEvent::Typing { typing: Typing::Composing, .. }]
        ));
        let typing: Element = typing.parse().expect("XML");
        let late = Envelope { message: &typing, sent_at: DateTime::UNIX_EPOCH, is_late: true, is_own: false };
        assert_eq!(events_of(&late), []);
        assert_eq!(of(&message("").replace("type='chat'", "type='error'"), false).0, []);
    }

    fn events_of(envelope: &Envelope<'_>) -> Vec<UpstreamEvent> {
        events(envelope).0
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
