//! What is wrong with a file, or with the URL that a caller gave for one.

use super::ApiError;
use crate::fetch::{FetchError, UntrustedError};
use crate::media::MediaError;
use crate::telemetry::chain;

/// What became of a URL that the caller sent: it is the caller's, and so is what is wrong with it.
impl<E: Into<ApiError>> From<UntrustedError<E>> for ApiError {
    fn from(error: UntrustedError<E>) -> Self {
        match error {
            UntrustedError::NotHttp => Self::bad_request(
                "invalid_parameter",
                "url: a whole URL is needed, such as https://example.com/photo.jpg",
            ),
            UntrustedError::Answered(status) => url_failed(&format!("was answered with status {status}")),
            UntrustedError::LeadsOn => url_failed("leads on to other URLs more than three times"),
            UntrustedError::Fetch(error) => fetch_failed(&error),
            UntrustedError::Sink(error) => error.into(),
        }
    }
}

/// No `From`: of a URL from the settings the caller knows nothing.
fn fetch_failed(error: &FetchError) -> ApiError {
    tracing::debug!(error = chain(error), "a caller's URL gave nothing");
    match error {
        FetchError::NotAllowed => ApiError::bad_request(
            "url_not_allowed",
            "this URL is not allowed: it must be of http or https, on its usual port, without a user name, and lead \
             to the internet",
        ),
        FetchError::NotConnected(_) => url_failed("cannot be reached"),
        FetchError::TimedOut(_) => url_failed("was not answered in time"),
        FetchError::Broken(_) => url_failed("broke off"),
        FetchError::TooLong { limit } => ApiError::too_large("file that the URL gives", *limit),
        FetchError::Unusable(_) => ApiError::internal(error),
    }
}

fn url_failed(what: &str) -> ApiError {
    let message =
        format!("the URL {what}; look whether it opens without signing in, or send the file itself");
    // The server behind it may answer the next time.
    ApiError { passing: true, ..ApiError::bad_request("url_failed", message) }
}

impl From<MediaError> for ApiError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::TooLarge { limit } => Self::too_large("file", limit),
            MediaError::UnknownType(_) | MediaError::WrongFileType(_) => {
                Self::bad_request("unsupported_file", error.to_string())
            }
            MediaError::Picture(_) => Self::bad_request("invalid_picture", error.to_string()),
            MediaError::Busy => Self::unavailable(
                "too_many_uploads",
                "so many files are on their way that there is no room for another; try again soon",
                5,
            ),
            MediaError::Unavailable { .. } => {
                tracing::error!(error = chain(&error), "files cannot be stored or read");
                Self::unavailable(
                    "storage_unavailable",
                    "the storage of files does not work now; try again soon",
                    10,
                )
            }
            MediaError::Missing(_) => {
                tracing::error!(error = chain(&error), "a stored file is gone");
                Self::not_found("media_not_found", "the file is not there any more")
            }
            MediaError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_callers_url_is_the_callers_to_mend() {
        let cause = || "a cause that nobody hears of".into();
        for (error, status, code) in [
            (UntrustedError::NotHttp, 400, "invalid_parameter"),
            (UntrustedError::Answered(404), 400, "url_failed"),
            (UntrustedError::LeadsOn, 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::NotAllowed), 400, "url_not_allowed"),
            (UntrustedError::Fetch(FetchError::NotConnected(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::TimedOut(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::Broken(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::TooLong { limit: 7 }), 413, "too_large"),
            (UntrustedError::Fetch(FetchError::Unusable(cause())), 500, "internal"),
            (UntrustedError::Sink(ApiError::starting()), 503, "starting"),
        ] {
            let error = ApiError::from(error);
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
            assert!(!error.message().contains("nobody hears"), "{}", error.message());
        }
    }
}
