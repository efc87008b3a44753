//! XML elements: how they are made and read. Everything is an [`Element`], so that nothing that a server sends is lost by
//! a stricter type.

use tokio_xmpp::minidom::rxml::{Namespace, NcName};

pub(super) use tokio_xmpp::minidom::Element;

/// The namespaces that this adapter speaks, with their sources.
pub(super) mod ns {
    /// RFC 6120.
    pub const CLIENT: &str = "jabber:client";
    /// RFC 6120, section 7.
    pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
    /// RFC 6120, section 8.3.
    pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    /// RFC 6120, section 4.9.
    pub const STREAM: &str = "http://etherx.jabber.org/streams";
    /// RFC 6120, section 4.9.3.
    pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
    /// RFC 6121, section 2.
    pub const ROSTER: &str = "jabber:iq:roster";
    /// XEP-0004.
    pub const DATA: &str = "jabber:x:data";
    /// XEP-0030.
    pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
    /// XEP-0030.
    pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
    /// XEP-0045.
    pub const MUC: &str = "http://jabber.org/protocol/muc";
    /// XEP-0045, section 9.
    pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
    /// XEP-0045, section 10.
    pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
    /// XEP-0045.
    pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
    /// XEP-0050.
    pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
    /// XEP-0054.
    pub const VCARD: &str = "vcard-temp";
    /// XEP-0059.
    pub const RSM: &str = "http://jabber.org/protocol/rsm";
    /// XEP-0066.
    pub const OUT_OF_BAND: &str = "jabber:x:oob";
    /// XEP-0080.
    pub const GEOLOC: &str = "http://jabber.org/protocol/geoloc";
    /// XEP-0085.
    pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
    /// XEP-0103.
    pub const URL_DATA: &str = "http://jabber.org/protocol/url-data";
    /// XEP-0153.
    pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
    /// XEP-0172.
    pub const NICK: &str = "http://jabber.org/protocol/nick";
    /// XEP-0184.
    pub const RECEIPTS: &str = "urn:xmpp:receipts";
    /// XEP-0198.
    pub const SM: &str = "urn:xmpp:sm:3";
    /// XEP-0199.
    pub const PING: &str = "urn:xmpp:ping";
    /// XEP-0203.
    pub const DELAY: &str = "urn:xmpp:delay";
    /// XEP-0249.
    pub const CONFERENCE: &str = "jabber:x:conference";
    /// XEP-0280.
    pub const CARBONS: &str = "urn:xmpp:carbons:2";
    /// Entity Capabilities (XEP-0115).
    pub const CAPS: &str = "http://jabber.org/protocol/caps";
    /// XEP-0297.
    pub const FORWARD: &str = "urn:xmpp:forward:0";
    /// XEP-0300.
    pub const HASHES: &str = "urn:xmpp:hashes:2";
    /// XEP-0313.
    pub const MAM: &str = "urn:xmpp:mam:2";
    /// XEP-0319.
    pub const IDLE: &str = "urn:xmpp:idle:1";
    /// XEP-0333.
    pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
    /// XEP-0334.
    pub const HINTS: &str = "urn:xmpp:hints";
    /// XEP-0359.
    pub const STANZA_ID: &str = "urn:xmpp:sid:0";
    /// XEP-0380.
    pub const EME: &str = "urn:xmpp:eme:0";
    /// XEP-0363.
    pub const HTTP_UPLOAD: &str = "urn:xmpp:http:upload:0";
    /// XEP-0428.
    pub const FALLBACK: &str = "urn:xmpp:fallback:0";
    /// XEP-0446.
    pub const FILE_METADATA: &str = "urn:xmpp:file:metadata:0";
    /// XEP-0447.
    pub const FILE_SHARING: &str = "urn:xmpp:sfs:0";
    /// XEP-0448.
    pub const ENCRYPTED_SHARING: &str = "urn:xmpp:esfs:0";
    /// Our own, for what only accounts of this program say of their messages.
    pub const WINDU_CONTENT: &str = "urn:windu:content:0";
    /// Our own, for what only accounts of this program say about groups.
    pub const WINDU_GROUP: &str = "urn:windu:group:0";
}

/// A new element.
pub(super) fn element(name: &str, namespace: &str) -> Element {
    Element::bare(name, namespace)
}

/// The building of an element, from the outside in.
pub(super) trait Build: Sized {
    /// With this attribute. A value that XML cannot carry loses the characters that it cannot.
    fn attribute(self, name: &'static str, value: &str) -> Self;
    /// With this child at the end.
    fn child(self, child: Element) -> Self;
    /// With this text at the end.
    fn content(self, text: &str) -> Self;
}

impl Build for Element {
    fn attribute(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(name) = NcName::try_from(name) {
            self.set_attr(Namespace::NONE, name, writable(value));
        } else {
            tracing::error!(name, "an attribute's name is no name in XML");
        }
        self
    }

    fn child(mut self, child: Element) -> Self {
        self.append_child(child);
        self
    }

    fn content(mut self, text: &str) -> Self {
        if !text.is_empty() {
            self.append_text_node(writable(text));
        }
        self
    }
}

/// A form (XEP-0004) of this type (XEP-0068), filled in.
pub(super) fn submitted(kind: &str, fields: &[(&str, &str)]) -> Element {
    let field = |name: &str, value: &str| {
        element("field", ns::DATA).attribute("var", name).child(element("value", ns::DATA).content(value))
    };
    let form = element("x", ns::DATA)
        .attribute("type", "submit")
        .child(field("FORM_TYPE", kind).attribute("type", "hidden"));
    fields.iter().fold(form, |form, (name, value)| form.child(field(name, value)))
}

/// The text of a child; `None` without such a child.
pub(super) fn child_text(element: &Element, name: &str, namespace: &str) -> Option<String> {
    element.get_child(name, namespace).map(Element::text)
}

/// The text with U+FFFD in place of each character that XML 1.0 (section 2.2) cannot carry.
fn writable(text: &str) -> String {
    text.chars().map(|character| if is_writable(character) { character } else { '\u{fffd}' }).collect()
}

fn is_writable(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_carry_is_replaced() {
        assert_eq!(writable("a\0b\u{1}c\u{fffe}d\ne🌊"), "a\u{fffd}b\u{fffd}c\u{fffd}d\ne🌊");
        let made = element("a", "urn:a").attribute("b", "1\u{2}").child(element("c", "urn:c").content("d"));
        assert_eq!(made.attr("b"), Some("1\u{fffd}"));
        assert_eq!(child_text(&made, "c", "urn:c").as_deref(), Some("d"));
        assert_eq!(child_text(&made, "c", "urn:other"), None);
    }
}
