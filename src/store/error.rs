//! What every layer above the store sees of a failed query.

/// A query that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, starting, stopping or out of connections: worth trying again.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// What was written under, a session's lease or a request's claim on its key, has passed on: nothing was written.
    #[error("the lease or the claim has passed on")]
    Fenced,
    /// A row that cannot be: what it says contradicts the program.
    #[error("impossible row: {0}")]
    Corrupt(String),
    /// A query that the database refused: our mistake.
    #[error("the database refused a query")]
    Refused(#[source] sqlx::Error),
}

impl StoreError {
    /// The name of the constraint that the query broke, if that is why it failed.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Refused(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match error {
            Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
                Self::Unavailable(error)
            }
            // A connection that broke in the middle of an answer.
            Error::Protocol(_) => Self::Unavailable(error),
            Error::Database(ref refusal) if is_passing(refusal.code().as_deref()) => Self::Unavailable(error),
            other => Self::Refused(other),
        }
    }
}

/// SQLSTATEs that pass by themselves: connection failures (08), too many connections and out of memory or
/// disk (53), a database that takes no connections now (55000), operator intervention such as a shutdown or a start
/// (57P), serialisation and deadlock (40).
fn is_passing(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["08", "53", "55000", "57P", "40"].iter().any(|class| code.starts_with(class)))
}
