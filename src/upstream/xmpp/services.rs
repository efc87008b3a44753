//! The services of a server, found by their features (XEP-0030).

use futures_util::future::join_all;

use super::failure::IqFailure;
use super::iq::{ask, disco_info, has_feature, iq};
use super::link::Link;
use super::xml::{Build as _, Element, element, ns};

/// Services of a server that are asked what they are.
const MOST: usize = 30;

/// The first address with a feature: of the services that a domain lists, or of the domain itself. An error: one that may
/// have it did not answer, and no other has it.
pub(super) async fn service(link: &Link, domain: &str, feature: &str) -> Result<Option<String>, IqFailure> {
    Ok(described_service(link, domain, feature).await?.map(|(address, _)| address))
}

/// [`service`] with what it says of itself.
pub(super) async fn described_service(
    link: &Link,
    domain: &str,
    feature: &str,
) -> Result<Option<(String, Element)>, IqFailure> {
    let items = iq("get").attribute("to", domain).child(element("query", ns::DISCO_ITEMS));
    let items = ask(link, items).await?;
    let items = items.get_child("query", ns::DISCO_ITEMS).into_iter().flat_map(Element::children);
    let listed = items.filter_map(|item| item.attr("jid")).take(MOST);
    let candidates = listed.chain([domain]);
    let answers = join_all(
        candidates.map(|candidate| async move { (candidate, ask(link, disco_info(candidate)).await) }),
    );
    let mut silent = None;
    for (candidate, answer) in answers.await {
        match answer {
            Ok(info) if has_feature(&info, feature) => return Ok(Some((candidate.to_owned(), info))),
            Err(failure @ (IqFailure::NoAnswer | IqFailure::Error { temporary: true, .. })) => {
                silent = Some(failure);
            }
            Ok(_) | Err(IqFailure::Error { .. }) => {}
        }
    }
    silent.map_or(Ok(None), Err)
}
