//! What an account publishes (XEP-0163): its picture (XEP-0084) and its nickname (XEP-0172).
//!
//! The server shows a node to those whom its access model and its affiliations allow (XEP-0060, section 4.5): `open` to
//! all, `whitelist` to its members; an `outcast` sees nothing in either case.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE, HEXLOWER};
use futures_util::TryStreamExt as _;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::failure::IqFailure;
use super::iq::{ask, iq};
use super::link::Link;
use super::xml::{Build as _, Element, child_text, element, submitted};
use crate::domain::Photo;
use crate::upstream::{BlobStorage, Failure};

/// The bytes of a picture.
pub(super) const PICTURE: &str = "urn:xmpp:avatar:data";
/// Which picture is the current one.
pub(super) const PICTURE_METADATA: &str = "urn:xmpp:avatar:metadata";
/// The nodes about the picture, in the order in which they are published.
const PICTURE_NODES: [&str; 2] = [PICTURE, PICTURE_METADATA];
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
const NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";
const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";

/// Affiliations in one request.
const AFFILIATIONS: usize = 200;
/// A picture of more bytes fits no stanza in base64.
const LARGEST_PICTURE: usize = 180_000;

/// Who may see a node, besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Access {
    Open,
    /// Its members only.
    Whitelist,
}

/// What a person is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Affiliation {
    Member,
    Outcast,
}

/// People who are not in it have no affiliation.
pub(super) type Affiliations = BTreeMap<String, Affiliation>;

impl Access {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Whitelist => "whitelist",
        }
    }
}

/// The bytes of a photo as a picture: its preview, where it was stored before photos had to fit a stanza. `None` when neither
/// fits.
pub(super) async fn picture_bytes(
    blobs: &dyn BlobStorage,
    photo: &Photo,
) -> Result<Option<Vec<u8>>, Failure> {
    for hash in [&photo.photo, &photo.preview] {
        let mut stream = blobs.read(hash).await?;
        let mut bytes = Vec::new();
        while let Some(part) = stream.try_next().await? {
            bytes.extend_from_slice(&part);
            if bytes.len() > LARGEST_PICTURE {
                break;
            }
        }
        if bytes.len() <= LARGEST_PICTURE {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The id of a picture: the SHA-1 of its bytes in hexadecimal digits (XEP-0084, section 4.2).
pub(super) fn picture_id(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

/// Publishes a picture. Its nodes exist afterwards, with this access.
pub(super) async fn publish_picture(
    link: &Link,
    id: &str,
    bytes: &[u8],
    access: Access,
) -> Result<(), Failure> {
    let data = element("data", PICTURE).content(&BASE64.encode(bytes));
    publish(link, PICTURE, id, data, access).await?;
    let info = element("info", PICTURE_METADATA)
        .attribute("id", id)
        .attribute("type", "image/jpeg")
        .attribute("bytes", &bytes.len().to_string());
    publish(link, PICTURE_METADATA, id, element("metadata", PICTURE_METADATA).child(info), access).await
}

/// Deletes the picture with its nodes. Succeeds when there is none.
pub(super) async fn delete_picture(link: &Link) -> Result<(), Failure> {
    // First what is pushed to people who watch it with other apps.
    let none = element("metadata", PICTURE_METADATA);
    match publish_once(link, PICTURE_METADATA, "none", none, None).await {
        Ok(()) | Err(IqFailure::Error { .. }) => {}
        Err(failure @ IqFailure::NoAnswer) => return Err(failure.failure()),
    }
    for node in PICTURE_NODES {
        let delete = element("delete", PUBSUB_OWNER).attribute("node", node);
        match ask(link, iq("set").child(element("pubsub", PUBSUB_OWNER).child(delete))).await {
            Ok(_) => {}
            Err(failure) if failure.condition() == Some("item-not-found") => {}
            Err(failure) => return Err(failure.failure()),
        }
    }
    Ok(())
}

/// Changes who may see the picture.
pub(super) async fn set_picture_access(link: &Link, access: Access) -> Result<(), Failure> {
    for node in PICTURE_NODES {
        set_access(link, node, access).await.map_err(IqFailure::failure)?;
    }
    Ok(())
}

/// Changes affiliations to the picture; `None` takes one away.
pub(super) async fn set_picture_affiliations(
    link: &Link,
    changes: &[(String, Option<Affiliation>)],
) -> Result<(), Failure> {
    for part in changes.chunks(AFFILIATIONS) {
        for node in PICTURE_NODES {
            let mut affiliations = element("affiliations", PUBSUB_OWNER).attribute("node", node);
            for (who, affiliation) in part {
                let name = match affiliation {
                    Some(Affiliation::Member) => "member",
                    Some(Affiliation::Outcast) => "outcast",
                    None => "none",
                };
                let entry = element("affiliation", PUBSUB_OWNER);
                affiliations = affiliations.child(entry.attribute("jid", who).attribute("affiliation", name));
            }
            let request = iq("set").child(element("pubsub", PUBSUB_OWNER).child(affiliations));
            ask(link, request).await.map_err(IqFailure::failure)?;
        }
    }
    Ok(())
}

/// The bytes of somebody's picture. [`Failure::Refused`] when it is not there, or not for this account.
pub(super) async fn picture(link: &Link, of: &str, id: &str) -> Result<Bytes, Failure> {
    let item = match item(link, of, PICTURE, Some(id)).await {
        Ok(item) => item,
        Err(IqFailure::Error { temporary: false, .. }) => return Err(not_shown()),
        Err(failure) => return Err(failure.failure()),
    };
    let data = item.and_then(|item| child_text(&item, "data", PICTURE)).ok_or_else(not_shown)?;
    let bytes = BASE64_MIME_PERMISSIVE
        .decode(data.trim().as_bytes())
        .map_err(|_| Failure::Refused("the picture cannot be read".to_owned()))?;
    if picture_id(&bytes) == id {
        Ok(bytes.into())
    } else {
        Err(Failure::Refused("the picture is not the one that was announced".to_owned()))
    }
}

/// The item of somebody's node with this id, or the last one; `None`: there is none (XEP-0060, section 6.5).
pub(super) async fn item(
    link: &Link,
    of: &str,
    node: &str,
    id: Option<&str>,
) -> Result<Option<Element>, IqFailure> {
    let items = element("items", PUBSUB).attribute("node", node);
    let items = match id {
        Some(id) => items.child(element("item", PUBSUB).attribute("id", id)),
        None => items.attribute("max_items", "1"),
    };
    let request = iq("get").attribute("to", of).child(element("pubsub", PUBSUB).child(items));
    let answer = ask(link, request).await?;
    let items = answer.get_child("pubsub", PUBSUB).and_then(|pubsub| pubsub.get_child("items", PUBSUB));
    let wanted = |item: &&Element| id.is_none_or(|id| item.attr("id") == Some(id));
    Ok(items.and_then(|items| items.children().find(wanted)).cloned())
}

fn not_shown() -> Failure {
    Failure::Refused("this picture is not shown any more".to_owned())
}

/// Publishes the only item of a node with this access.
async fn publish(link: &Link, node: &str, id: &str, payload: Element, access: Access) -> Result<(), Failure> {
    match publish_once(link, node, id, payload.clone(), Some(access)).await {
        Ok(()) => Ok(()),
        // The node exists with another access.
        Err(failure) if failure.condition() == Some("conflict") => {
            set_access(link, node, access).await.map_err(IqFailure::failure)?;
            publish_once(link, node, id, payload, Some(access)).await.map_err(IqFailure::failure)
        }
        Err(failure) => Err(failure.failure()),
    }
}

async fn publish_once(
    link: &Link,
    node: &str,
    id: &str,
    payload: Element,
    access: Option<Access>,
) -> Result<(), IqFailure> {
    let item = element("item", PUBSUB).attribute("id", id).child(payload);
    let mut pubsub =
        element("pubsub", PUBSUB).child(element("publish", PUBSUB).attribute("node", node).child(item));
    if let Some(access) = access {
        let options = element("publish-options", PUBSUB).child(form(PUBLISH_OPTIONS, access));
        pubsub = pubsub.child(options);
    }
    ask(link, iq("set").child(pubsub)).await.map(drop)
}

async fn set_access(link: &Link, node: &str, access: Access) -> Result<(), IqFailure> {
    let configure =
        element("configure", PUBSUB_OWNER).attribute("node", node).child(form(NODE_CONFIG, access));
    ask(link, iq("set").child(element("pubsub", PUBSUB_OWNER).child(configure))).await.map(drop)
}

fn form(kind: &str, access: Access) -> Element {
    submitted(kind, &[("pubsub#access_model", access.name())])
}
