//! PUT requests.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use reqwest::header::CONTENT_LENGTH;
use url::Url;

use super::error::Cause;

/// The body of a request, which is never whole in memory. An error breaks the request off.
pub type BodyStream = BoxStream<'static, Result<Bytes, Cause>>;

/// A PUT request. Its `Debug` shows neither URL nor headers, which may hold secrets.
pub struct Put {
    pub(super) url: Url,
    headers: Vec<(&'static str, String)>,
    size: u64,
    body: BodyStream,
    timeout: Duration,
}

impl Put {
    /// `size` is that of the body in bytes. `timeout` runs from the first attempt to connect to the last byte of the
    /// response.
    #[must_use]
    pub fn new(url: Url, size: u64, body: BodyStream, timeout: Duration) -> Self {
        Self { url, headers: Vec::new(), size, body, timeout }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn request(self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        // Without it the body would be sent in chunks, and servers compare its size with the announced one beforehand.
        let mut request = client.put(self.url).timeout(self.timeout).header(CONTENT_LENGTH, self.size);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(reqwest::Body::wrap_stream(self.body))
    }
}

impl std::fmt::Debug for Put {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Put(..)")
    }
}
