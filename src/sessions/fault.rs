//! The ends of a connection and of a session.

use crate::db::DbError;
use crate::upstream::End;

/// Why a session stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// Another process has the lease now.
    Fenced,
    /// The account is not registered any more, or was deleted.
    Removed,
}

/// The end of a connection, or of the whole session.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection ended; another one may follow.
    Connection(End),
    /// The session is over.
    Session(SessionEnd),
}

impl Fault {
    /// The connection ended for a temporary reason.
    pub fn retry(reason: &'static str) -> Self {
        Self::Connection(End::Retry(reason))
    }
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Fenced => Self::Session(SessionEnd::Fenced),
            DbError::Unavailable(_) => Self::retry("database_unavailable"),
            DbError::Corrupt(_) | DbError::Refused(_) => {
                tracing::error!(error = crate::telemetry::chain(&error), "a session's query failed");
                Self::retry("internal")
            }
        }
    }
}
