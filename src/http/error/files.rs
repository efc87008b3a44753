//! Conversions of the errors of files, and of the URLs that callers send instead of files.

use super::{ApiError, ErrorCode};
use crate::fetch::{FetchError, UntrustedError};
use crate::media::MediaError;
use crate::telemetry::chain;

/// Only for the URLs of callers: a failure is the caller's mistake.
impl<E: Into<ApiError>> From<UntrustedError<E>> for ApiError {
    fn from(error: UntrustedError<E>) -> Self {
        match error {
            UntrustedError::NotHttp => Self::bad_request(
                ErrorCode::InvalidParameter,
                "url: a whole URL is expected, such as https://example.com/photo.jpg",
            ),
            UntrustedError::Status(status) => url_failed(&format!("answered with status {status}")),
            UntrustedError::TooManyRedirects => url_failed("redirects more than three times"),
            UntrustedError::Fetch(error) => fetch_failed(&error),
            UntrustedError::Sink(error) => error.into(),
        }
    }
}

/// No `From`, because the URLs of the settings fail with the same error and are not the caller's.
fn fetch_failed(error: &FetchError) -> ApiError {
    tracing::debug!(error = chain(error), "a caller's URL failed");
    match error {
        FetchError::NotAllowed => ApiError::bad_request(
            ErrorCode::UrlNotAllowed,
            "this URL is not allowed: it must be http or https, on its usual port, without a user name, and lead to \
             the internet",
        ),
        FetchError::Busy => ApiError::unavailable(
            ErrorCode::TooManyUploads,
            "too many of your URLs are being fetched, or too many in all; try again soon",
            5,
        ),
        FetchError::NotConnected(_) => url_failed("cannot be reached"),
        FetchError::TimedOut(_) => url_failed("did not answer in time"),
        FetchError::Broken(_) => url_failed("ended too early"),
        FetchError::TooLong { limit } => ApiError::too_large("file at the URL", *limit),
        FetchError::Unusable(_) => ApiError::internal(error),
    }
}

fn url_failed(how: &str) -> ApiError {
    let message = format!("the URL {how}; check that it opens without signing in, or send the file itself");
    // The server behind it may answer the next time.
    ApiError::bad_request(ErrorCode::UrlFailed, message).transient()
}

impl From<MediaError> for ApiError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::TooLarge { limit } => Self::too_large("file", limit),
            MediaError::UnknownType { .. } | MediaError::WrongFileType(_) => {
                Self::bad_request(ErrorCode::UnsupportedFile, error.to_string())
            }
            MediaError::Picture(_) => Self::bad_request(ErrorCode::InvalidPicture, error.to_string()),
            MediaError::Busy => Self::unavailable(
                ErrorCode::TooManyUploads,
                "too many of your files are being uploaded or inspected, or too many in all; try again soon",
                5,
            ),
            MediaError::TooSlow => {
                tracing::warn!("the work on a caller's file took too long");
                Self::unavailable(
                    ErrorCode::TooManyUploads,
                    "the work on this file took too long; try again later, or save it with another program",
                    30,
                )
            }
            MediaError::Unavailable { .. } => {
                tracing::error!(error = chain(&error), "the storage of files is unavailable");
                Self::unavailable(
                    ErrorCode::StorageUnavailable,
                    "the storage of files is unavailable; try again soon",
                    10,
                )
            }
            MediaError::Missing(_) => {
                tracing::error!(error = chain(&error), "a stored file is missing");
                Self::not_found(ErrorCode::MediaNotFound, "the file no longer exists")
            }
            MediaError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_url_of_a_caller_is_the_callers_mistake() {
        let cause = || "a cause that only the log has".into();
        for (error, status, code) in [
            (UntrustedError::NotHttp, 400, "invalid_parameter"),
            (UntrustedError::Status(404), 400, "url_failed"),
            (UntrustedError::TooManyRedirects, 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::NotAllowed), 400, "url_not_allowed"),
            (UntrustedError::Fetch(FetchError::NotConnected(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::Busy), 503, "too_many_uploads"),
            (UntrustedError::Fetch(FetchError::TimedOut(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::Broken(cause())), 400, "url_failed"),
            (UntrustedError::Fetch(FetchError::TooLong { limit: 7 }), 413, "too_large"),
            (UntrustedError::Fetch(FetchError::Unusable(cause())), 500, "internal"),
            (UntrustedError::Sink(ApiError::starting()), 503, "starting"),
        ] {
            let error = ApiError::from(error);
            assert_eq!((error.status().as_u16(), error.code().as_str()), (status, code));
            assert!(!error.message().contains("only the log"), "{}", error.message());
        }
    }
}
