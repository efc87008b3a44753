//! The block list of an account.

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event};
use crate::store::{Journal, Peer, Store, Tx};

impl Store {
    /// The numbers or public ids of the blocked people, oldest entry first.
    pub async fn blocked(&self, account: &Account) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.public_id FROM block b JOIN peer p ON p.id = b.peer_id WHERE b.account_id = $1
             ORDER BY b.created_at, p.public_id",
            account.id.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The addresses of the blocked people.
    pub async fn blocked_addresses(&self, account: AccountId) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.address FROM block b JOIN peer p ON p.id = b.peer_id WHERE b.account_id = $1
             ORDER BY p.address",
            account.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}

impl Tx {
    /// Blocks a person. False: they are blocked already, and nothing changed.
    pub async fn block(&mut self, account: &Account, peer: &Peer) -> Result<bool, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let added = sqlx::query!(
            "INSERT INTO block (account_id, peer_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            account.id.0,
            peer.id.0
        )
        .execute(&mut *self.inner)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
        journal.record(Event::ContactBlocked { contact: peer.public_id.clone() });
        self.blocks_changed(account, journal).await?;
        Ok(true)
    }

    /// Unblocks a person. False: they were not blocked, and nothing changed.
    pub async fn unblock(&mut self, account: &Account, public_id: &str) -> Result<bool, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query!(
            "DELETE FROM block b USING peer p
             WHERE p.id = b.peer_id AND b.account_id = $1 AND p.network = $2 AND p.public_id = $3",
            account.id.0,
            account.network,
            public_id
        )
        .execute(&mut *self.inner)
        .await?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        journal.record(Event::ContactUnblocked { contact: public_id.to_owned() });
        self.blocks_changed(account, journal).await?;
        Ok(true)
    }

    /// Replaces the whole list.
    pub async fn replace_blocked(&mut self, account: &Account, blocked: &[Peer]) -> Result<(), DbError> {
        let peers: Vec<i64> = blocked.iter().map(|peer| peer.id.0).collect();
        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query_scalar!(
            "DELETE FROM block b USING peer p
             WHERE p.id = b.peer_id AND b.account_id = $1 AND NOT b.peer_id = ANY($2) RETURNING p.public_id",
            account.id.0,
            &peers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let added = sqlx::query_scalar!(
            "WITH added AS (
                INSERT INTO block (account_id, peer_id)
                SELECT $1, peer_id FROM unnest($2::bigint[]) WITH ORDINALITY AS blocked (peer_id, position)
                ORDER BY position ON CONFLICT DO NOTHING RETURNING peer_id)
             SELECT p.public_id FROM added a JOIN peer p ON p.id = a.peer_id",
            account.id.0,
            &peers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        for contact in removed {
            journal.record(Event::ContactUnblocked { contact });
        }
        for contact in added {
            journal.record(Event::ContactBlocked { contact });
        }
        self.blocks_changed(account, journal).await
    }

    async fn blocks_changed(&mut self, account: &Account, journal: Journal) -> Result<(), DbError> {
        self.set_desired(account.id, Aspect::Blocked, &serde_json::Value::Null).await?;
        self.close_journal_for_session(account, journal).await
    }
}
