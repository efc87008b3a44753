//! IQs (RFC 6120, section 8.2.3): questions and their answers.

use std::time::Duration;

use tokio::time::timeout;

use super::address;
use super::failure::IqFailure;
use super::link::Link;
use super::xml::{Build as _, Element, element, ns};

/// For one answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An IQ of this type.
pub(super) fn iq(kind: &'static str) -> Element {
    element("iq", ns::CLIENT).attribute("type", kind)
}

/// Waits for an answer for a limited time.
pub(super) async fn ask(link: &Link, iq: Element) -> Result<Element, IqFailure> {
    timeout(ANSWER_TIMEOUT, link.ask(iq)).await.unwrap_or(Err(IqFailure::NoAnswer))
}

/// A ping (XEP-0199) to a server.
pub(super) fn ping(domain: &str) -> Element {
    iq("get").attribute("to", domain).child(element("ping", ns::PING))
}

/// Returns when the own server has handled what was sent before; false: it is not known to have. Errors for local receivers
/// come before.
pub(super) async fn is_handled(link: &Link, domain: &str) -> bool {
    match ask(link, ping(domain)).await {
        Ok(_) => true,
        // A server without pings answers, too.
        Err(failure) => failure.condition().is_some(),
    }
}

/// The question what an address is and can (XEP-0030, section 3.1).
pub(super) fn disco_info(of: &str) -> Element {
    iq("get").attribute("to", of).child(element("query", ns::DISCO_INFO))
}

/// Whether the answer to [`disco_info`] lists a feature.
pub(super) fn has_feature(info: &Element, feature: &str) -> bool {
    let query = info.get_child("query", ns::DISCO_INFO);
    let is_listed =
        |child: &Element| child.is("feature", ns::DISCO_INFO) && child.attr("var") == Some(feature);
    query.is_some_and(|query| query.children().any(is_listed))
}

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
