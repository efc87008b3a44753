//! The server's place for files (XEP-0363), and the files that others have shared.
//!
//! A URL of a file opens it for anybody who knows it: none is ever logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use url::{Origin, Url};

use super::failure::IqFailure;
use super::iq::{ask, iq};
use super::link::Link;
use super::services::described_service;
use super::sharing::{FileSource, SharedFile};
use super::xml::{Build as _, Element, child_text, element, ns};
use crate::domain::FailureReason;
use crate::fetch::{BodyStream, Fetch, FetchError, Policy, Put, UntrustedError};
use crate::upstream::{BlobStorage, Failure, FileStream, SendFailure};

/// For a file that is fetched, from the request to its last byte.
const FETCH_TIMEOUT: Duration = Duration::from_mins(10);
/// For an upload, and besides for each [`SLOWEST`] bytes a second more.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes a second.
const SLOWEST: u64 = 32 << 10;
/// The server is asked for its limit again at a login after so long.
const LIMIT_AGE: Duration = Duration::from_mins(10);
/// The headers that a slot may ask for (XEP-0363, section 5).
const HEADERS: [(&str, &str); 3] =
    [("authorization", "Authorization"), ("cookie", "Cookie"), ("expires", "Expires")];

/// The place for files of one server, for all connections of this process.
pub(super) struct FileService {
    fetch: Fetch,
    domain: String,
    /// Whether URLs without encryption are accepted from the server, as the connection to it has none either.
    is_plain_allowed: bool,
    known: Mutex<Known>,
}

/// What was learned about the server.
#[derive(Clone, Default)]
struct Known {
    /// The address of the service.
    service: Option<String>,
    /// Where its files are.
    origin: Option<Origin>,
    /// Bytes of a file at the most, if it says so.
    largest: Option<u64>,
    /// When it was last asked.
    asked: Option<Instant>,
}

/// Where a file is to be put, and where it will be.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    put: Url,
    headers: Vec<(&'static str, String)>,
    get: Url,
}

impl FileService {
    /// Requests go through `fetch`, which trusts the server's certificates.
    pub fn new(fetch: Fetch, domain: String, is_plain_allowed: bool) -> Self {
        Self { fetch, domain, is_plain_allowed, known: Mutex::default() }
    }

    /// Bytes of a file at the most, as far as is known (XEP-0363, section 4).
    pub fn largest(&self) -> Option<u64> {
        self.known().largest
    }

    /// Asks the server what it takes, unless somebody has lately.
    pub async fn learn_limit(&self, link: &Link) {
        if self.known().asked.is_some_and(|asked| asked.elapsed() < LIMIT_AGE) {
            return;
        }
        self.learn(|known| known.asked = Some(Instant::now()));
        if let Err(failure) = self.find_service(link).await {
            tracing::debug!(%failure, "the server does not say which files it takes");
            self.learn(|known| known.asked = None);
        }
    }

    /// Uploads a file, and returns its URL.
    pub async fn upload(
        &self,
        link: &Link,
        blobs: &dyn BlobStorage,
        file: &SharedFile,
    ) -> Result<String, SendFailure> {
        let body = body(blobs, &file.source).await.map_err(|failure| of_storage(&failure))?;
        let slot = self.slot(link, &file.name, &file.mimetype, file.size).await?;
        let total = UPLOAD_TIMEOUT + Duration::from_secs(file.size / SLOWEST);
        let put = Put::new(slot.put, file.size, body, total).header("content-type", file.mimetype.clone());
        let put = slot.headers.into_iter().fold(put, |put, (name, value)| put.header(name, value));
        match self.fetch.put(Policy::Operator, put).await {
            Ok(response) if response.is_success() => Ok(slot.get.into()),
            Ok(response) => {
                tracing::warn!(status = response.status(), "the server refused an upload");
                Err(refused_upload(response.status()))
            }
            Err(error) => {
                tracing::warn!(error = crate::telemetry::chain(&error), "an upload failed");
                Err(SendFailure::Retry)
            }
        }
    }

    /// The file at a URL that somebody has sent.
    pub async fn fetch(&self, link: &Link, url: &str) -> Result<FileStream, Failure> {
        if !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(Failure::Refused("it is not on the web".to_owned()));
        }
        let own = self.origin(link).await?;
        // Our own server's files may be in a private network; all else is somebody else's claim.
        let policy = move |url: &Url| {
            if own.as_ref() == Some(&url.origin()) { Policy::Operator } else { Policy::Untrusted }
        };
        let response = self.fetch.get(url, policy, FETCH_TIMEOUT).await.map_err(|error| unfetched(&error))?;
        Ok(response.map_err(|_| Failure::Retry("network_broken")).boxed())
    }

    /// Where the own server's files are; `None` when it takes none. The URL of a slot says it, and nothing else does.
    async fn origin(&self, link: &Link) -> Result<Option<Origin>, Failure> {
        if let Some(origin) = self.known().origin {
            return Ok(Some(origin));
        }
        match self.slot(link, "probe.txt", "text/plain", 1).await {
            Ok(_) => Ok(self.known().origin),
            Err(SendFailure::Refused(_)) => Ok(None),
            Err(SendFailure::Retry | SendFailure::RateLimited(_) | SendFailure::NotTried) => {
                Err(Failure::Retry("network_busy"))
            }
        }
    }

    async fn slot(&self, link: &Link, name: &str, mimetype: &str, size: u64) -> Result<Slot, SendFailure> {
        let service = self.service(link).await?;
        let request = element("request", ns::HTTP_UPLOAD)
            .attribute("filename", name)
            .attribute("size", &size.to_string())
            .attribute("content-type", mimetype);
        let answer = match ask(link, iq("get").attribute("to", &service).child(request)).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::warn!(%failure, "the server gives no place for a file");
                self.forget_service(&failure);
                if refused_slot(&failure) == SendFailure::Refused(FailureReason::TooLarge) {
                    // Its limit is another one by now.
                    let _ = self.find_service(link).await;
                }
                return Err(refused_slot(&failure));
            }
        };
        let slot = read_slot(&answer, self.is_plain_allowed).ok_or_else(|| {
            tracing::warn!("the server's place for a file cannot be used");
            SendFailure::Refused(FailureReason::Refused)
        })?;
        self.learn(|known| known.origin = Some(slot.get.origin()));
        Ok(slot)
    }

    /// The address of the service, which the server lists (XEP-0363, section 4).
    async fn service(&self, link: &Link) -> Result<String, SendFailure> {
        if let Some(service) = self.known().service {
            return Ok(service);
        }
        match self.find_service(link).await {
            Ok(Some(service)) => Ok(service),
            Ok(None) => {
                tracing::warn!("the server has no place for files (XEP-0363)");
                Err(SendFailure::Refused(FailureReason::Refused))
            }
            Err(failure) => Err(unknown_service(&failure)),
        }
    }

    async fn find_service(&self, link: &Link) -> Result<Option<String>, IqFailure> {
        let found = described_service(link, &self.domain, ns::HTTP_UPLOAD).await?;
        let (service, info) = found.unzip();
        let largest = info.as_ref().and_then(largest_file);
        self.learn(|known| {
            known.service.clone_from(&service);
            known.largest = largest;
        });
        Ok(service)
    }

    /// The service may have moved, when nothing answers at its address.
    fn forget_service(&self, failure: &IqFailure) {
        let is_gone = matches!(
            failure.condition(),
            Some(
                "service-unavailable"
                    | "item-not-found"
                    | "remote-server-not-found"
                    | "remote-server-timeout"
            )
        );
        if is_gone {
            self.learn(|known| known.service = None);
        }
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn body(blobs: &dyn BlobStorage, source: &FileSource) -> Result<BodyStream, Failure> {
    Ok(match source {
        FileSource::Blob(hash) => blobs.read(hash).await?.map_err(Into::into).boxed(),
        FileSource::Bytes(bytes) => stream::iter([Ok(bytes.clone().into())]).boxed(),
    })
}

fn of_storage(failure: &Failure) -> SendFailure {
    match failure {
        Failure::Refused(_) | Failure::Unsupported(_) => SendFailure::Refused(FailureReason::Refused),
        Failure::Retry(_) | Failure::RateLimited(_) | Failure::OutcomeUnknown => SendFailure::Retry,
    }
}

/// A service that does not answer may do so later.
fn unknown_service(failure: &IqFailure) -> SendFailure {
    match failure {
        IqFailure::NoAnswer | IqFailure::Error { temporary: true, .. } => SendFailure::Retry,
        IqFailure::Error { .. } => SendFailure::Refused(FailureReason::Refused),
    }
}

/// What a refused slot means for the message (XEP-0363, section 6). A reached quota is final although it is of type `wait`:
/// all later messages of the chat would wait for days behind this one.
fn refused_slot(failure: &IqFailure) -> SendFailure {
    match failure {
        IqFailure::NoAnswer => SendFailure::Retry,
        IqFailure::Error { detail, .. } if detail.as_deref() == Some("file-too-large") => {
            SendFailure::Refused(FailureReason::TooLarge)
        }
        IqFailure::Error { condition, temporary, .. } => match condition.as_str() {
            "resource-constraint" => SendFailure::Refused(FailureReason::Refused),
            "remote-server-timeout" | "internal-server-error" => SendFailure::Retry,
            _ if *temporary => SendFailure::Retry,
            _ => SendFailure::Refused(FailureReason::Refused),
        },
    }
}

/// What the status of a refused upload means for the message.
fn refused_upload(status: u16) -> SendFailure {
    match status {
        413 => SendFailure::Refused(FailureReason::TooLarge),
        408 | 425 | 429 => SendFailure::Retry,
        400..=499 | 507 => SendFailure::Refused(FailureReason::Refused),
        _ => SendFailure::Retry,
    }
}

fn unfetched<E>(error: &UntrustedError<E>) -> Failure {
    match error {
        UntrustedError::NotHttp => Failure::Refused("it is not on the web".to_owned()),
        UntrustedError::Status(status @ (404 | 410)) => Failure::Refused(format!("status {status}")),
        UntrustedError::Fetch(FetchError::NotAllowed) => {
            Failure::Refused("its URL leads where no file of others is fetched from".to_owned())
        }
        UntrustedError::Fetch(FetchError::TooLong { .. }) => Failure::Refused("it is too large".to_owned()),
        UntrustedError::Status(_) | UntrustedError::TooManyRedirects => Failure::Retry("file_unavailable"),
        UntrustedError::Fetch(
            FetchError::Unusable(_)
            | FetchError::NotConnected(_)
            | FetchError::TimedOut(_)
            | FetchError::Broken(_)
            | FetchError::Busy,
        )
        | UntrustedError::Sink(_) => Failure::Retry("network_unreachable"),
    }
}

/// The limit in what a service says of itself.
fn largest_file(info: &Element) -> Option<u64> {
    let forms = info.get_child("query", ns::DISCO_INFO)?.children().filter(|child| child.is("x", ns::DATA));
    let fields = forms.flat_map(Element::children).filter(|field| field.is("field", ns::DATA));
    let mut limits = fields.filter(|field| field.attr("var") == Some("max-file-size"));
    limits.find_map(|field| child_text(field, "value", ns::DATA)?.trim().parse().ok())
}

/// Reads a slot. URLs must be encrypted, see [`FileService::is_plain_allowed`].
fn read_slot(answer: &Element, is_plain_allowed: bool) -> Option<Slot> {
    let slot = answer.get_child("slot", ns::HTTP_UPLOAD)?;
    let url = |of: &Element| {
        let url = Url::parse(of.attr("url")?).ok()?;
        let is_usable = url.scheme() == "https" || (is_plain_allowed && url.scheme() == "http");
        is_usable.then_some(url)
    };
    let put = slot.get_child("put", ns::HTTP_UPLOAD)?;
    let headers = put.children().filter(|child| child.is("header", ns::HTTP_UPLOAD)).filter_map(|header| {
        let name = header.attr("name")?.to_ascii_lowercase();
        let (_, name) = HEADERS.into_iter().find(|(allowed, _)| *allowed == name)?;
        Some((name, header.text().replace(['\r', '\n'], "")))
    });
    let headers = headers.collect();
    Some(Slot { put: url(put)?, headers, get: url(slot.get_child("get", ns::HTTP_UPLOAD)?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(xml: &str) -> IqFailure {
        let error: Element =
            format!("<iq xmlns='jabber:client' type='error'>{xml}</iq>").parse().expect("XML");
        IqFailure::of(&error)
    }

    #[test]
    fn a_slot_has_two_urls_and_only_the_allowed_headers() {
        let slot = |scheme: &str| {
            format!(
                "<iq xmlns='jabber:client' type='result'><slot xmlns='urn:xmpp:http:upload:0'>
                <put url='{scheme}://up.example/a%20b.jpg'>
                    <header name='AUTHORIZATION'>Basic\n x</header><header name='Host'>other.example</header>
                    <header name='cookie'>a=b</header></put>
                <get url='https://files.example:8443/a%20b.jpg'/></slot></iq>"
            )
            .parse::<Element>()
            .expect("XML")
        };
        let read = read_slot(&slot("https"), false).expect("a slot");
        assert_eq!(read.put.as_str(), "https://up.example/a%20b.jpg");
        assert_eq!(read.get.as_str(), "https://files.example:8443/a%20b.jpg");
        let header = |name, value: &str| (name, value.to_owned());
        assert_eq!(read.headers, [header("Authorization", "Basic x"), header("Cookie", "a=b")]);
        assert_eq!(read_slot(&slot("http"), false), None);
        assert!(read_slot(&slot("http"), true).is_some());
        assert_eq!(read_slot(&slot("file"), true), None);
    }

    #[test]
    fn a_refused_place_says_why() {
        use FailureReason::{Refused, TooLarge};
        let stanzas = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'";
        for (kind, condition, detail, failure) in [
            (
                "modify",
                "not-acceptable",
                "<file-too-large xmlns='urn:xmpp:http:upload:0'/>",
                SendFailure::Refused(TooLarge),
            ),
            ("modify", "not-acceptable", "", SendFailure::Refused(Refused)),
            ("wait", "resource-constraint", "", SendFailure::Refused(Refused)),
            ("auth", "forbidden", "", SendFailure::Refused(Refused)),
            ("wait", "internal-server-error", "", SendFailure::Retry),
        ] {
            let refused = error(&format!("<error type='{kind}'><{condition} {stanzas}/>{detail}</error>"));
            assert_eq!(refused_slot(&refused), failure, "{condition}");
        }
        assert_eq!(refused_slot(&IqFailure::NoAnswer), SendFailure::Retry);
        for (status, failure) in [
            (413, SendFailure::Refused(TooLarge)),
            (403, SendFailure::Refused(Refused)),
            (429, SendFailure::Retry),
            (503, SendFailure::Retry),
            (302, SendFailure::Retry),
        ] {
            assert_eq!(refused_upload(status), failure, "{status}");
        }
    }
}
