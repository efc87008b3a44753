//! What can go wrong. The layer above decides what its caller hears of it; no variant's text shows the URL, nor an
//! address that was found.

use std::error::Error;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be made (no CA certificates on this machine, say) or the request is malformed.
    #[error("the request cannot be made")]
    Unusable(#[source] Cause),
    /// The policy does not let the request go there: nothing was sent.
    #[error("the URL is not allowed")]
    NotAllowed,
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
        limit: u64,
    },
}

/// Why a caller's URL gave nothing. `E` is the error of whoever takes what it gives.
#[derive(Debug, thiserror::Error)]
pub enum UntrustedError<E> {
    /// The text is no URL that begins with `http://` or `https://`.
    #[error("not a URL of http or https")]
    NotHttp,
    /// An answer that is neither a success nor leads on.
    #[error("the URL was answered with status {0}")]
    Answered(u16),
    /// More redirects than are followed.
    #[error("the URL leads on too often")]
    LeadsOn,
    /// The request failed, or was not let out: [`FetchError::NotAllowed`].
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The sink did not take a chunk.
    #[error("what the URL gave was not taken")]
    Sink(E),
}

/// What lies below a [`FetchError`], for the log.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The resolver's refusal of a name.
#[derive(Debug, thiserror::Error)]
#[error("not allowed")]
pub(super) struct NotAllowed;

pub(super) fn classify(error: reqwest::Error) -> FetchError {
    // The URL may hold a secret, and errors are logged.
    let error = error.without_url();
    // A connection that timed out is both; what counts is that nothing was sent.
    if is_refusal(&error) {
        FetchError::NotAllowed
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

fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<NotAllowed>() {
            return true;
        }
        cause = error.source();
    }
    false
}
