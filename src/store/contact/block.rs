//! Whom an account has blocked.

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event};
use crate::store::{Journal, Peer, Store, Tx, topic};

impl Store {
    /// The numbers or public ids of those whom the account has blocked, oldest first.
    pub async fn blocked(&self, account: &Account) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.public_id FROM block b JOIN peer p ON p.id = b.peer_id WHERE b.account_id = $1
             ORDER BY b.created_at, p.public_id",
            account.id.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// Where the network reaches those whom the account has blocked.
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
    /// Blocks somebody. False: they are blocked already, and nothing changed.
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

    /// Blocks somebody no longer. False: they were not blocked, and nothing changed.
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

    /// Makes the list hold these and nobody else.
    pub async fn replace_blocked(&mut self, account: &Account, wanted: &[Peer]) -> Result<(), DbError> {
        let peers: Vec<i64> = wanted.iter().map(|peer| peer.id.0).collect();
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
                SELECT $1, w.peer_id FROM unnest($2::bigint[]) WITH ORDINALITY AS w (peer_id, place)
                ORDER BY w.place ON CONFLICT DO NOTHING RETURNING peer_id)
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
        self.close_journal(journal).await?;
        self.notify_on_commit(topic::work(account.id));
        self.notify_on_commit(topic::journal(account.counter));
        Ok(())
    }
}
