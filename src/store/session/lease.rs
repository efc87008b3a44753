//! Processes, their heartbeats, and their leases on accounts.
//!
//! A process lives while its heartbeat is younger than [`LEASE_SECONDS`] by PostgreSQL's clock. A claim raises the fence
//! in the row that every write of a session locks, so the writes of an earlier holder fail.

use std::collections::BTreeMap;

use crate::db::DbError;
use crate::db::Topic;
use crate::domain::{AccountId, CounterId, Lease, ProcessId};
use crate::store::{Store, topic};

/// A process without a heartbeat for this time has lost its leases.
pub const LEASE_SECONDS: f64 = 15.0;

/// Accounts without a living holder that a share counts: it is counted each round, and must not grow with a server that
/// starts with all accounts free.
const FREE_LIMIT: i64 = 10_000;
/// An account's oldest messages among which [`Store::accounts_with_work`] looks for one that is due.
const OLDEST: i64 = 100;

/// The numbers of accounts and of processes that share them.
#[derive(Clone, Copy, Debug)]
pub struct LeaseShare {
    /// Accounts that need a session.
    pub accounts: i64,
    /// Living processes that may run them.
    pub processes: i64,
}

impl LeaseShare {
    /// The most accounts that one process should hold.
    #[must_use]
    pub fn per_process(self) -> usize {
        let processes = self.processes.max(1);
        usize::try_from((self.accounts + processes - 1) / processes).unwrap_or(0)
    }
}

impl Store {
    /// The names of all processes in the list, dead ones too.
    pub async fn process_names(&self) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT name FROM process ORDER BY id").fetch_all(self.db.pool()).await?)
    }

    /// Removes a process that has ended from the list; its leases are free at once.
    pub async fn forget_process(&self, name: &str) -> Result<(), DbError> {
        let found = sqlx::query_scalar!("SELECT id FROM process WHERE name = $1", name)
            .fetch_all(self.db.pool())
            .await?;
        // Unlike those of a process that leaves, its requests have ended.
        sqlx::query!("DELETE FROM registration_lease WHERE owner = ANY($1)", &found)
            .execute(self.db.pool())
            .await?;
        let mut tx = self.begin().await?;
        tx.free_webhooks(&found).await?;
        tx.commit().await?;
        self.remove_processes(&found).await
    }

    /// Adds this process to the list, with a unique name and the networks that it runs.
    pub async fn join_process(&self, name: &str, networks: &[String]) -> Result<ProcessId, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO process (name, networks, held) VALUES ($1, $2, '{}') RETURNING id",
            name,
            networks
        )
        .fetch_one(self.db.pool())
        .await?;
        Ok(ProcessId(id))
    }

    /// Renews the heartbeat of the process. False: it came too late, and the process must join again.
    pub async fn heartbeat(&self, process: ProcessId) -> Result<bool, DbError> {
        let updated = sqlx::query!(
            "UPDATE process SET heartbeat_at = clock_timestamp()
             WHERE id = $1 AND heartbeat_at > clock_timestamp() - make_interval(secs => $2)",
            process.0,
            LEASE_SECONDS
        )
        .execute(self.db.pool())
        .await?;
        Ok(updated.rows_affected() == 1)
    }

    /// Removes the process from the list; its leases on accounts are free at once. Its webhooks it gives back itself, when
    /// their requests have ended.
    pub async fn leave_process(&self, process: ProcessId) -> Result<(), DbError> {
        self.remove_processes(&[process.0]).await
    }

    /// Removes processes without a heartbeat for ten minutes.
    pub async fn prune_processes(&self) -> Result<(), DbError> {
        let silent = sqlx::query_scalar!(
            "SELECT id FROM process WHERE heartbeat_at < clock_timestamp() - interval '10 minutes'"
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut tx = self.begin().await?;
        tx.free_webhooks(&silent).await?;
        tx.commit().await?;
        self.remove_processes(&silent).await
    }

    /// Frees the leases first, in the order in which counters are locked: deleting a process sets their owner to null in no
    /// order, while the process is locked, and a statement that holds a counter may have to read the process.
    async fn remove_processes(&self, processes: &[i64]) -> Result<(), DbError> {
        if processes.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query!(
            "WITH held AS (
                SELECT c.id FROM (
                    SELECT id FROM (SELECT id FROM account_counter WHERE owner = ANY($1) OFFSET 0) owned
                    ORDER BY id OFFSET 0) owned
                CROSS JOIN LATERAL (
                    SELECT id FROM account_counter WHERE id = owned.id AND owner = ANY($1) FOR NO KEY UPDATE) c
             )
             UPDATE account_counter SET owner = NULL WHERE id = ANY(ARRAY(SELECT id FROM held))",
            processes
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!("DELETE FROM process WHERE id = ANY($1)", processes).execute(&mut *tx.inner).await?;
        tx.commit().await
    }

    /// The share over all networks.
    pub async fn share(&self) -> Result<LeaseShare, DbError> {
        Ok(sqlx::query_as!(
            LeaseShare,
            r#"SELECT (SELECT count(*) FROM account WHERE registered_at IS NOT NULL) AS "accounts!",
                      (SELECT count(*) FROM process
                       WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $1)) AS "processes!""#,
            LEASE_SECONDS
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// The share of each of these networks: of the accounts that processes say they hold, and of those that nobody holds
    /// (of more than [`FREE_LIMIT`] the rest follows when these are held).
    pub async fn shares(&self, networks: &[String]) -> Result<Vec<(String, LeaseShare)>, DbError> {
        let rows = sqlx::query!(
            r#"WITH living_process AS MATERIALIZED (
                SELECT id, networks, held FROM process
                WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $2)
             )
             SELECT n.name AS "name!",
                    (SELECT coalesce(sum(CASE WHEN p.held IS NOT NULL THEN coalesce((p.held->>n.name)::bigint, 0)
                                         ELSE (SELECT count(*) FROM account_counter c
                                               WHERE c.owner = p.id AND c.network = n.name) END), 0)::bigint
                     FROM living_process p)
                    + (SELECT count(*) FROM (
                         SELECT 1 FROM account_counter
                         WHERE network = n.name AND owner IS NULL LIMIT $3) unheld)
                    + (SELECT count(*) FROM (
                         SELECT 1 FROM account_counter
                         WHERE owner = ANY(ARRAY(SELECT id FROM process EXCEPT SELECT id FROM living_process))
                           AND network = n.name LIMIT $3) left_over) AS "accounts!",
                    (SELECT count(*) FROM living_process p
                     WHERE p.networks IS NULL OR n.name = ANY(p.networks)) AS "processes!"
             FROM unnest($1::text[]) AS n (name)"#,
            networks,
            LEASE_SECONDS,
            FREE_LIMIT
        )
        .fetch_all(self.db.pool())
        .await?;
        let share = |accounts, processes| LeaseShare { accounts, processes };
        Ok(rows.into_iter().map(|row| (row.name, share(row.accounts, row.processes))).collect())
    }

    /// Claims up to `limit` registered accounts of `networks` that no living process holds.
    pub async fn claim_leases(
        &self,
        process: ProcessId,
        networks: &[String],
        limit: i64,
    ) -> Result<Vec<Lease>, DbError> {
        let rows = sqlx::query!(
            r#"WITH living_process AS (
                SELECT id FROM process WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $4)
             ), free_counter AS (
                -- Each by its own index: those that nobody holds, and those of processes that have ended.
                SELECT unheld.id FROM unnest($2::text[]) AS n (name) CROSS JOIN LATERAL (
                    SELECT id FROM account_counter WHERE network = n.name AND owner IS NULL
                    ORDER BY id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) unheld
                UNION ALL
                SELECT left_over.id FROM (
                    SELECT id FROM account_counter
                    WHERE owner = ANY(ARRAY(SELECT id FROM process EXCEPT SELECT id FROM living_process))
                      AND network = ANY($2)
                    LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) left_over
             ), free_account AS (
                SELECT free.id AS counter_id, account.id AS account_id
                FROM (SELECT id FROM free_counter LIMIT $3) free CROSS JOIN LATERAL (
                    SELECT id FROM account
                    WHERE counter_id = free.id AND registered_at IS NOT NULL LIMIT 1) account
             ), claimed_lease AS (
                UPDATE account_counter counter SET owner = $1, fence = counter.fence + 1
                FROM free_account free
                CROSS JOIN LATERAL (
                    SELECT ctid AS place FROM account_counter WHERE id = free.counter_id LIMIT 1) old
                WHERE counter.ctid = old.place AND $1 IN (SELECT id FROM living_process)
                RETURNING counter.id AS counter_id, counter.network, free.account_id, counter.fence
             ), updated_process AS (
                UPDATE process SET held = coalesce(held, '{}') || (
                    SELECT coalesce(jsonb_object_agg(network, coalesce((held->>network)::bigint, 0) + count), '{}')
                    FROM (SELECT network, count(*) FROM claimed_lease GROUP BY network) claimed)
                WHERE id = $1 AND EXISTS (SELECT 1 FROM claimed_lease)
             ), updated_account AS (
                -- The last holder's connection has ended; a state that its network caused (logged out, wait) stays.
                UPDATE account SET session_state = 'starting', session_since = clock_timestamp()
                WHERE id = ANY(ARRAY(SELECT account_id FROM claimed_lease))
                  AND session_state IN ('connecting', 'catching_up', 'online')
             )
             SELECT counter_id AS "counter!", account_id AS "account!", fence AS "fence!" FROM claimed_lease"#,
            process.0,
            networks,
            limit,
            LEASE_SECONDS
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Lease {
                account: AccountId(row.account),
                counter: CounterId(row.counter),
                process,
                fence: row.fence,
            })
            .collect())
    }

    /// The leases that a process still holds, by counter and fence.
    pub async fn held_leases(&self, process: ProcessId) -> Result<Vec<(CounterId, i64)>, DbError> {
        let rows = sqlx::query!("SELECT id, fence FROM account_counter WHERE owner = $1", process.0)
            .fetch_all(self.db.pool())
            .await?;
        Ok(rows.into_iter().map(|row| (CounterId(row.id), row.fence)).collect())
    }

    /// Corrects the numbers of accounts, by network, that a process holds. Claims and releases keep them up to date; only a
    /// lease that another process took away leaves them too high.
    pub async fn report_held(&self, process: ProcessId, held: &BTreeMap<&str, usize>) -> Result<(), DbError> {
        let held = serde_json::to_value(held)
            .map_err(|error| DbError::Corrupt(format!("the numbers of leases cannot be written: {error}")))?;
        sqlx::query!("UPDATE process SET held = $2 WHERE id = $1 AND held <> $2", process.0, held)
            .execute(self.db.pool())
            .await?;
        Ok(())
    }

    /// Frees leases, by counter and fence, so that another process may claim them. A lease that belongs to another process
    /// already is no error.
    pub async fn release_leases(
        &self,
        process: ProcessId,
        leases: &[(CounterId, i64)],
    ) -> Result<(), DbError> {
        let (counters, fences): (Vec<i64>, Vec<i64>) =
            leases.iter().map(|(counter, fence)| (counter.0, *fence)).unzip();
        // In the order in which every transaction locks counters.
        sqlx::query!(
            "WITH held AS (
                SELECT c.id FROM (
                    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS l (id, fence) ORDER BY id OFFSET 0) lease
                CROSS JOIN LATERAL (
                    SELECT id FROM account_counter
                    WHERE id = lease.id AND fence = lease.fence AND owner IS NOT DISTINCT FROM $3
                    FOR NO KEY UPDATE) c
             ), released AS (
                UPDATE account_counter SET owner = NULL WHERE id = ANY(ARRAY(SELECT id FROM held)) RETURNING network
             )
             UPDATE process SET held = held || (
                SELECT jsonb_object_agg(network, greatest(coalesce((held->>network)::bigint, 0) - count, 0))
                FROM (SELECT network, count(*) FROM released WHERE network IS NOT NULL GROUP BY network) freed)
             WHERE id = $3 AND EXISTS (SELECT 1 FROM released WHERE network IS NOT NULL)",
            &counters,
            &fences,
            process.0
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// The topics of the work that accounts leased to this process have: what polling finds when a wake-up was lost.
    pub async fn accounts_with_work(&self, process: ProcessId) -> Result<Vec<Topic>, DbError> {
        // From the work to its owner: most accounts have none. Where an account may have many rows, the recursive
        // queries jump from one account to the next. Times are compared with `statement_timestamp()`, because an index cannot
        // serve `clock_timestamp()`, which changes during the statement.
        let rows = sqlx::query!(
            r#"WITH RECURSIVE sender AS (
                (SELECT account_id FROM outbox ORDER BY account_id LIMIT 1)
                UNION ALL
                SELECT next.account_id FROM sender last CROSS JOIN LATERAL (
                    SELECT account_id FROM outbox WHERE account_id > last.account_id
                    ORDER BY account_id LIMIT 1) next
             ), reader AS (
                (SELECT account_id FROM receipt_outbox ORDER BY account_id LIMIT 1)
                UNION ALL
                SELECT next.account_id FROM reader last CROSS JOIN LATERAL (
                    SELECT account_id FROM receipt_outbox WHERE account_id > last.account_id
                    ORDER BY account_id LIMIT 1) next
             ), receiver AS (
                (SELECT account_id FROM message_media WHERE retry_at IS NOT NULL ORDER BY account_id LIMIT 1)
                UNION ALL
                SELECT next.account_id FROM receiver last CROSS JOIN LATERAL (
                    SELECT account_id FROM message_media WHERE retry_at IS NOT NULL AND account_id > last.account_id
                    ORDER BY account_id LIMIT 1) next
             ), viewer AS (
                (SELECT account_id FROM pending_photo ORDER BY account_id LIMIT 1)
                UNION ALL
                SELECT next.account_id FROM viewer last CROSS JOIN LATERAL (
                    SELECT account_id FROM pending_photo WHERE account_id > last.account_id
                    ORDER BY account_id LIMIT 1) next
             )
             SELECT account.id, work.kind AS "kind!" FROM (
                SELECT account_id, 'work' AS kind FROM sender WHERE EXISTS (
                    SELECT 1 FROM (
                        -- By account and message: an index by the message alone would lead through all accounts.
                        SELECT retry_at FROM outbox
                        WHERE account_id BETWEEN sender.account_id AND sender.account_id
                        ORDER BY account_id, message_id LIMIT $2) oldest
                    WHERE retry_at <= statement_timestamp() OFFSET 0)
                UNION SELECT account_id, 'work' FROM outbox WHERE expires_at <= statement_timestamp()
                UNION SELECT account_id, 'work' FROM reader
                UNION SELECT account_id, 'work' FROM desired_state WHERE applied < version
                UNION SELECT account_id, 'files' FROM receiver WHERE EXISTS (
                    SELECT 1 FROM message_media
                    WHERE account_id = receiver.account_id AND retry_at <= statement_timestamp() OFFSET 0)
                UNION SELECT account_id, 'files' FROM viewer WHERE EXISTS (
                    SELECT 1 FROM pending_photo
                    WHERE account_id = viewer.account_id AND retry_at <= statement_timestamp() OFFSET 0)
                UNION SELECT account_id, 'commands' FROM outbox WHERE expires_at <= statement_timestamp()
                UNION SELECT account_id, 'commands' FROM command
                      WHERE state IN ('waiting', 'taken') AND deadline > clock_timestamp()
             ) work
             CROSS JOIN LATERAL (SELECT id, counter_id FROM account WHERE id = work.account_id LIMIT 1) account
             CROSS JOIN LATERAL (SELECT owner FROM account_counter WHERE id = account.counter_id LIMIT 1) counter
             WHERE counter.owner IS NOT DISTINCT FROM $1"#,
            process.0,
            OLDEST
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| match row.kind.as_str() {
                "commands" => topic::commands(AccountId(row.id)),
                "files" => topic::files(AccountId(row.id)),
                _ => topic::work(AccountId(row.id)),
            })
            .collect())
    }
}
