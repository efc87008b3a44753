//! Locks of the writer's transactions: chats first, then counters.

use std::collections::{BTreeSet, HashMap};

use crate::db::DbError;
use crate::domain::{AccountId, CounterId, PeerId};
use crate::store::{Journal, Tx};

/// The locks that a transaction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// Only locks that are free, for any number of accounts.
    Free,
    /// All locks of one account; missing chats are made.
    Waiting,
}

/// The journals of the counters that a transaction has locked.
pub(super) struct LockedJournals(HashMap<CounterId, Journal>);

impl LockedJournals {
    pub fn new(journals: HashMap<CounterId, Journal>) -> Self {
        Self(journals)
    }

    pub fn of(&mut self, counter: CounterId) -> Option<&mut Journal> {
        self.0.get_mut(&counter)
    }

    /// The journals that have got events or have given out times.
    pub fn into_moved(self) -> Vec<Journal> {
        self.0.into_values().filter(Journal::has_moved).collect()
    }
}

impl Tx {
    /// Waits for the locks of the chats, makes the missing ones, and then waits for the locks of the counters. Returns the
    /// accounts that have new chats with people: their sessions have to follow the profiles of these people.
    pub(in crate::store) async fn wait_for(
        &mut self,
        chats: &BTreeSet<(PeerId, AccountId)>,
        counters: &[i64],
    ) -> Result<BTreeSet<AccountId>, DbError> {
        sqlx::query!("SET LOCAL lock_timeout = '2s'").execute(&mut *self.inner).await?;
        let new = self.make_chats(chats).await?;
        sqlx::query!(
            "SELECT id FROM account_counter WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
            counters
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(new)
    }

    /// Locks the chats and makes the missing ones; returns the accounts that have new chats with people.
    async fn make_chats(
        &mut self,
        chats: &BTreeSet<(PeerId, AccountId)>,
    ) -> Result<BTreeSet<AccountId>, DbError> {
        let (peers, accounts) = columns(chats);
        let rows = sqlx::query!(
            r#"INSERT INTO chat (account_id, peer_id)
               SELECT account_id, peer_id FROM unnest($1::bigint[], $2::bigint[]) AS new (account_id, peer_id)
               WHERE EXISTS (SELECT 1 FROM account WHERE id = new.account_id AND user_id IS NOT NULL OFFSET 0)
               ORDER BY peer_id, account_id
               ON CONFLICT ON CONSTRAINT chat_account_peer_key DO UPDATE SET unread = chat.unread
               RETURNING account_id, xmax = 0 AND EXISTS (
                   SELECT 1 FROM peer p WHERE p.id = chat.peer_id AND p.kind = 'person' OFFSET 0) AS "is_new!""#,
            &accounts,
            &peers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(rows.into_iter().filter(|row| row.is_new).map(|row| AccountId(row.account_id)).collect())
    }
}

fn columns(chats: &BTreeSet<(PeerId, AccountId)>) -> (Vec<i64>, Vec<i64>) {
    chats.iter().map(|(peer, account)| (peer.0, account.0)).unzip()
}
