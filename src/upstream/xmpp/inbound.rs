//! Received messages, as upstream events.

use chrono::{DateTime, Utc};

use super::address;
use super::rooms::stanza::room_of;
use super::said::{Said, said};
use super::sharing::files;
use super::xml::{Element, ns};
use crate::domain::{Content, ReceiptKind, Typing};
use crate::upstream::{Address, UpstreamEvent};

/// A message for this account or by it, with what the server says about it.
pub(super) struct Envelope<'a> {
    pub message: &'a Element,
    /// When the network got it.
    pub sent_at: DateTime<Utc>,
    /// Kept by the server for later, not sent at this moment.
    pub is_late: bool,
    /// The account's own copy of what another device of it sent.
    pub is_own: bool,
    pub in_room: Option<InRoom>,
}

/// Where a message of a group stands.
pub(super) struct InRoom {
    pub group: Address,
    /// Who wrote it.
    pub author: Address,
}

/// A delivered receipt that the sender wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedReceipt {
    pub to: String,
    pub id: String,
    /// The room of a message in a group.
    pub room: Option<String>,
}

/// The events of a message, in order, and the receipt that it wants.
pub(super) fn events(envelope: &Envelope<'_>) -> (Vec<UpstreamEvent>, Option<WantedReceipt>) {
    let message = envelope.message;
    if message.attr("type") == Some("error") {
        return (Vec::new(), None);
    }
    let (peer, group) = match &envelope.in_room {
        // What the account wrote itself went to the group.
        Some(InRoom { group, .. }) if envelope.is_own => (group.clone(), None),
        Some(InRoom { group, author }) => (author.clone(), Some(group.clone())),
        None => {
            let peer = message.attr(if envelope.is_own { "to" } else { "from" }).map(address::bare);
            let Some(peer) = peer else { return (Vec::new(), None) };
            // Members of a group confirm its messages to their author alone.
            (Address(peer.to_owned()), room_of(message).map(address::of_room))
        }
    };
    if let Some(said) = said(message) {
        return message_event(envelope, &peer, group.as_ref(), said);
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
        let receipts = message.children().filter(|child| child.is(name, namespace));
        for id in receipts.filter_map(|receipt| receipt.attr("id")) {
            // Other apps mark only the newest message (XEP-0333, section 4.1).
            let up_to = kind == ReceiptKind::Read;
            let (from, id, group) = (peer.clone(), id.to_owned(), group.clone());
            events.push(UpstreamEvent::Receipt { from, id, kind, group, up_to });
        }
    }
    if !envelope.is_late
        && let Some(typing) = typing(message)
    {
        events.push(UpstreamEvent::Typing { from: peer, typing, group });
    }
    (events, None)
}

fn message_event(
    envelope: &Envelope<'_>,
    peer: &Address,
    group: Option<&Address>,
    said: Said,
) -> (Vec<UpstreamEvent>, Option<WantedReceipt>) {
    let Some(id) = id(envelope.message) else { return (Vec::new(), None) };
    let room = group.and_then(address::room).map(str::to_owned);
    // In a room, other apps want none.
    let is_wanted = match &room {
        Some(_) => envelope.message.has_child("sent", ns::WINDU_GROUP),
        None => envelope.message.has_child("request", ns::RECEIPTS),
    };
    let receipt = (is_wanted && !envelope.is_own).then(|| WantedReceipt {
        to: peer.0.clone(),
        id: envelope.message.attr("id").unwrap_or(&id).to_owned(),
        room,
    });
    let sent_at = envelope.sent_at;
    let Said { content, reply_to } = said;
    let files = if matches!(content, Content::Media(_)) { files(envelope.message) } else { Vec::new() };
    let contents = if files.len() > 1 { files } else { vec![content] };
    let last = contents.len() - 1;
    let events = contents.into_iter().enumerate().map(|(index, content)| {
        // Each file is a message. The last one has the id itself, which markers up to it name.
        let id = if index == last { id.clone() } else { format!("{id}#{}", index + 1) };
        let (peer, group, reply_to) = (peer.clone(), group.cloned(), reply_to.clone());
        if envelope.is_own {
            UpstreamEvent::SentElsewhere { to: peer, id, content, reply_to, sent_at }
        } else {
            UpstreamEvent::Message { from: peer, id, content, reply_to, sent_at, group }
        }
    });
    (events.collect(), receipt)
}

/// The id under which receipts name a message: its own, or without one what the server gave it.
fn id(message: &Element) -> Option<String> {
    let own = message.attr("id").filter(|id| !id.is_empty());
    let origin = || message.get_child("origin-id", ns::STANZA_ID).and_then(|id| id.attr("id"));
    let server = || message.get_child("stanza-id", ns::STANZA_ID).and_then(|id| id.attr("id"));
    own.or_else(origin).or_else(server).map(str::to_owned)
}

/// What a chat state says (XEP-0085).
pub(super) fn typing(message: &Element) -> Option<Typing> {
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
        events(&Envelope {
            message: &message,
            sent_at: DateTime::UNIX_EPOCH,
            is_late: false,
            is_own,
            in_room: None,
        })
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
        let wanted = WantedReceipt { to: "a@b".to_owned(), id: "m1".to_owned(), room: None };
        assert_eq!(receipt, Some(wanted));
        let (events, receipt) = of(&message("<body>hi</body>"), true);
        assert!(
            matches!(&events[..], [UpstreamEvent::SentElsewhere { to, .. }] if to.0 == "d@e"),
            "{events:?}"
        );
        assert_eq!(receipt, None);
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
        let (sent_at, in_room) = (DateTime::UNIX_EPOCH, None);
        let late = Envelope { message: &typing, sent_at, is_late: true, is_own: false, in_room };
        assert_eq!(events_of(&late), []);
        assert_eq!(of(&message("").replace("type='chat'", "type='error'"), false).0, []);
    }

    fn events_of(envelope: &Envelope<'_>) -> Vec<UpstreamEvent> {
        events(envelope).0
    }
}
