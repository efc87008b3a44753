//! Files, cards and places in messages, in the forms that apps know.
//!
//! The body of a file's message is its URL alone, and the same URL is out of band (XEP-0066): so all apps show a file. All that
//! is known of it is in XEP-0447 with the metadata of XEP-0446; the caption is its description, because apps that see a
//! longer body show a link instead of a file. What no specification has, how a sound was made and the text of a card, is in an
//! element of our own.

use data_encoding::BASE64;
use url::Url;

use super::file_types;
use super::xml::{Build as _, Element, child_text, element, ns};
use crate::domain::{
    BlobHash, Card, Content, Location, MediaContent, MediaFile, MediaKind, RemoteMedia, StoredMedia,
};
use crate::secrets;

/// The longest card that is in the message itself, in bytes; a longer one is only a file.
const LONGEST_CARD: usize = 64 << 10;
/// Files of one message at the most.
const MOST_FILES: usize = 50;
/// The type of contact cards (RFC 6350).
const CARD: &str = "text/vcard";

/// A file to upload and share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SharedFile {
    pub name: String,
    pub mimetype: String,
    /// In bytes.
    pub size: u64,
    pub source: FileSource,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileSource {
    Blob(BlobHash),
    Bytes(Vec<u8>),
}

/// The file that a message needs on the network; `None` for a message without one. A file that is not in our storage cannot
/// be sent.
pub(super) fn file_of(content: &Content) -> Option<SharedFile> {
    match content {
        Content::Text(_) | Content::Location(_) | Content::Other(_) => None,
        Content::VCard(card) => Some(SharedFile {
            name: "contact.vcf".to_owned(),
            mimetype: CARD.to_owned(),
            size: card.vcard.len() as u64,
            source: FileSource::Bytes(card.vcard.clone().into_bytes()),
        }),
        Content::Media(media) => {
            let MediaFile::Stored(StoredMedia { hash, mimetype, size, .. }) = &media.file else {
                return None;
            };
            Some(SharedFile {
                name: name(media.kind, mimetype),
                mimetype: mimetype.clone(),
                size: *size,
                source: FileSource::Blob(*hash),
            })
        }
    }
}

/// A name for people: the sender's own name of the file is not known.
fn name(kind: Option<MediaKind>, mimetype: &str) -> String {
    let stem = match kind {
        Some(MediaKind::Image) => "image",
        Some(MediaKind::Video) => "video",
        Some(MediaKind::Audio) => "audio",
        Some(MediaKind::Voice) => "voice",
        None => "file",
    };
    format!("{stem}.{}", file_types::ending(mimetype))
}

/// The elements of a message beside its body, which share the file of its content that is at `url`.
pub(super) fn share(content: &Content, file: &SharedFile, url: &str) -> Vec<Element> {
    let mut metadata = element("file", ns::FILE_METADATA);
    let mut add = |name: &str, text: &str| {
        metadata.append_child(element(name, ns::FILE_METADATA).content(text));
    };
    add("media-type", &file.mimetype);
    add("name", &file.name);
    add("size", &file.size.to_string());
    let (mut hash, mut own) = (None, None);
    match content {
        Content::Media(media) => {
            if let MediaFile::Stored(stored) = &media.file {
                for (name, pixels) in [("width", stored.width), ("height", stored.height)] {
                    if let Some(pixels) = pixels {
                        add(name, &pixels.to_string());
                    }
                }
                if let Some(duration) = stored.duration {
                    add("length", &format!("{:.0}", duration * 1_000.0));
                }
                hash = Some(stored.hash.base64());
            }
            if let Some(caption) = &media.caption {
                add("desc", &super::outbound::lines(caption));
            }
            own = media.kind.map(|kind| element("file", ns::WINDU_CONTENT).attribute("kind", kind.letter()));
        }
        Content::VCard(card) => {
            hash = Some(BASE64.encode(&secrets::sha256(card.vcard.as_bytes())));
            if card.vcard.len() <= LONGEST_CARD {
                own = Some(own_card(card));
            }
        }
        Content::Text(_) | Content::Location(_) | Content::Other(_) => {}
    }
    if let Some(hash) = hash {
        let hash = element("hash", ns::HASHES).attribute("algo", "sha-256").content(&hash);
        metadata.append_child(hash);
    }
    let source = element("url-data", ns::URL_DATA).attribute("target", url);
    let sharing = element("file-sharing", ns::FILE_SHARING)
        .attribute("disposition", "inline")
        .child(metadata)
        .child(element("sources", ns::FILE_SHARING).child(source));
    let fallback = |of: &str| {
        element("fallback", ns::FALLBACK).attribute("for", of).child(element("body", ns::FALLBACK))
    };
    let mut elements = vec![
        element("x", ns::OUT_OF_BAND).child(element("url", ns::OUT_OF_BAND).content(url)),
        sharing,
        fallback(ns::FILE_SHARING),
    ];
    elements.extend(own);
    elements
}

/// The card as it is: XML would change the ends of its lines, so its bytes are in base64.
fn own_card(card: &Card) -> Element {
    let own = element("card", ns::WINDU_CONTENT).content(&BASE64.encode(card.vcard.as_bytes()));
    match &card.name {
        Some(name) => own.attribute("name", name),
        None => own,
    }
}

/// A place (XEP-0080) with its caption.
pub(super) fn place(location: &Location) -> Element {
    let add = |place: Element, name: &str, text: &str| place.child(element(name, ns::GEOLOC).content(text));
    let place = add(element("geoloc", ns::GEOLOC), "lat", &location.latitude.to_string());
    let place = add(place, "lon", &location.longitude.to_string());
    match &location.caption {
        Some(caption) => add(place, "description", &super::outbound::lines(caption)),
        None => place,
    }
}

/// Whether the message shares a file that is encrypted: by a link that holds the key (XEP-0454), or by XEP-0448.
pub(super) fn is_encrypted_file(message: &Element) -> bool {
    let is_link =
        |text: &str| text.trim().starts_with("aesgcm://") && !text.trim().contains(char::is_whitespace);
    let body = child_text(message, "body", ns::CLIENT);
    let out_of_band = out_of_band(message);
    if body.is_some_and(|body| is_link(&body)) || out_of_band.is_some_and(|url| is_link(&url)) {
        return true;
    }
    let Some(sources) = sources(message) else { return false };
    source_url(sources).is_none() && sources.has_child("encrypted", ns::ENCRYPTED_SHARING)
}

/// The file, card or place of a message; `None` when it has none.
pub(super) fn content(message: &Element) -> Option<Content> {
    if let Some(card) = read_card(message) {
        return Some(Content::VCard(card));
    }
    read_file(message).or_else(|| read_place(message).map(Content::Location))
}

fn read_card(message: &Element) -> Option<Card> {
    let card = message.get_child("card", ns::WINDU_CONTENT)?;
    let bytes = BASE64.decode(card.text().trim().as_bytes()).ok()?;
    let vcard = String::from_utf8(bytes).ok()?;
    // Anybody can send this element.
    let is_card = vcard.get(..11).is_some_and(|begin| begin.eq_ignore_ascii_case("BEGIN:VCARD"));
    is_card.then(|| Card { vcard, name: card.attr("name").map(str::to_owned) })
}

/// The files of a message that shares several, in order; empty for any other.
pub(super) fn files(message: &Element) -> Vec<Content> {
    let several = |name: &str, namespace: &'static str| {
        let name = name.to_owned();
        let found: Vec<&Element> = message.children().filter(|child| child.is(&*name, namespace)).collect();
        if found.len() > MOST_FILES {
            tracing::warn!(files = found.len(), "a message shares more files than are taken");
        }
        if found.len() > 1 { found } else { Vec::new() }
    };
    let shared = several("file-sharing", ns::FILE_SHARING).into_iter().filter_map(|sharing| {
        let url = source_url(sharing.get_child("sources", ns::FILE_SHARING)?)?;
        Some(file_at(message, Some(sharing), url, false))
    });
    let shared: Vec<Content> = shared.take(MOST_FILES).collect();
    if !shared.is_empty() {
        return shared;
    }
    let urls =
        several("x", ns::OUT_OF_BAND).into_iter().filter_map(|x| child_text(x, "url", ns::OUT_OF_BAND));
    let urls = urls.map(|url| url.trim().to_owned()).filter(|url| is_web(url));
    urls.take(MOST_FILES).map(|url| file_at(message, None, url, false)).collect()
}

fn read_file(message: &Element) -> Option<Content> {
    let sharing = message.get_child("file-sharing", ns::FILE_SHARING);
    let shared = sources(message).and_then(source_url);
    let reference = shared.or_else(|| out_of_band(message).filter(|url| is_web(url)))?;
    Some(file_at(message, sharing, reference, true))
}

/// The file at a URL. `alone`: the body and the elements of our own are about it.
fn file_at(message: &Element, sharing: Option<&Element>, reference: String, alone: bool) -> Content {
    let metadata = sharing.and_then(|sharing| sharing.get_child("file", ns::FILE_METADATA));
    let text = |name: &str| {
        let text = child_text(metadata?, name, ns::FILE_METADATA)?;
        Some(text).filter(|text| !text.trim().is_empty())
    };
    let name = text("name").or_else(|| last_segment(&reference));
    let mimetype =
        text("media-type").or_else(|| name.as_deref().and_then(file_types::of_name).map(str::to_owned));
    let own = message.get_child("file", ns::WINDU_CONTENT).filter(|_| alone).and_then(|own| own.attr("kind"));
    let kind = own.and_then(MediaKind::from_letter).or_else(|| {
        let by_name = || MediaKind::of_mimetype(file_types::of_name(name.as_deref()?)?);
        mimetype.as_deref().and_then(MediaKind::of_mimetype).or_else(by_name)
    });
    let caption = text("desc").or_else(|| if alone { beside(message, &reference) } else { None });
    let caption = if kind.is_none() { caption.or(name) } else { caption };
    let file = RemoteMedia {
        mimetype,
        size: text("size").and_then(|size| size.trim().parse().ok()),
        hash: metadata.and_then(sha256),
        reference,
    };
    Content::Media(Box::new(MediaContent { kind, caption, file: MediaFile::Remote(file) }))
}

/// What the body says beside the URL. Some apps write a caption there.
fn beside(message: &Element, url: &str) -> Option<String> {
    let body = child_text(message, "body", ns::CLIENT)?;
    let rest = body.replacen(url, "", 1).trim().to_owned();
    (!rest.is_empty()).then_some(rest)
}

fn sources(message: &Element) -> Option<&Element> {
    message.get_child("file-sharing", ns::FILE_SHARING)?.get_child("sources", ns::FILE_SHARING)
}

/// The first source on the web (XEP-0103).
fn source_url(sources: &Element) -> Option<String> {
    let targets = sources.children().filter(|source| source.is("url-data", ns::URL_DATA));
    targets.filter_map(|source| source.attr("target")).find(|url| is_web(url)).map(str::to_owned)
}

fn out_of_band(message: &Element) -> Option<String> {
    child_text(message.get_child("x", ns::OUT_OF_BAND)?, "url", ns::OUT_OF_BAND)
        .map(|url| url.trim().to_owned())
}

fn is_web(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn last_segment(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let name = percent_encoding::percent_decode_str(url.path_segments()?.next_back()?);
    Some(name.decode_utf8().ok()?.into_owned()).filter(|name| !name.is_empty())
}

fn sha256(metadata: &Element) -> Option<BlobHash> {
    let hashes = metadata.children().filter(|child| child.is("hash", ns::HASHES));
    let hash = hashes.into_iter().find(|hash| hash.attr("algo") == Some("sha-256"))?;
    BlobHash::try_from(BASE64.decode(hash.text().trim().as_bytes()).ok()?.as_slice()).ok()
}

/// A place of XEP-0080. Its text is the description, or else what the message says.
fn read_place(message: &Element) -> Option<Location> {
    let place = message.get_child("geoloc", ns::GEOLOC)?;
    let text = |name| child_text(place, name, ns::GEOLOC).filter(|text| !text.trim().is_empty());
    let degrees = |name| text(name)?.trim().parse::<f64>().ok();
    let (latitude, longitude) = (degrees("lat")?, degrees("lon")?);
    if !(latitude.abs() <= 90.0 && longitude.abs() <= 180.0) {
        return None;
    }
    let body = || child_text(message, "body", ns::CLIENT).filter(|body| !body.starts_with("geo:"));
    let caption = text("description").or_else(|| text("text")).or_else(body);
    Some(Location { latitude, longitude, caption })
}

#[cfg(test)]
mod tests;
