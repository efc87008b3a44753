//! What a transaction locks, and which writes it may do then.

use std::collections::{BTreeSet, HashMap};

use super::{Answer, Write, Written};
use crate::domain::{AccountId, ChatId, CounterId, Lease, PeerId};
use crate::store::{Accepted, Journal, KeyedAnswer, OUTBOX_LIMIT, StoreError, Tx};

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

    fn has_all(&self, write: &Write) -> bool {
        self.counters.contains_key(&write.counter())
            && write.chats().into_iter().all(|peer| self.chats.contains_key(&(write.account(), peer)))
    }

    fn is_held(&self, lease: &Lease) -> bool {
        self.counters
            .get(&lease.counter)
            .is_some_and(|counter| counter.owner == Some(lease.process.0) && counter.fence == lease.fence)
    }
}

impl Tx {
    /// Locks what the writes need: chats, then counters, each in one order over all accounts.
    pub(super) async fn lock_for(
        &mut self,
        writes: &[&Write],
        locking: Locking,
    ) -> Result<Locked, StoreError> {
        let wanted: BTreeSet<(PeerId, AccountId)> = writes
            .iter()
            .flat_map(|write| write.chats().into_iter().map(|peer| (peer, write.account())))
            .collect();
        let counters: BTreeSet<CounterId> = writes.iter().map(|write| write.counter()).collect();
        let counters: Vec<i64> = counters.into_iter().map(|counter| counter.0).collect();
        let mut locked = Locked { chats: HashMap::new(), counters: HashMap::new() };
        match locking {
            Locking::Free => {
                self.lock_free(&wanted, &counters, &mut locked).await?;
            }
            Locking::Waiting => {
                sqlx::query!("SET LOCAL lock_timeout = '2s'").execute(&mut *self.inner).await?;
                let new = self.make_chats(&wanted).await?;
                sqlx::query!(
                    "SELECT id FROM account_counter WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
                    &counters
                )
                .fetch_all(&mut *self.inner)
                .await?;
                // They are this transaction's own by now, so none is skipped.
                self.lock_free(&wanted, &counters, &mut locked).await?;
                for account in new {
                    self.roster_changed(account).await?;
                }
            }
        }
        Ok(locked)
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

    /// Locks the chats and makes those that are missing; returns the accounts that have new ones with people. Once their
    /// counters are locked too, their rosters have to be told.
    async fn make_chats(
        &mut self,
        wanted: &BTreeSet<(PeerId, AccountId)>,
    ) -> Result<BTreeSet<AccountId>, StoreError> {
        let (peers, accounts) = columns(wanted);
        let rows = sqlx::query!(
            r#"INSERT INTO chat (account_id, peer_id)
               SELECT account_id, peer_id FROM unnest($1::bigint[], $2::bigint[]) AS w (account_id, peer_id)
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

    /// What the writes will be answered when the transaction commits; nothing for those whose locks are not there.
    pub(super) async fn admit(
        &mut self,
        writes: &[&Write],
        locked: &Locked,
    ) -> Result<Vec<Option<Answer>>, StoreError> {
        let mut room = self.room(writes, locked).await?;
        let mut answers: Vec<Option<Answer>> = writes
            .iter()
            .map(|write| {
                if !locked.has_all(write) {
                    return None;
                }
                if write.lease().is_some_and(|lease| !locked.is_held(lease)) {
                    return Some(Err(StoreError::Fenced));
                }
                let Write::Send(send) = write else { return Some(Ok(Written::Stored)) };
                // Whoever unregisters an account locks the counter too: nothing is queued behind their back.
                let accepted = match room.get_mut(&send.account) {
                    None => Accepted::NotRegistered,
                    Some(0) => Accepted::OutboxFull,
                    Some(room) => {
                        *room -= 1;
                        Accepted::Queued(send.id.clone())
                    }
                };
                Some(Ok(Written::Accepted(accepted)))
            })
            .collect();
        let keyed: Vec<(usize, &KeyedAnswer)> = writes
            .iter()
            .enumerate()
            .filter(|(place, _)| super::is_admitted(answers[*place].as_ref()))
            .filter_map(|(place, write)| match write {
                Write::Send(send) => Some((place, send.keyed.as_ref()?)),
                Write::Settle { .. } | Write::Ingest { .. } | Write::Publish { .. } => None,
            })
            .collect();
        if !keyed.is_empty() {
            let kept = self.keep_answers(keyed.iter().map(|(_, answer)| *answer)).await?;
            for (place, answer) in keyed {
                if !kept.contains(&answer.claim) {
                    answers[place] = Some(Err(StoreError::Fenced));
                }
            }
        }
        Ok(answers)
    }

    /// How many more messages may wait for the network, for each registered account that sends.
    async fn room(
        &mut self,
        writes: &[&Write],
        locked: &Locked,
    ) -> Result<HashMap<AccountId, i64>, StoreError> {
        let accounts: BTreeSet<AccountId> = writes
            .iter()
            .filter(|write| matches!(write, Write::Send(_)) && locked.has_all(write))
            .map(|write| write.account())
            .collect();
        if accounts.is_empty() {
            return Ok(HashMap::new());
        }
        let accounts: Vec<i64> = accounts.into_iter().map(|account| account.0).collect();
        let rows = sqlx::query!(
            r#"SELECT a.id, $2 - (SELECT count(*) FROM (
                   SELECT 1 FROM outbox o WHERE o.account_id = a.id LIMIT $2) AS waiting) AS "room!"
               FROM account a WHERE a.id = ANY($1) AND a.registered_at IS NOT NULL"#,
            &accounts,
            OUTBOX_LIMIT
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(rows.into_iter().map(|row| (AccountId(row.id), row.room)).collect())
    }
}

fn columns(chats: &BTreeSet<(PeerId, AccountId)>) -> (Vec<i64>, Vec<i64>) {
    chats.iter().map(|(peer, account)| (peer.0, account.0)).unzip()
}
