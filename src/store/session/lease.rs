//! Running programs, their heartbeats, and the leases on accounts.
//!
//! A process lives while its heartbeat is younger than [`LEASE_SECONDS`] by PostgreSQL's clock. A claim raises the
//! fence in the same row that every write of a session locks, so an earlier holder writes nothing any more.

use crate::db::DbError;
use crate::db::Topic;
use crate::domain::{AccountId, CounterId, Lease, ProcessId};
use crate::store::{Store, topic};

/// A process without a heartbeat for so long has lost its leases.
pub const LEASE_SECONDS: f64 = 15.0;

/// How the work is shared among the processes that live.
#[derive(Clone, Copy, Debug)]
pub struct LeaseShare {
    /// Accounts that need a session.
    pub accounts: i64,
    /// Processes that live and may run them.
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
    /// The names of the processes that are not known to have ended.
    pub async fn process_names(&self) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT name FROM process ORDER BY id").fetch_all(self.db.pool()).await?)
    }

    /// Takes a process that has ended off the list; its leases are free at once.
    pub async fn forget_process(&self, name: &str) -> Result<(), DbError> {
        let found = sqlx::query_scalar!("SELECT id FROM process WHERE name = $1", name)
            .fetch_all(self.db.pool())
            .await?;
        self.forget(&found).await
    }

    /// Announces this process under a name that tells it from all others, and the networks that it runs.
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

    /// Says that the process lives. False: it was given up and must join anew.
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

    /// Takes the process off the list; its leases are free at once.
    pub async fn leave_process(&self, process: ProcessId) -> Result<(), DbError> {
        self.forget(&[process.0]).await
    }

    /// Forgets processes that have been silent for ten minutes.
    pub async fn prune_processes(&self) -> Result<(), DbError> {
        let silent = sqlx::query_scalar!(
            "SELECT id FROM process WHERE heartbeat_at < clock_timestamp() - interval '10 minutes'"
        )
        .fetch_all(self.db.pool())
        .await?;
        self.forget(&silent).await
    }

    /// Frees the leases first: whoever writes about an account may have to look at the process that it is leased to, and
    /// holds the account's counter then.
    async fn forget(&self, processes: &[i64]) -> Result<(), DbError> {
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

    /// How many accounts there are on all networks, and how many processes.
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

    /// How the accounts of each of these networks are shared among the processes that run it.
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
            r#"WITH living AS (
                SELECT id FROM process WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $4)
             ), due AS (
                SELECT c.id, a.id AS account_id FROM account a JOIN account_counter c ON c.id = a.counter_id
                WHERE a.registered_at IS NOT NULL AND a.network = ANY($2)
                  AND (c.owner IS NULL OR c.owner NOT IN (SELECT id FROM living))
                ORDER BY c.id LIMIT $3 FOR NO KEY UPDATE OF c SKIP LOCKED
             ), claimed AS (
                UPDATE account_counter c SET owner = $1, fence = c.fence + 1 FROM due
                WHERE c.id = due.id AND $1 IN (SELECT id FROM living)
                RETURNING c.id AS counter_id, due.account_id, c.fence
             ), shown AS (
                -- The last holder's connection is over; what the network told it (logged out, wait) still holds.
                UPDATE account a SET session_state = 'starting', session_since = clock_timestamp()
                FROM claimed WHERE a.id = claimed.account_id
                  AND a.session_state IN ('connecting', 'catching_up', 'online')
             )
             SELECT counter_id AS "counter!", account_id AS "account!", fence AS "fence!" FROM claimed"#,
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

    /// Gives leases back, by counter and fence, so that another process may claim them.
    ///
    /// # Errors
    /// A lease that had passed on already is no error.
    pub async fn release_leases(
        &self,
        process: ProcessId,
        leases: &[(CounterId, i64)],
    ) -> Result<(), DbError> {
        let (counters, fences): (Vec<i64>, Vec<i64>) =
            leases.iter().map(|(counter, fence)| (counter.0, *fence)).unzip();
        // Locked in the order of all who lock several.
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

    /// Which accounts that are leased to this process have something to do, and of which kind: the sweep behind all
    /// wake-ups.
    pub async fn accounts_with_work(&self, process: ProcessId) -> Result<Vec<Topic>, DbError> {
        // From the work to its owner: most accounts have none.
        let rows = sqlx::query!(
            r#"SELECT a.id, w.kind AS "kind!" FROM (
                   SELECT account_id, 'work' AS kind FROM outbox
                         WHERE retry_at <= clock_timestamp() OR expires_at <= clock_timestamp()
                   UNION SELECT account_id, 'work' FROM receipt_outbox
                   UNION SELECT account_id, 'work' FROM desired_state WHERE applied < version
                   UNION SELECT account_id, 'files' FROM message_media WHERE retry_at <= clock_timestamp()
                   UNION SELECT account_id, 'files' FROM pending_photo WHERE retry_at <= clock_timestamp()
                   UNION SELECT account_id, 'attend' FROM outbox WHERE expires_at <= clock_timestamp()
                   UNION SELECT account_id, 'attend' FROM command
                         WHERE state IN ('waiting', 'taken') AND deadline > clock_timestamp()
               ) w JOIN account a ON a.id = w.account_id JOIN account_counter c ON c.id = a.counter_id
               WHERE c.owner IS NOT DISTINCT FROM $1"#,
            process.0
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| match row.kind.as_str() {
                "attend" => topic::commands(AccountId(row.id)),
                "files" => topic::files(AccountId(row.id)),
                _ => topic::work(AccountId(row.id)),
            })
            .collect())
    }
}
