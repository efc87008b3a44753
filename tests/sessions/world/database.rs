//! Direct access of a test to its database.

use windu::domain::{Account, Lease, ProcessId};

use super::World;
use crate::support::postgres::OpenTransaction;
use crate::support::wait::{DEADLINE, wait_until_async};

impl World {
    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn until_count(&self, statement: &'static str, expected: i64) {
        let reached = async || (self.count(statement).await == expected).then_some(());
        wait_until_async(statement, DEADLINE, reached).await;
    }

    /// One text, read over a connection that stays open.
    pub async fn pool_text(&self, statement: &'static str) -> String {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    /// The database, for connections of the test's own.
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// Runs any SQL.
    pub fn sql(&self, text: &str) -> String {
        self.database.sql(text)
    }

    /// All rows of all tables as text.
    pub fn dump(&self) -> String {
        let statement = self.sql(
            "SELECT string_agg(format('SELECT line::text FROM %I line', relname), ' UNION ALL ') FROM pg_class
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        );
        self.sql(&statement)
    }

    /// Runs SQL in a transaction that stays open, with the locks that it took.
    pub fn hold(&self, text: &str) -> OpenTransaction {
        self.database.hold(text)
    }

    /// Makes the database unavailable.
    pub fn cut(&self) {
        self.database.go_away();
    }

    /// Makes it available again.
    pub fn mend(&self) {
        self.database.come_back();
    }

    /// From now on records each state of a session.
    pub fn log_states(&self) {
        self.sql(
            "CREATE TABLE state_log (id bigint GENERATED ALWAYS AS IDENTITY, account_id bigint, state text);
             CREATE FUNCTION log_state() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO state_log (account_id, state) VALUES (NEW.id, NEW.session_state); RETURN NULL; END $$;
             CREATE TRIGGER log_state AFTER UPDATE OF session_state ON account
             FOR EACH ROW EXECUTE FUNCTION log_state()",
        );
    }

    pub async fn logged_states(&self, account: &Account) -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM state_log WHERE account_id = $1 ORDER BY id")
            .bind(account.id.0)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// The remaining time of each backoff when it was published, in milliseconds.
    pub async fn waits(&self, account: &Account) -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT (extract(epoch FROM (payload ->> 'until')::timestamptz - at) * 1000)::bigint FROM event
             WHERE counter_id = $1 AND payload ->> 'state' = 'waiting' ORDER BY seq",
        )
        .bind(account.counter.0)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// Runs a statement about one account and returns the number of changed rows.
    pub async fn change(&self, account: &Account, statement: &'static str) -> u64 {
        sqlx::query(statement).bind(account.id.0).execute(&self.pool).await.unwrap().rows_affected()
    }

    /// Queues `count` messages in the only chat of an account.
    pub async fn fill_outbox(&self, account: &Account, count: i64) {
        let statement = "WITH filled AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT h.account_id, h.id, 'f' || n, 'queued', 't', 'text', '', now()
            FROM chat h, generate_series(1, $2) n WHERE h.account_id = $1 RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 day' FROM filled";
        let filled = sqlx::query(statement).bind(account.id.0).bind(count).execute(&self.pool).await.unwrap();
        assert_eq!(i64::try_from(filled.rows_affected()), Ok(count));
    }

    /// Reads one value about one account.
    pub async fn read<T>(&self, account: &Account, statement: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(statement).bind(account.id.0).fetch_one(&self.pool).await.unwrap()
    }

    /// The process that holds the account's lease.
    pub async fn owner(&self, account: &Account) -> Option<ProcessId> {
        let owner: Option<i64> = self
            .read(
                account,
                "SELECT c.owner FROM account a JOIN account_counter c ON c.id = a.counter_id WHERE a.id = $1",
            )
            .await;
        owner.map(ProcessId)
    }

    /// The account's lease as it is held now.
    pub async fn lease(&self, account: &Account) -> Lease {
        let process = self.owner(account).await.expect("a holder");
        let fence = self
            .read(
                account,
                "SELECT c.fence FROM account a JOIN account_counter c ON c.id = a.counter_id WHERE a.id = $1",
            )
            .await;
        Lease { account: account.id, counter: account.counter, process, fence }
    }

    /// Gives the account's lease to a process that lives and does nothing.
    pub async fn steal_lease(&self, account: &Account) {
        let statement = "WITH thief AS (INSERT INTO process (name) VALUES ('thief') RETURNING id)
             UPDATE account_counter c SET owner = thief.id, fence = fence + 1 FROM account a, thief
             WHERE c.id = a.counter_id AND a.id = $1";
        assert_eq!(self.change(account, statement).await, 1);
    }
}
