//! The one place that makes HTTP clients. A [`Policy`] says where a request may go.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use url::Url;

use crate::clock;

/// How long a connection may take to come about, TLS included. Failing that, nothing was sent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait that an answer's `Retry-After` is taken to mean, in seconds: a day.
const LONGEST_RETRY_AFTER: u64 = 86_400;

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A URL from the settings: any address and port, because the operator chose it.
    Operator,
}

/// A POST. Its `Debug` shows neither URL nor content, which may hold secrets.
pub struct Post {
    url: Url,
    headers: Vec<(&'static str, String)>,
    basic: Option<(String, String)>,
    body: Body,
    timeout: Duration,
}

/// An answer whose head has come; the body is still to be read.
#[derive(Debug)]
pub struct Answer {
    response: reqwest::Response,
}

/// Why there is no answer. No variant's text shows the URL.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be made (no CA certificates on this machine, say) or the request is malformed.
    #[error("the request cannot be made")]
    Unusable(#[source] Cause),
    /// No connection came about: surely nothing was sent.
    #[error("no connection to the server")]
    NotConnected(#[source] Cause),
    /// The request may have been sent; no answer came in time.
    #[error("no answer in time")]
    TimedOut(#[source] Cause),
    /// The request may have been sent; the connection broke before the answer was whole.
    #[error("the connection broke")]
    Broken(#[source] Cause),
    /// The answer is longer than the caller takes.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// What the caller takes, in bytes.
        limit: usize,
    },
}

/// What lies below a [`FetchError`], for the log.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The clients, one per policy. No client follows redirects, repeats a request, or takes a proxy from the
/// environment.
#[derive(Debug, Default)]
pub struct Fetch {
    operator: OnceLock<reqwest::Client>,
}

enum Body {
    Bytes(Bytes),
    Form(Vec<(&'static str, String)>),
}

impl Fetch {
    /// Installs the TLS provider of this program. The clients are made when they are first used: a machine
    /// without CA certificates can run everything that fetches nothing.
    #[must_use]
    pub fn new() -> Self {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::default()
    }

    /// Makes the client of a policy now, so that a machine that cannot is found at the start.
    ///
    /// # Errors
    /// [`FetchError::Unusable`].
    pub fn prepare(&self, policy: Policy) -> Result<(), FetchError> {
        self.client(policy).map(|_| ())
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    ///
    /// # Errors
    /// See [`FetchError`]; [`FetchError::TooLong`] comes from reading the body only.
    pub async fn post(&self, policy: Policy, post: Post) -> Result<Answer, FetchError> {
        let mut request = self.client(policy)?.post(post.url).timeout(post.timeout);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        if let Some((user, password)) = post.basic {
            request = request.basic_auth(user, Some(password));
        }
        request = match post.body {
            Body::Bytes(bytes) => request.body(bytes),
            Body::Form(fields) => request.form(&fields),
        };
        let response = request.send().await.map_err(classify)?;
        Ok(Answer { response })
    }

    fn client(&self, policy: Policy) -> Result<&reqwest::Client, FetchError> {
        let (slot, build) = match policy {
            Policy::Operator => (&self.operator, operator_client),
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build().map_err(classify)?;
        Ok(slot.get_or_init(|| client))
    }
}

impl Post {
    /// A POST of JSON. `timeout` runs from the first attempt to connect to the last byte of the answer.
    #[must_use]
    pub fn json(url: Url, body: impl Into<Bytes>, timeout: Duration) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { url, headers, basic: None, body: Body::Bytes(body.into()), timeout }
    }

    /// A POST of a form. `timeout` as above.
    #[must_use]
    pub fn form(url: Url, fields: Vec<(&'static str, String)>, timeout: Duration) -> Self {
        Self { url, headers: Vec::new(), basic: None, body: Body::Form(fields), timeout }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signs in by HTTP Basic (RFC 7617).
    #[must_use]
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.basic = Some((user.into(), password.into()));
        self
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Post(..)")
    }
}

impl Answer {
    /// The status: 100 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status is a 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The seconds of `Retry-After` (RFC 9110, section 10.2.3: seconds or a date), 1 at least and a day at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let value = self.response.headers().get("retry-after")?.to_str().ok()?.trim();
        let seconds = if let Ok(seconds) = value.parse::<u64>() {
            seconds
        } else {
            let until = DateTime::parse_from_rfc2822(value).ok()?;
            u64::try_from((until.to_utc() - clock::now()).num_seconds()).unwrap_or(0)
        };
        Some(seconds.clamp(1, LONGEST_RETRY_AFTER))
    }

    /// The body, if it has at most `limit` bytes; not one byte more than needed to know that is kept.
    ///
    /// # Errors
    /// [`FetchError::TooLong`], [`FetchError::TimedOut`], [`FetchError::Broken`].
    pub async fn body(mut self, limit: usize) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.response.chunk().await.map_err(classify)? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLong { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes HTTP clients")]
fn operator_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("windu/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}

fn classify(error: reqwest::Error) -> FetchError {
    // The URL may hold a secret, and errors are logged.
    let error = error.without_url();
    // A connection that timed out is both; what counts is that nothing was sent.
    if error.is_connect() {
        FetchError::NotConnected(error.into())
    } else if error.is_builder() {
        FetchError::Unusable(error.into())
    } else if error.is_timeout() {
        FetchError::TimedOut(error.into())
    } else {
        FetchError::Broken(error.into())
    }
}
