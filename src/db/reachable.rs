//! The reason why the database cannot be used, in words for the operator.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Error};

use super::{Db, DbError};

/// For one connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The reason why there is no connection to the database.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unreachable {
    /// It is away, starting or full: worth a retry.
    #[error("the database at {place} {problem}")]
    Away { place: String, problem: String },
    /// A setting is wrong: the user, the password, the name of the database.
    #[error("the database at {place} refuses the connection: {problem}. Correct DATABASE_URL")]
    Refused { place: String, problem: String },
}

impl Db {
    /// The name of the database and where it is; no user and no password.
    #[must_use]
    pub fn location(&self) -> String {
        let options = self.pool.connect_options();
        format!("{} at {}", options.get_database().unwrap_or(options.get_username()), place(&options))
    }

    /// Connects once, beside the pool, whose own error says only that it waited for too long.
    ///
    /// # Errors
    /// The reason, with the database's host and port; no password.
    pub async fn connect_once(&self) -> Result<(), Unreachable> {
        let options = self.pool.connect_options();
        let away = |problem: String| Unreachable::Away { place: place(&options), problem };
        match tokio::time::timeout(TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => {
                // It has served its purpose.
                let _ = connection.close().await;
                Ok(())
            }
            Ok(Err(Error::Io(error))) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(away("refuses connections: nothing listens there".to_owned()))
            }
            Ok(Err(Error::Io(error))) if error.kind() == io::ErrorKind::NotFound => {
                Err(away("is not there: no such socket".to_owned()))
            }
            Ok(Err(Error::Io(error))) => Err(away(format!("cannot be reached: {error}"))),
            Ok(Err(Error::Database(refusal))) => {
                let (place, problem) = (place(&options), refusal.message().to_owned());
                Err(match DbError::from(Error::Database(refusal)) {
                    DbError::Unavailable(_) => {
                        Unreachable::Away { place, problem: format!("says: {problem}") }
                    }
                    _ => Unreachable::Refused { place, problem },
                })
            }
            Ok(Err(error)) => Err(away(format!("cannot be used: {error}"))),
            Err(_) => Err(away("does not answer".to_owned())),
        }
    }
}

/// The host with the port, or the socket's folder.
fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}
