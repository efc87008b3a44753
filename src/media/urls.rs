//! Signed URLs, which open a stored file without a token:
//! `PUBLIC/media/{kind}/{id}/{hash}?expires=SECONDS&signature=MAC`.
//!
//! The signature (HMAC-SHA256, base64url) binds the row, the file and the time. Before a file is served, its row must
//! still refer to it.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::clock;
use crate::domain::{AccountId, BlobHash, ChatId, Reference};
use crate::secrets::MasterKey;

const PURPOSE: &str = "media url";

/// URLs expire at whole multiples of so many seconds, so that those of one hour are the same and browsers keep the files.
const STEP: u64 = 3_600;

/// Signs and verifies URLs.
#[derive(Debug)]
pub struct Urls {
    keys: MasterKey,
    public_url: Arc<str>,
    lifetime: Duration,
}

/// The content of a URL whose signature is right and that has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedUrl {
    /// The row that gives access.
    pub reference: Reference,
    pub hash: BlobHash,
    /// The time until the URL expires.
    pub remaining: Duration,
}

/// The parts of a URL as they came in, decoded.
#[derive(Clone, Copy, Debug)]
pub struct UrlParts<'a> {
    /// The kind of the reference.
    pub kind: &'a str,
    /// The id of its row.
    pub id: &'a str,
    /// The file's hash in hex.
    pub name: &'a str,
    /// Unix seconds.
    pub expires: &'a str,
    pub signature: &'a str,
}

impl Urls {
    /// URLs that begin with `public_url` (no slash at its end) and open for `lifetime`.
    #[must_use]
    pub fn new(keys: MasterKey, public_url: Arc<str>, lifetime: Duration) -> Self {
        Self { keys, public_url, lifetime }
    }

    /// A URL that expires after the lifetime or up to an hour later (up to the lifetime, if that is shorter): the same one
    /// for all of that time.
    #[must_use]
    pub fn sign(&self, reference: Reference, hash: &BlobHash) -> String {
        self.sign_until(reference, hash, self.expiry(now()))
    }

    /// `None` when the URL was not signed here for this row and file, or has expired.
    #[must_use]
    pub fn verify(&self, parts: UrlParts<'_>) -> Option<VerifiedUrl> {
        let signature = BASE64URL_NOPAD.decode(parts.signature.as_bytes()).ok()?;
        let signed = [parts.kind, parts.id, parts.name, parts.expires].map(str::as_bytes);
        if !self.keys.mac_matches(PURPOSE, &signed, &signature) {
            return None;
        }
        let remaining =
            parts.expires.parse::<u64>().ok()?.checked_sub(now()).filter(|seconds| *seconds > 0)?;
        let reference = reference(parts.kind, parts.id.parse().ok()?)?;
        let hash = parts.name.parse().ok()?;
        Some(VerifiedUrl { reference, hash, remaining: Duration::from_secs(remaining) })
    }

    /// The expiry of a URL that is made at this time, in unix seconds.
    fn expiry(&self, now: u64) -> u64 {
        let lifetime = self.lifetime.as_secs();
        let step = lifetime.clamp(1, STEP);
        now.saturating_add(lifetime).div_ceil(step).saturating_mul(step)
    }

    fn sign_until(&self, reference: Reference, hash: &BlobHash, expires: u64) -> String {
        let (kind, id) = words(reference);
        let (id, name, expires) = (id.to_string(), hash.hex(), expires.to_string());
        let parts = [kind, &id, &name, &expires].map(str::as_bytes);
        let signature = BASE64URL_NOPAD.encode(&self.keys.mac(PURPOSE, &parts));
        format!("{}/media/{kind}/{id}/{name}?expires={expires}&signature={signature}", self.public_url)
    }
}

fn words(reference: Reference) -> (&'static str, i64) {
    match reference {
        Reference::Message(AccountId(id)) => ("message", id),
        Reference::OwnPhoto(AccountId(id)) => ("own-photo", id),
        Reference::PeerPhoto(id) => ("peer-photo", id),
        Reference::GroupPhoto(ChatId(id)) => ("group-photo", id),
    }
}

fn reference(kind: &str, id: i64) -> Option<Reference> {
    match kind {
        "message" => Some(Reference::Message(AccountId(id))),
        "own-photo" => Some(Reference::OwnPhoto(AccountId(id))),
        "peer-photo" => Some(Reference::PeerPhoto(id)),
        "group-photo" => Some(Reference::GroupPhoto(ChatId(id))),
        _ => None,
    }
}

/// Unix seconds.
fn now() -> u64 {
    u64::try_from(clock::now().timestamp()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCES: [Reference; 4] = [
        Reference::Message(AccountId(7)),
        Reference::OwnPhoto(AccountId(7)),
        Reference::PeerPhoto(7),
        Reference::GroupPhoto(ChatId(7)),
    ];
    const HASH: BlobHash = BlobHash([0xab; 32]);

    fn urls(key: &str) -> Urls {
        let keys = MasterKey::from_base64(key, None).expect("a key");
        Urls::new(keys, "https://windu.example".into(), Duration::from_hours(24))
    }

    fn open(urls: &Urls, url: &str) -> Option<VerifiedUrl> {
        let rest = url.strip_prefix("https://windu.example/media/")?;
        let (path, query) = rest.split_once('?')?;
        let mut words = path.split('/');
        let (expires, signature) = query.strip_prefix("expires=")?.split_once("&signature=")?;
        let (kind, id, name) = (words.next()?, words.next()?, words.next()?);
        urls.verify(UrlParts { kind, id, name, expires, signature })
    }

    #[test]
    fn a_fresh_url_opens_its_file_by_its_row_for_its_time() {
        let urls = urls(&MasterKey::generate_base64());
        for reference in REFERENCES {
            let opened = open(&urls, &urls.sign(reference, &HASH)).expect("opens");
            assert_eq!((opened.reference, opened.hash), (reference, HASH));
            // A second may pass between signing and opening.
            assert!((86_399..=90_000).contains(&opened.remaining.as_secs()));
        }
    }

    #[test]
    fn the_urls_of_an_hour_are_the_same() {
        let urls = urls(&MasterKey::generate_base64());
        let hour = 3_600 * 400_000;
        let day = 24 * 3_600;
        for (now, expiry) in [
            (hour, hour + day),
            (hour + 1, hour + day + 3_600),
            (hour + 1_800, hour + day + 3_600),
            (hour + 3_600, hour + day + 3_600),
            (hour + 3_601, hour + day + 7_200),
        ] {
            assert_eq!(urls.expiry(now), expiry, "{now}");
        }
        let short = Urls { lifetime: Duration::from_secs(10), ..urls };
        for (now, expiry) in [(hour, hour + 10), (hour + 1, hour + 20), (hour + 9, hour + 20)] {
            assert_eq!(short.expiry(now), expiry, "{now}");
        }
    }

    #[test]
    fn an_expired_url_does_not_open() {
        let urls = urls(&MasterKey::generate_base64());
        for (expires, opens) in [(now() + 60, true), (now(), false), (now() - 1, false), (0, false)] {
            let url = urls.sign_until(REFERENCES[0], &HASH, expires);
            assert_eq!(open(&urls, &url).is_some(), opens, "{expires}");
        }
    }

    #[test]
    fn no_part_can_be_changed() {
        let urls = urls(&MasterKey::generate_base64());
        let url = urls.sign(REFERENCES[0], &HASH);
        let (start, signature) = url.split_once("&signature=").expect("a signature");
        let later = (now() + 1_000_000_000).to_string();
        let expires = start.split_once("expires=").expect("a time").1;
        for changed in [
            url.replace("message/7", "message/8"),
            url.replace("message/7", "own-photo/7"),
            url.replace("message/7", "message/07"),
            url.replace("/abab", "/abac"),
            url.replace(expires, &later),
            format!("{start}&signature={}", signature.to_lowercase()),
            format!("{start}&signature={}", &signature[..42]),
            format!("{start}&signature={signature}A"),
            format!("{start}&signature="),
        ] {
            assert_ne!(changed, url);
            assert_eq!(open(&urls, &changed), None, "{changed}");
        }
        assert_eq!(open(&self::urls(&MasterKey::generate_base64()), &url), None);
    }

    #[test]
    fn an_old_key_still_opens() {
        let (old, new) = (MasterKey::generate_base64(), MasterKey::generate_base64());
        let url = urls(&old).sign(REFERENCES[0], &HASH);
        let keys = MasterKey::from_base64(&new, Some(&old)).expect("keys");
        let rotating = Urls::new(keys, "https://windu.example".into(), Duration::from_hours(24));
        assert!(open(&rotating, &url).is_some());
    }
}
