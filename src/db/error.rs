//! The error of a failed query, which every layer above sees.

use std::sync::Arc;

/// The error of a failed query. Callers that shared the query get a clone each.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// The database is unavailable, starting, stopping or out of connections: worth a retry.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The session's lease, or the request's claim on its key, belongs to another process by now: nothing was written.
    #[error("the lease or the claim has passed to another process")]
    Fenced,
    /// A row whose values no version of this program can have written.
    #[error("impossible row: {0}")]
    Corrupt(String),
    /// A query that the database refused: a mistake of this program.
    #[error("the database refused a query")]
    Refused(#[source] Arc<sqlx::Error>),
}

impl DbError {
    /// The name of the constraint that the query violated, if it failed for that reason.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => error.as_database_error()?.constraint(),
            Self::Unavailable(_) | Self::Fenced | Self::Corrupt(_) => None,
        }
    }

    /// Whether the values can never be stored: a data exception (SQLSTATE class 22) such as a NUL in a text, or a value
    /// too long for an index (54).
    #[must_use]
    pub fn is_unstorable(&self) -> bool {
        match self {
            Self::Refused(error) => sqlstate(error).is_some_and(|code| ["22", "54"].contains(&&code[..2])),
            Self::Unavailable(_) | Self::Fenced | Self::Corrupt(_) => false,
        }
    }

    /// Whether the transaction was rolled back in favour of another one (SQLSTATE class 40): worth a retry.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Unavailable(error) => sqlstate(error).is_some_and(|code| code.starts_with("40")),
            Self::Refused(_) | Self::Fenced | Self::Corrupt(_) => false,
        }
    }

    /// Whether the program ends, which is not the database's fault.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                matches!(**error, sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed)
            }
            Self::Refused(_) | Self::Fenced | Self::Corrupt(_) => false,
        }
    }

    /// The error of a full queue: the same as that of a pool without a free connection.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::Unavailable(Arc::new(sqlx::Error::PoolTimedOut))
    }

    /// The error of a request that was dropped because the program ends.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::Unavailable(Arc::new(sqlx::Error::WorkerCrashed))
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    (code.len() == 5 && code.is_ascii()).then(|| code.into_owned())
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
                Self::Unavailable(Arc::new(error))
            }
            // The connection broke in the middle of an answer.
            Error::Protocol(_) => Self::Unavailable(Arc::new(error)),
            Error::Database(ref refusal) if is_transient(refusal.code().as_deref()) => {
                Self::Unavailable(Arc::new(error))
            }
            other => Self::Refused(Arc::new(other)),
        }
    }
}

/// SQLSTATEs of errors that pass by themselves: connection failures (08), too many connections and out of memory or
/// disk (53), a database that takes no connections now (55000), a lock timeout (55P03), a transaction that was idle for
/// too long (25P03), operator intervention such as a shutdown or a start (57P), serialisation and deadlock (40).
fn is_transient(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        ["08", "25P03", "53", "55000", "55P03", "57P", "40"].iter().any(|class| code.starts_with(class))
    })
}
