//! GET requests to caller-supplied URLs.

use std::future::Future;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use tokio::time::timeout;
use url::Url;

use super::error::{FetchError, UntrustedError, classify};
use super::guard::is_http;
use super::{Fetch, Policy};
use crate::lifecycle::Deadline;
use crate::metrics::METRICS;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 3;

/// What a request needs of its time to use what was fetched.
const NEEDED_AFTERWARDS: Duration = Duration::from_secs(5);

/// In bytes. A longer file name is ignored: no file system would take it.
const MAX_FILE_NAME: usize = 255;

/// The destination of a response body. It is dropped incomplete when the response fails.
pub trait Sink {
    type Error;

    /// Writes the next chunk, which is never empty. An error ends the reading.
    fn write(&mut self, chunk: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The metadata of a body that the sink has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The `Content-Type` of the response, as it was sent. Unverified.
    pub content_type: Option<String>,
    /// The last segment of the path of the caller's URL (not of a redirect's target), decoded.
    pub file_name: Option<String>,
    /// In bytes.
    pub size: u64,
}

impl Fetch {
    /// Reads a URL under [`Policy::Untrusted`], at most until shortly before the deadline of the request that names it. Up
    /// to three redirects are followed, each checked like the first URL. At most `limit` bytes reach the sink, and part of
    /// them may when an error is returned.
    pub async fn get_untrusted<S: Sink>(
        &self,
        url: &str,
        limit: u64,
        sink: &mut S,
    ) -> Result<Fetched, UntrustedError<S::Error>> {
        let url = Url::parse(url).ok().filter(is_http).ok_or(UntrustedError::NotHttp)?;
        let fetched =
            timeout(Deadline::shorten(self.timeouts().total, NEEDED_AFTERWARDS), self.read(url, limit, sink))
                .await
                .unwrap_or_else(|elapsed| {
                    let late = FetchError::TimedOut(elapsed.into());
                    Err(late.into())
                });
        Self::count(&fetched);
        fetched
    }

    pub(super) fn count<T, E>(fetched: &Result<T, UntrustedError<E>>) {
        METRICS.fetch(match fetched {
            Ok(_) => "ok",
            Err(UntrustedError::Fetch(error)) => error.outcome(),
            Err(UntrustedError::Status(_) | UntrustedError::TooManyRedirects) => "status",
            Err(UntrustedError::NotHttp | UntrustedError::Sink(_)) => "refused",
        });
    }

    async fn read<S: Sink>(
        &self,
        url: Url,
        limit: u64,
        sink: &mut S,
    ) -> Result<Fetched, UntrustedError<S::Error>> {
        let file_name = file_name(&url);
        let mut response = self.follow(url, |_| Policy::Untrusted).await?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let too_long = FetchError::TooLong { limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_long.into());
        }
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(classify)? {
            size += chunk.len() as u64;
            if size > limit {
                return Err(too_long.into());
            }
            sink.write(&chunk).await.map_err(UntrustedError::Sink)?;
        }
        Ok(Fetched { content_type, file_name, size })
    }

    /// The first response that is no redirect, if it is a success. `policy` is asked for each URL.
    pub(super) async fn follow<E>(
        &self,
        mut url: Url,
        policy: impl Fn(&Url) -> Policy + Send,
    ) -> Result<reqwest::Response, UntrustedError<E>> {
        for _ in 0..=MAX_REDIRECTS {
            let request = self.client(policy(&url), &url)?.get(url.clone());
            let response = timeout(self.timeouts().head, request.send())
                .await
                .map_err(|elapsed| FetchError::TimedOut(elapsed.into()))?
                .map_err(classify)?;
            match redirect_target(&url, &response) {
                Some(target) => url = target,
                None if response.status().is_success() => return Ok(response),
                None => return Err(UntrustedError::Status(response.status().as_u16())),
            }
        }
        Err(UntrustedError::TooManyRedirects)
    }
}

/// The target of a redirect (RFC 9110, section 15.4), not checked yet.
fn redirect_target(url: &Url, response: &reqwest::Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    url.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()
}

fn file_name(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    // An encoded slash is still a slash when a file of this name is created.
    let name = name.rsplit(['/', '\\']).next()?;
    let is_usable = !matches!(name, "" | "." | "..")
        && name.len() <= MAX_FILE_NAME
        && !name.contains(|sign: char| sign.is_control());
    is_usable.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_is_the_last_segment_decoded() {
        for (path, expected) in [
            ("photo.jpg", Some("photo.jpg")),
            ("a/b/photo.jpg?size=2&x=/y.png#top.gif", Some("photo.jpg")),
            ("a%20b.png", Some("a b.png")),
            ("%E4%BD%A0.mp3", Some("你.mp3")),
            ("你.mp3", Some("你.mp3")),
            ("a%2Fb.png", Some("b.png")),
            ("a%5Cb.png", Some("b.png")),
            ("", None),
            ("a/", None),
            ("a%2F..", None),
            ("%FF.png", None),
            ("a%00.png", None),
            ("a%0A.png", None),
        ] {
            let url = Url::parse(&format!("https://example.com/{path}")).expect(path);
            assert_eq!(file_name(&url).as_deref(), expected, "{path}");
        }
        let long = Url::parse(&format!("https://example.com/{}", "a".repeat(256))).expect("a URL");
        assert_eq!(file_name(&long), None);
    }
}
