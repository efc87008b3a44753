//! The block list of an account.

use std::collections::HashSet;

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event};
use crate::store::contact::{LIST_LIMIT, ListAddition};
use crate::store::{Journal, Peer, Store, Tx};

impl Store {
    /// The numbers or public ids of the blocked people, oldest entry first.
    pub async fn blocked(&self, account: &Account) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.public_id FROM block b
             CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = b.peer_id LIMIT 1) p
             WHERE b.account_id = $1 ORDER BY b.created_at, p.public_id",
            account.id.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The addresses of the blocked people.
    pub async fn blocked_addresses(&self, account: AccountId) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.address FROM block b
             CROSS JOIN LATERAL (SELECT address FROM peer WHERE id = b.peer_id LIMIT 1) p
             WHERE b.account_id = $1 ORDER BY p.address",
            account.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}

impl Tx {
    /// Blocks a person.
    pub async fn block(&mut self, account: &Account, peer: &Peer) -> Result<ListAddition, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let peer = self.confirmed_peer(account, peer).await?;
        let addition = sqlx::query_scalar!(
            r#"WITH added AS (
                INSERT INTO block (account_id, peer_id)
                SELECT id, $2 FROM account WHERE id = $1 AND blocked < $3 ON CONFLICT DO NOTHING RETURNING true
             )
             SELECT CASE WHEN EXISTS (SELECT 1 FROM added) THEN 'added'
                         WHEN EXISTS (SELECT 1 FROM block WHERE account_id = $1 AND peer_id = $2) THEN 'present'
                         ELSE 'full' END AS "addition!""#,
            account.id.0,
            peer.id.0,
            i32::from(LIST_LIMIT)
        )
        .fetch_one(&mut *self.inner)
        .await?;
        let addition = ListAddition::from_name(&addition);
        if addition == ListAddition::Added {
            journal.record(Event::ContactBlocked { contact: peer.public_id.clone() });
            self.blocks_changed(account, journal).await?;
        }
        Ok(addition)
    }

    /// Unblocks a person. False: they were not blocked, and nothing changed.
    pub async fn unblock(&mut self, account: &Account, public_id: &str) -> Result<bool, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query!(
            "DELETE FROM block
             WHERE account_id = $1 AND peer_id = (SELECT id FROM peer WHERE network = $2 AND public_id = $3)",
            account.id.0,
            account.directory,
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
        let mut journal = self.open_journal(account.counter).await?;
        let blocked = self.confirmed_peers(account, blocked).await?;
        let before = sqlx::query!(
            r#"SELECT b.peer_id, p.public_id FROM block b
               CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = b.peer_id LIMIT 1) p
               WHERE b.account_id = $1 ORDER BY b.created_at, p.public_id"#,
            account.id.0
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let wanted: HashSet<i64> = blocked.iter().map(|peer| peer.id.0).collect();
        let mut present: HashSet<i64> = before.iter().map(|row| row.peer_id).collect();
        let (removed, removed_peers): (Vec<String>, Vec<i64>) = before
            .into_iter()
            .filter(|row| !wanted.contains(&row.peer_id))
            .map(|row| (row.public_id, row.peer_id))
            .unzip();
        let (added, added_peers): (Vec<String>, Vec<i64>) = blocked
            .iter()
            // A person may be named twice.
            .filter(|peer| present.insert(peer.id.0))
            .map(|peer| (peer.public_id.clone(), peer.id.0))
            .unzip();
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "DELETE FROM block WHERE ctid = ANY(ARRAY(
                 SELECT entry.ctid FROM unnest($2::bigint[]) AS removed (peer_id) CROSS JOIN LATERAL (
                     SELECT ctid FROM block WHERE account_id = $1 AND peer_id = removed.peer_id LIMIT 1) entry))",
            account.id.0,
            &removed_peers
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO block (account_id, peer_id)
             SELECT $1, peer_id FROM unnest($2::bigint[]) WITH ORDINALITY AS added (peer_id, position)
             ORDER BY position",
            account.id.0,
            &added_peers
        )
        .execute(&mut *self.inner)
        .await?;
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
