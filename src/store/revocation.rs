//! Telling all processes which access tokens were revoked: a hint that empties their caches, never within a
//! transaction. Who misses one forgets by itself within 5 s.

use data_encoding::HEXLOWER;
use sqlx::postgres::PgListener;

use super::{Store, StoreError, TokenHash};

const CHANNEL: &str = "windu_revoked";
/// A payload has less than 8,000 bytes; more hashes than this are announced as "all".
const ANNOUNCED_AT_ONCE: usize = 100;

/// What a process says to the others after it revoked tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// These access tokens.
    These(Vec<TokenHash>),
    /// Any token may have been revoked.
    Any,
}

/// Hears what other processes revoke.
pub struct RevocationListener(PgListener);

impl Store {
    /// Tells all processes which access tokens died. After the commit, never within a transaction.
    ///
    /// # Errors
    /// When the database is away: the others notice within 5 s by themselves.
    pub async fn announce_revoked(&self, revoked: &Revoked) -> Result<(), StoreError> {
        sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload(revoked)).execute(&self.pool).await?;
        Ok(())
    }

    /// Begins to hear what other processes revoke; uses a connection of the pool for as long as it lives.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn revocations(&self) -> Result<RevocationListener, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(RevocationListener(listener))
    }
}

impl RevocationListener {
    /// The next announcement; [`Revoked::Any`] after a broken connection, when some may have been missed.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn next(&mut self) -> Result<Revoked, StoreError> {
        match self.0.try_recv().await? {
            Some(notification) => Ok(revoked(notification.payload())),
            None => Ok(Revoked::Any),
        }
    }
}

fn payload(revoked: &Revoked) -> String {
    match revoked {
        Revoked::These(hashes) if hashes.len() <= ANNOUNCED_AT_ONCE => {
            hashes.iter().map(|hash| HEXLOWER.encode(hash)).collect::<Vec<_>>().join(" ")
        }
        Revoked::These(_) | Revoked::Any => "all".to_owned(),
    }
}

/// Anything that is not understood (an announcement of a newer version) counts as "any".
fn revoked(payload: &str) -> Revoked {
    let hashes = payload
        .split_whitespace()
        .map(|word| HEXLOWER.decode(word.as_bytes()).ok().and_then(|bytes| TokenHash::try_from(bytes).ok()));
    hashes.collect::<Option<Vec<_>>>().map_or(Revoked::Any, Revoked::These)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_come_back_as_they_went() {
        for said in [Revoked::Any, Revoked::These(vec![]), Revoked::These(vec![[7; 32], [8; 32]])] {
            assert_eq!(revoked(&payload(&said)), said);
        }
        assert_eq!(revoked(&payload(&Revoked::These(vec![[7; 32]; 101]))), Revoked::Any);
        assert!(payload(&Revoked::These(vec![[7; 32]; 100])).len() < 8_000);
    }
}
