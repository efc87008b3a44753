//! Database errors of the local network, as the failures that a connector reports.

use crate::db::DbError;
use crate::upstream::{End, Failure, SendFailure};

/// The failure of a request.
pub(super) fn failure(error: &DbError) -> Failure {
    Failure::Retry(reason(error))
}

/// The failure of one message.
pub(super) fn send_failure(error: &DbError) -> SendFailure {
    reason(error);
    SendFailure::Retry
}

/// The end of a connection.
pub(super) fn end(error: &DbError) -> End {
    End::Retry(reason(error))
}

/// The code of an error. Our own mistakes are logged.
fn reason(error: &DbError) -> &'static str {
    match error {
        DbError::Unavailable(_) => "network_unreachable",
        DbError::Fenced | DbError::Corrupt(_) | DbError::Refused(_) => {
            tracing::error!(error = %error, cause = ?error, "the local network failed");
            "network_failed"
        }
    }
}
