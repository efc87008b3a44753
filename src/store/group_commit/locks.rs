//! What a transaction locks, and which writes it may do then.

use std::collections::{BTreeSet, HashMap};

use super::{Answer, OfSession, Written};
use crate::domain::{AccountId, ChatId, CounterId, Lease, PeerId};
use crate::store::{Journal, StoreError, Tx};

/// How locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// Only those that are free, of any number of accounts.
    Free,
    /// All, of one account; chats that are missing are made.
    Waiting,
}

/// What is locked.
pub(super) struct Locked {
    chats: HashMap<(AccountId, PeerId), ChatId>,
    counters: HashMap<CounterId, LockedCounter>,
}

struct LockedCounter {
    journal: Journal,
    owner: Option<i64>,
    fence: i64,
}

impl Locked {
    pub fn chat(&self, account: AccountId, peer: PeerId) -> Option<ChatId> {
        self.chats.get(&(account, peer)).copied()
    }

    pub fn journal(&mut self, counter: CounterId) -> Option<&mut Journal> {
        self.counters.get_mut(&counter).map(|counter| &mut counter.journal)
    }

    pub fn into_journals(self) -> Vec<Journal> {
        self.counters.into_values().map(|counter| counter.journal).collect()
    }

    /// What the write will be answered when the transaction commits; nothing when its locks are not there.
    pub fn admits(&self, lease: &Lease, what: &OfSession) -> Option<Answer> {
        let counter = self.counters.get(&lease.counter)?;
        if !what.chats().into_iter().all(|peer| self.chats.contains_key(&(lease.account, peer))) {
            return None;
        }
        let held = counter.owner == Some(lease.process.0) && counter.fence == lease.fence;
        Some(if held { Ok(Written::Stored) } else { Err(StoreError::Fenced) })
    }
}

impl Tx {
    /// Locks what the writes need: chats, then counters, each in one order over all accounts.
    pub(super) async fn lock_for(
        &mut self,
        writes: &[(&Lease, &OfSession)],
        locking: Locking,
    ) -> Result<Locked, StoreError> {
        let wanted: BTreeSet<(PeerId, AccountId)> = writes
            .iter()
            .flat_map(|(lease, what)| what.chats().into_iter().map(|peer| (peer, lease.account)))
            .collect();
        let counters: BTreeSet<CounterId> = writes.iter().map(|(lease, _)| lease.counter).collect();
        let counters: Vec<i64> = counters.into_iter().map(|counter| counter.0).collect();
        let mut locked = Locked { chats: HashMap::new(), counters: HashMap::new() };
        match locking {
            Locking::Free => {
                self.lock_free(&wanted, &counters, &mut locked).await?;
            }
            Locking::Waiting => {
                let new = self.wait_for(&wanted, &counters).await?;
                // They are this transaction's own by now, so none is skipped.
                self.lock_free(&wanted, &counters, &mut locked).await?;
                for account in new {
                    self.roster_changed(account).await?;
                }
            }
        }
        Ok(locked)
    }

    /// Locks the chats, the missing ones too, and then the counters, as soon as they are free. Gives the accounts that
    /// have new chats with people: their rosters have to be told.
    pub(super) async fn wait_for(
        &mut self,
        chats: &BTreeSet<(PeerId, AccountId)>,
        counters: &[i64],
    ) -> Result<BTreeSet<AccountId>, StoreError> {
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

    /// Locks the chats that exist and the counters, as far as they are free.
    async fn lock_free(
        &mut self,
        wanted: &BTreeSet<(PeerId, AccountId)>,
        counters: &[i64],
        locked: &mut Locked,
    ) -> Result<(), StoreError> {
        let (peers, accounts) = columns(wanted);
        let rows = sqlx::query!(
            r#"WITH chats AS MATERIALIZED (
                SELECT h.id, h.account_id, h.peer_id
                FROM unnest($1::bigint[], $2::bigint[]) AS w (account_id, peer_id)
                JOIN chat h ON h.account_id = w.account_id AND h.peer_id = w.peer_id
                ORDER BY h.peer_id, h.account_id FOR NO KEY UPDATE OF h SKIP LOCKED
             ), counters AS MATERIALIZED (
                SELECT id, seq, owner, fence, greatest(clock_timestamp(), stored_at) AS now FROM account_counter
                WHERE id = ANY($3) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
             SELECT id AS "id!", account_id, peer_id, NULL::bigint AS seq, NULL::bigint AS owner,
                    NULL::bigint AS fence, NULL::timestamptz AS now FROM chats
             UNION ALL SELECT id, NULL, NULL, seq, owner, fence, now FROM counters"#,
            &accounts,
            &peers,
            counters
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for row in rows {
            if let (Some(account), Some(peer)) = (row.account_id, row.peer_id) {
                locked.chats.insert((AccountId(account), PeerId(peer)), ChatId(row.id));
            } else if let (Some(seq), Some(fence), Some(now)) = (row.seq, row.fence, row.now) {
                let counter = CounterId(row.id);
                let journal = Journal::new(counter, seq, now);
                locked.counters.insert(counter, LockedCounter { journal, owner: row.owner, fence });
            }
        }
        Ok(())
    }

    /// Locks the chats and makes those that are missing; returns the accounts that have new ones with people.
    async fn make_chats(
        &mut self,
        wanted: &BTreeSet<(PeerId, AccountId)>,
    ) -> Result<BTreeSet<AccountId>, StoreError> {
        let (peers, accounts) = columns(wanted);
        let rows = sqlx::query!(
            r#"INSERT INTO chat (account_id, peer_id)
               SELECT account_id, peer_id FROM unnest($1::bigint[], $2::bigint[]) AS w (account_id, peer_id)
               WHERE EXISTS (SELECT 1 FROM account a WHERE a.id = w.account_id)
               ORDER BY peer_id, account_id
               ON CONFLICT ON CONSTRAINT chat_account_peer_key DO UPDATE SET unread = chat.unread
               RETURNING account_id, xmax = 0 AND EXISTS (
                   SELECT 1 FROM peer p WHERE p.id = chat.peer_id AND p.kind = 'person') AS "is_new!""#,
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
