//! Errors of requests. The layer above decides what its caller learns; no variant's text shows the URL or an address
//! that was resolved.

use std::error::Error;
use std::io;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be made (for example without CA certificates), or the request is malformed.
    #[error("the request cannot be made")]
    Unusable(#[source] Cause),
    /// The policy does not allow this URL. Nothing was sent.
    #[error("the URL is not allowed")]
    NotAllowed,
    /// The connection failed. Nothing was sent.
    #[error("no connection to the server")]
    NotConnected(#[source] Cause),
    /// No response in time. The request may have been sent.
    #[error("no response in time")]
    TimedOut(#[source] Cause),
    /// The connection broke before the response was complete. The request may have been sent.
    #[error("the connection broke")]
    Broken(#[source] Cause),
    /// Too many names are being resolved, for this user or in all. Nothing was sent.
    #[error("too many names are being resolved")]
    Busy,
    /// The response is longer than the caller's limit, in bytes.
    #[error("the response is longer than {limit} bytes")]
    TooLong { limit: u64 },
}

impl FetchError {
    /// Its name among the figures.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "unusable",
            Self::NotAllowed => "not_allowed",
            Self::NotConnected(_) => "connect",
            Self::TimedOut(_) => "timeout",
            Self::Broken(_) => "closed",
            Self::Busy => "busy",
            Self::TooLong { .. } => "too_long",
        }
    }

    /// What failed: `not_allowed`, `dns`, `connect`, `tls`, `timeout` or `closed`.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NotConnected(cause) if has_cause::<Unresolved>(&**cause) => "dns",
            Self::NotConnected(cause) if has_cause::<rustls::Error>(&**cause) => "tls",
            Self::NotConnected(cause) if is_timeout(&**cause) => "timeout",
            Self::TimedOut(_) => "timeout",
            Self::Broken(_) | Self::TooLong { .. } => "closed",
            Self::NotConnected(_) | Self::Unusable(_) | Self::Busy => "connect",
        }
    }

    /// The innermost cause, in words.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut cause: &dyn Error = self;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
}

/// Why a caller-supplied URL could not be read. `E` is the sink's error.
#[derive(Debug, thiserror::Error)]
pub enum UntrustedError<E> {
    /// Not a URL that begins with `http://` or `https://`.
    #[error("not a URL of http or https")]
    NotHttp,
    /// The status of a response that is neither a success nor a redirect.
    #[error("the URL responded with status {0}")]
    Status(u16),
    #[error("the URL redirects too often")]
    TooManyRedirects,
    /// The request failed, or it is not allowed: [`FetchError::NotAllowed`].
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The sink refused a chunk.
    #[error("the content of the URL was refused")]
    Sink(E),
}

/// The source of a [`FetchError`], for the log.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The resolver's refusal of a name that resolves to an address that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("not allowed")]
pub(super) struct NotAllowed;

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct Unresolved(#[source] pub io::Error);

/// The resolver's refusal when all of its threads, or the user's part of them, are taken.
#[derive(Debug, thiserror::Error)]
#[error("too many names are being resolved")]
pub(super) struct Busy;

pub(super) fn classify(error: reqwest::Error) -> FetchError {
    // The URL may hold a secret, and errors are logged.
    let error = error.without_url();
    // A connect timeout is both; it counts as not connected, because nothing was sent.
    if has_cause::<NotAllowed>(&error) {
        FetchError::NotAllowed
    } else if has_cause::<Busy>(&error) {
        FetchError::Busy
    } else if error.is_connect() {
        FetchError::NotConnected(error.into())
    } else if error.is_builder() {
        FetchError::Unusable(error.into())
    } else if error.is_timeout() {
        FetchError::TimedOut(error.into())
    } else {
        FetchError::Broken(error.into())
    }
}

fn has_cause<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        // The source of an `io::Error` is that of the error inside.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<E>() || inside.is_some_and(<dyn Error + Send + Sync>::is::<E>) {
            return true;
        }
        cause = error.source();
    }
    false
}
