//! Rooms (XEP-0045) as stanzas: what is sent to them, and what they say.

use data_encoding::BASE64_MIME_PERMISSIVE;

use super::record::Affiliation;
use crate::secrets;
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::iq::iq;
use crate::upstream::xmpp::xml::{Build as _, Element, child_text, element, ns};

/// The type of a room's configuration form.
const CONFIGURATION: &str = "http://jabber.org/protocol/muc#roomconfig";
/// The settings of a group's room.
///
/// It must not be moderated: ejabberd lets people back into a moderated room who were removed. Only the presence of admins
/// is broadcast, or a thousand members who come would be a million presences.
const SETTINGS: [(&str, &str); 11] = [
    ("muc#roomconfig_persistentroom", "1"),
    ("muc#roomconfig_membersonly", "1"),
    ("muc#roomconfig_moderatedroom", "0"),
    ("muc#roomconfig_whois", "anyone"),
    ("muc#roomconfig_publicroom", "0"),
    ("muc#roomconfig_changesubject", "1"),
    ("muc#roomconfig_allowinvites", "0"),
    ("muc#roomconfig_passwordprotectedroom", "0"),
    ("muc#roomconfig_presencebroadcast", "moderator"),
    // The archive, by its names at Prosody and at ejabberd.
    ("muc#roomconfig_enablearchiving", "1"),
    ("mam", "1"),
];

/// Joins a room, without its history: the archive has it.
pub(in crate::upstream::xmpp) fn join(room: &str, nickname: &str) -> Element {
    let history = element("history", ns::MUC).attribute("maxstanzas", "0");
    presence(room, nickname).child(element("x", ns::MUC).child(history))
}

pub(in crate::upstream::xmpp) fn leave(room: &str, nickname: &str) -> Element {
    presence(room, nickname).attribute("type", "unavailable")
}

fn presence(room: &str, nickname: &str) -> Element {
    element("presence", ns::CLIENT).attribute("to", &format!("{room}/{nickname}"))
}

/// Destroys a room.
pub(in crate::upstream::xmpp) fn destroy(room: &str) -> Element {
    let destroy = element("destroy", ns::MUC_OWNER);
    iq("set").attribute("to", room).child(element("query", ns::MUC_OWNER).child(destroy))
}

/// Asks for the configuration form.
pub(super) fn configuration(room: &str) -> Element {
    iq("get").attribute("to", room).child(element("query", ns::MUC_OWNER))
}

/// The form of a room, filled in with what it has of the settings of groups, and with room for so many occupants.
pub(super) fn configured(room: &str, form: &Element, occupants: usize) -> Element {
    let mut filled =
        element("x", ns::DATA).attribute("type", "submit").child(field("FORM_TYPE", CONFIGURATION));
    let fields = form.children().filter(|child| child.is("field", ns::DATA));
    for offered in fields {
        let name = offered.attr("var").unwrap_or_default();
        if let Some((name, value)) = SETTINGS.iter().find(|(setting, _)| *setting == name) {
            filled = filled.child(field(name, value));
        } else if name == "muc#roomconfig_maxusers" {
            filled = filled.child(field(name, &most_occupants(offered, occupants)));
        }
    }
    iq("set").attribute("to", room).child(element("query", ns::MUC_OWNER).child(filled))
}

/// The smallest offered number of occupants that suffices, else the largest.
fn most_occupants(field: &Element, wanted: usize) -> String {
    let options = field.children().filter(|child| child.is("option", ns::DATA));
    let values = options.filter_map(|option| option.get_child("value", ns::DATA)?.text().parse().ok());
    let values: Vec<usize> = values.collect();
    let enough = values.iter().filter(|value| **value >= wanted).min();
    enough.or_else(|| values.iter().max()).unwrap_or(&wanted).to_string()
}

fn field(name: &str, value: &str) -> Element {
    element("field", ns::DATA).attribute("var", name).child(element("value", ns::DATA).content(value))
}

/// Sets an affiliation.
pub(super) fn affiliation(room: &str, who: &str, affiliation: Affiliation) -> Element {
    let item =
        element("item", ns::MUC_ADMIN).attribute("affiliation", affiliation.name()).attribute("jid", who);
    iq("set").attribute("to", room).child(element("query", ns::MUC_ADMIN).child(item))
}

/// Gives up the own membership of a room, and leaves it. Not all rooms allow the first.
pub(in crate::upstream::xmpp) fn give_up(room: &str, own: &str, nickname: &str) -> Vec<Element> {
    let id = secrets::random_id();
    vec![affiliation(room, own, Affiliation::None).attribute("id", &id), leave(room, nickname)]
}

/// Asks who has an affiliation.
pub(super) fn affiliated(room: &str, affiliation: Affiliation) -> Element {
    let item = element("item", ns::MUC_ADMIN).attribute("affiliation", affiliation.name());
    iq("get").attribute("to", room).child(element("query", ns::MUC_ADMIN).child(item))
}

/// The addresses in the answer to [`affiliated`].
pub(super) fn listed(answer: &Element) -> Vec<String> {
    let items = answer.get_child("query", ns::MUC_ADMIN).into_iter().flat_map(Element::children);
    items.filter_map(|item| item.attr("jid")).map(|jid| address::bare(jid).to_owned()).collect()
}

fn groupchat(room: &str) -> Element {
    element("message", ns::CLIENT)
        .attribute("type", "groupchat")
        .attribute("to", room)
        .attribute("id", &secrets::random_id())
}

pub(super) fn subject(room: &str, subject: &str) -> Element {
    groupchat(room).child(element("subject", ns::CLIENT).content(subject))
}

/// Says in a room that its group is at a revision. The archive keeps it in order with the messages.
pub(super) fn announcement(room: &str, revision: i64) -> Element {
    let changed = element("changed", ns::WINDU_GROUP).attribute("revision", &revision.to_string());
    groupchat(room).child(changed).child(element("store", ns::HINTS))
}

/// The revision of an announcement. Anybody in the room can say it, so it proves nothing: the record decides.
pub(in crate::upstream::xmpp) fn announced(message: &Element) -> Option<i64> {
    message.get_child("changed", ns::WINDU_GROUP)?.attr("revision")?.parse().ok()
}

/// Says to a person that this revision added them to a group or removed them from it. Other apps see an invitation
/// (XEP-0249).
pub(super) fn notice(to: &str, room: &str, revision: i64, is_added: bool) -> Element {
    let group = of_room(room).attribute("revision", &revision.to_string());
    let mut message = element("message", ns::CLIENT)
        .attribute("to", to)
        .attribute("id", &secrets::random_id())
        .child(group);
    if is_added {
        message = message.child(element("x", ns::CONFERENCE).attribute("jid", room));
    }
    message.child(element("store", ns::HINTS))
}

/// The room that a message to a person is about.
pub(in crate::upstream::xmpp) fn of_room(room: &str) -> Element {
    element("group", ns::WINDU_GROUP).attribute("room", room)
}

/// The room and the revision of a notice.
pub(in crate::upstream::xmpp) fn noticed(message: &Element) -> Option<(&str, i64)> {
    let group = message.get_child("group", ns::WINDU_GROUP)?;
    Some((group.attr("room")?, group.attr("revision")?.parse().ok()?))
}

/// The room of [`of_room`].
pub(in crate::upstream::xmpp) fn room_of(message: &Element) -> Option<&str> {
    message.get_child("group", ns::WINDU_GROUP)?.attr("room")
}

/// Sets the picture of a room (XEP-0054, XEP-0486); `None` takes it away.
pub(super) fn picture(room: &str, base64: Option<&str>) -> Element {
    let mut card = element("vCard", ns::VCARD);
    if let Some(base64) = base64 {
        let photo = element("PHOTO", ns::VCARD)
            .child(element("TYPE", ns::VCARD).content("image/jpeg"))
            .child(element("BINVAL", ns::VCARD).content(base64));
        card = card.child(photo);
    }
    iq("set").attribute("to", room).child(card)
}

/// Asks for the card of a room, which has its picture (XEP-0054, XEP-0486).
pub(super) fn card(room: &str) -> Element {
    iq("get").attribute("to", room).child(element("vCard", ns::VCARD))
}

/// The bytes of the picture in the answer to [`card`]; empty: there is none that can be read.
pub(super) fn picture_of(answer: &Element) -> Vec<u8> {
    let photo = answer.get_child("vCard", ns::VCARD).and_then(|card| card.get_child("PHOTO", ns::VCARD));
    let base64 = photo.and_then(|photo| child_text(photo, "BINVAL", ns::VCARD)).unwrap_or_default();
    BASE64_MIME_PERMISSIVE.decode(base64.trim().as_bytes()).unwrap_or_default()
}

/// The id of the picture that a presence of the room itself announces (XEP-0153, section 2.1): the SHA-1 of its bytes in
/// hexadecimal digits, empty when the room has none.
pub(in crate::upstream::xmpp) fn announced_picture(presence: &Element) -> Option<String> {
    if presence.attr("type").is_some() || presence.attr("from").and_then(address::resource).is_some() {
        return None;
    }
    child_text(presence.get_child("x", ns::VCARD_UPDATE)?, "photo", ns::VCARD_UPDATE)
}

/// The id that an archive gave a message (XEP-0359).
pub(in crate::upstream::xmpp) fn archive_id<'a>(message: &'a Element, archive: &str) -> Option<&'a str> {
    let mut ids = message.children().filter(|child| child.is("stanza-id", ns::STANZA_ID));
    ids.find(|id| id.attr("by") == Some(archive))?.attr("id")
}

/// What a presence of a room says of an occupant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream::xmpp) struct Occupant {
    /// Its own address, without the resource; `None` in an anonymous room.
    pub address: Option<String>,
    pub affiliation: Option<Affiliation>,
    /// Status codes (XEP-0045, section 15.6).
    pub statuses: Vec<u16>,
    /// The room is gone.
    pub is_destroyed: bool,
}

impl Occupant {
    pub fn of(stanza: &Element) -> Option<Self> {
        let said = stanza.get_child("x", ns::MUC_USER)?;
        let item = said.get_child("item", ns::MUC_USER);
        let statuses = said.children().filter(|child| child.is("status", ns::MUC_USER));
        Some(Self {
            address: item.and_then(|item| item.attr("jid")).map(|jid| address::bare(jid).to_owned()),
            affiliation: item.and_then(|item| Affiliation::named(item.attr("affiliation")?)),
            statuses: statuses.filter_map(|status| status.attr("code")?.parse().ok()).collect(),
            is_destroyed: said.has_child("destroy", ns::MUC_USER),
        })
    }

    /// It is the account itself.
    pub fn is_own(&self) -> bool {
        self.statuses.contains(&110)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_presence_of_the_room_itself_announces_its_picture() {
        let announced = |attributes: &str, inner: &str| {
            let presence = format!("<presence xmlns='jabber:client' {attributes}>{inner}</presence>");
            announced_picture(&presence.parse().expect("XML"))
        };
        let update = |photo: &str| format!("<x xmlns='vcard-temp:x:update'>{photo}</x>");
        let id = "c7d0bb9dd8a7e1d6ac9ab27ea0c3a2e8e3f2a1b0";
        let photo = update(&format!("<photo>{id}</photo>"));
        assert_eq!(announced("from='hall@rooms.b'", &photo), Some(id.to_owned()));
        assert_eq!(announced("from='hall@rooms.b'", &update("<photo/>")), Some(String::new()));
        // It does not say whether it has one.
        assert_eq!(announced("from='hall@rooms.b'", &update("")), None);
        assert_eq!(announced("from='hall@rooms.b/Romeo'", &photo), None);
        assert_eq!(announced("from='hall@rooms.b' type='unavailable'", &photo), None);
    }

    #[test]
    fn a_card_has_a_picture_or_none() {
        let found = |inner: &str| {
            let answer = format!("<iq xmlns='jabber:client'><vCard xmlns='vcard-temp'>{inner}</vCard></iq>");
            picture_of(&answer.parse().expect("XML"))
        };
        assert_eq!(found("<PHOTO><TYPE>image/png</TYPE><BINVAL>\nYWJj\nZGVm\n</BINVAL></PHOTO>"), b"abcdef");
        assert!(found("<PHOTO><EXTVAL>https://example.org/a.png</EXTVAL></PHOTO>").is_empty());
        assert!(found("<PHOTO><BINVAL>=</BINVAL></PHOTO>").is_empty());
        assert!(found("").is_empty());
    }
}
