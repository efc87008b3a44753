//! Processes, their heartbeats, and their leases on accounts.
//!
//! A process lives while its heartbeat is younger than [`LEASE_SECONDS`] by PostgreSQL's clock. A claim raises the fence
//! in the row that every write of a session locks, so the writes of an earlier holder fail.

use crate::db::DbError;
use crate::db::Topic;
use crate::domain::{AccountId, CounterId, Lease, ProcessId};
use crate::store::{Store, topic};

/// A process without a heartbeat for this time has lost its leases.
pub const LEASE_SECONDS: f64 = 15.0;

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
        self.remove_processes(&found).await
    }

    /// Adds this process to the list, with a unique name and the networks that it runs.
    pub async fn join_process(&self, name: &str, networks: &[String]) -> Result<ProcessId, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO process (name, networks) VALUES ($1, $2) RETURNING id",
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

    /// Removes the process from the list; its leases are free at once.
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
        self.remove_processes(&silent).await
    }

    /// Frees the leases first: a statement that holds an account's counter may have to read the process that it is leased
    /// to.
    async fn remove_processes(&self, processes: &[i64]) -> Result<(), DbError> {
        if processes.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query!(
            "WITH held AS (
                SELECT id FROM account_counter WHERE owner = ANY($1) ORDER BY id FOR NO KEY UPDATE
             )
             UPDATE account_counter c SET owner = NULL FROM held WHERE c.id = held.id",
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

    /// The share of each of these networks.
    pub async fn shares(&self, networks: &[String]) -> Result<Vec<(String, LeaseShare)>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT n.name AS "name!",
                      (SELECT count(*) FROM account a
                       WHERE a.registered_at IS NOT NULL AND a.network = n.name) AS "accounts!",
                      (SELECT count(*) FROM process p
                       WHERE p.heartbeat_at > clock_timestamp() - make_interval(secs => $2)
                         AND (p.networks IS NULL OR n.name = ANY(p.networks))) AS "processes!"
               FROM unnest($1::text[]) AS n (name)"#,
            networks,
            LEASE_SECONDS
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
             ), free_account AS (
                SELECT counter.id AS counter_id, account.id AS account_id
                FROM account JOIN account_counter counter ON counter.id = account.counter_id
                WHERE account.registered_at IS NOT NULL AND account.network = ANY($2)
                  AND (counter.owner IS NULL OR counter.owner NOT IN (SELECT id FROM living_process))
                ORDER BY counter.id LIMIT $3 FOR NO KEY UPDATE OF counter SKIP LOCKED
             ), claimed_lease AS (
                UPDATE account_counter counter SET owner = $1, fence = counter.fence + 1 FROM free_account free
                WHERE counter.id = free.counter_id AND $1 IN (SELECT id FROM living_process)
                RETURNING counter.id AS counter_id, free.account_id, counter.fence
             ), updated_account AS (
                -- The last holder's connection has ended; a state that its network caused (logged out, wait) stays.
                UPDATE account SET session_state = 'starting', session_since = clock_timestamp()
                FROM claimed_lease WHERE account.id = claimed_lease.account_id
                  AND account.session_state IN ('connecting', 'catching_up', 'online')
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
                SELECT c.id FROM account_counter c
                JOIN unnest($1::bigint[], $2::bigint[]) AS l (id, fence) ON l.id = c.id AND l.fence = c.fence
                WHERE c.owner IS NOT DISTINCT FROM $3 ORDER BY c.id FOR NO KEY UPDATE OF c
             )
             UPDATE account_counter c SET owner = NULL FROM held WHERE c.id = held.id",
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
        // From the work to its owner: most accounts have none.
        let rows = sqlx::query!(
            r#"SELECT account.id, work.kind AS "kind!" FROM (
                   SELECT account_id, 'work' AS kind FROM outbox
                         WHERE retry_at <= clock_timestamp() OR expires_at <= clock_timestamp()
                   UNION SELECT account_id, 'work' FROM receipt_outbox
                   UNION SELECT account_id, 'work' FROM desired_state WHERE applied < version
                   UNION SELECT account_id, 'files' FROM message_media WHERE retry_at <= clock_timestamp()
                   UNION SELECT account_id, 'files' FROM pending_photo WHERE retry_at <= clock_timestamp()
                   UNION SELECT account_id, 'commands' FROM outbox WHERE expires_at <= clock_timestamp()
                   UNION SELECT account_id, 'commands' FROM command
                         WHERE state IN ('waiting', 'taken') AND deadline > clock_timestamp()
               ) work
               JOIN account ON account.id = work.account_id
               JOIN account_counter counter ON counter.id = account.counter_id
               WHERE counter.owner IS NOT DISTINCT FROM $1"#,
            process.0
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
