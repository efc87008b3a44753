//! What the server has of what this adapter needs, found by asking it (XEP-0030).

use super::iq::{ask, disco_info, has_feature};
use super::link::Link;
use super::services::service;
use super::xml::ns;
use crate::upstream::Finding;

/// The features of an account on the server, and what does not work without them.
const OF_ACCOUNT: [(&str, &str, &str); 2] = [
    (
        "urn:xmpp:mam:2",
        "archive",
        "what is sent while the account is away for long is lost: enable mam (mod_mam)",
    ),
    (
        "http://jabber.org/protocol/pubsub#publish",
        "pep",
        "profile photos cannot be shown: enable pep (mod_pubsub)",
    ),
];
/// The features of the server's domain.
const OF_DOMAIN: [(&str, &str, &str); 1] = [(
    "urn:xmpp:carbons:2",
    "carbons",
    "what another app of an account sends is not seen: enable carbons (mod_carboncopy)",
)];

/// The features of the service that has the rooms.
const OF_ROOMS: [(&str, &str, &str); 1] = [(
    "urn:xmpp:mam:2",
    "archive of rooms",
    "what is sent in groups while an account is away is lost: enable muc_mam (mod_mam)",
)];

/// Asks over the administrator's connection.
pub(super) async fn check(link: &Link, domain: &str, admin: &str) -> Vec<Finding> {
    let mut findings = vec![good("the administrator may add, delete and look up users")];
    findings.extend(features(link, domain, &OF_DOMAIN).await);
    findings.extend(features(link, admin, &OF_ACCOUNT).await);
    for (feature, name, lack) in [
        (ns::HTTP_UPLOAD, "uploads", "files cannot be sent: enable http_file_share (mod_http_upload)"),
        (ns::MUC, "rooms", "there are no groups: enable a muc component (mod_muc)"),
    ] {
        match service(link, domain, feature).await {
            Ok(Some(service)) => {
                findings.push(good(name));
                if feature == ns::MUC {
                    findings.extend(features(link, &service, &OF_ROOMS).await);
                }
            }
            Ok(None) => findings.push(bad(format!("no {name}: {lack}"))),
            Err(failure) => {
                findings.push(bad(format!("{domain} does not say what services it has: {failure}")));
            }
        }
    }
    findings
}

async fn features(link: &Link, of: &str, wanted: &[(&str, &str, &str)]) -> Vec<Finding> {
    let answer = match ask(link, disco_info(of)).await {
        Ok(answer) => answer,
        Err(failure) => return vec![bad(format!("{of} does not say what it can: {failure}"))],
    };
    let found = wanted.iter().map(|(feature, name, lack)| {
        if has_feature(&answer, feature) { good(name) } else { bad(format!("no {name}: {lack}")) }
    });
    found.collect()
}

fn good(text: &str) -> Finding {
    Finding { is_good: true, text: text.to_owned() }
}

pub(super) fn bad(text: String) -> Finding {
    Finding { is_good: false, text }
}
