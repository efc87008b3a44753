//! IQs (RFC 6120, section 8.2.3): the answers to those of others, and whose answer an answer is.

use super::address;
use super::xml::{Build as _, Element, element, ns};

/// Whether an answer comes from where the question went (RFC 6120, section 8.1.2.1).
pub(super) fn is_from(own: &str, from: Option<&str>, to: Option<&str>) -> bool {
    let own_bare = address::bare(own);
    match (from, to) {
        (from, Some(to)) => from == Some(to),
        (None, None) => true,
        (Some(from), None) => from == own_bare || from == own || from == address::domain(own),
    }
}

/// The answer to somebody's IQ: pongs (XEP-0199), thanks for a changed contact list (RFC 6121, section 2.1.6), and
/// that there is nothing else.
pub(super) fn answer(own: &str, iq: &Element) -> Element {
    let (from, id) = (iq.attr("from").unwrap_or_default(), iq.attr("id").unwrap_or_default());
    let is_own = iq.attr("from").is_none_or(|from| address::bare(from) == address::bare(own));
    let kind = iq.children().next().map_or(("", String::new()), |child| (child.name(), child.ns()));
    let accepted = match (kind.0, kind.1.as_str()) {
        ("ping", ns::PING) => true,
        ("query", ns::ROSTER) => is_own && iq.attr("type") == Some("set"),
        _ => false,
    };
    let mut answer = element("iq", ns::CLIENT).attribute("id", id);
    if !from.is_empty() {
        answer = answer.attribute("to", from);
    }
    if accepted {
        return answer.attribute("type", "result");
    }
    let error = element("error", ns::CLIENT)
        .attribute("type", "cancel")
        .child(element("service-unavailable", ns::STANZAS));
    answer.attribute("type", "error").child(error)
}
