//! One test's database, networks and processes, with the few rows that they need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tempfile::TempDir;
use windu::db::Db;
use windu::domain::{Account, ChatName, Content, Lease, PhoneNumber, ProcessId, SessionState, UserId};
use windu::lifecycle::Lifecycle;
use windu::secrets::{self, MasterKey};
use windu::sessions::{Connectors, RegisterError, Sessions, Timeouts};
use windu::store::{Accepted, JournalEntry, Message, NewMessage, NewPeer, Page, Peer, Store};
use windu::upstream::SendFailure;
use windu::upstream::local::Local;
use windu::upstream::local::network::LocalNet;

use crate::scripted::{Line, NETWORK, Scripted};
use crate::support::media;
use crate::support::postgres::{Database, Held};
use crate::support::wait::{DEADLINE, wait_until_async};

/// Longer than any test waits for what must happen by itself.
pub const A_DAY: Duration = Duration::from_hours(24);

pub struct World {
    pub pool: PgPool,
    pub network: Scripted,
    database: Database,
    keys: MasterKey,
    folder: TempDir,
}

/// What one program run has. It ends with the test.
pub struct Process {
    pub store: Store,
    pub sessions: Sessions,
    pub lifecycle: Lifecycle,
    name: String,
    pool: PgPool,
}

impl World {
    pub async fn new() -> Self {
        let database = Database::create();
        let pool = PgPool::connect_with(database.url().parse().unwrap()).await.unwrap();
        let keys = MasterKey::from_base64(&MasterKey::generate_base64(), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { pool, network: Scripted::default(), database, keys, folder }
    }

    /// A program that runs sessions.
    pub fn process(&self) -> Process {
        self.process_with(Timeouts::default())
    }

    pub fn process_with(&self, patience: Timeouts) -> Process {
        let process = self.idle_process(patience);
        process.sessions.run(process.name.clone(), &process.lifecycle);
        process
    }

    /// A program that runs sessions of these networks only.
    pub fn process_on(&self, networks: &[&str]) -> Process {
        let process = self.program(Timeouts::default(), networks);
        process.sessions.run(process.name.clone(), &process.lifecycle);
        process
    }

    /// A program that serves the API and runs no sessions yet.
    pub fn idle_process(&self, patience: Timeouts) -> Process {
        self.program(patience, &[NETWORK, "local"])
    }

    fn program(&self, patience: Timeouts, networks: &[&str]) -> Process {
        let lifecycle = Lifecycle::default();
        let store = self.store(8);
        store.db().connect_notifications(&lifecycle);
        let media = media::in_folder(&store, self.folder.path());
        let mut connectors = Connectors::default();
        if networks.contains(&NETWORK) {
            connectors.add(Arc::new(self.network.clone()));
        }
        if networks.contains(&"local") {
            let (net, blobs) = (LocalNet::new(store.db().clone()), Arc::new(media.clone()));
            connectors.add(Arc::new(Local::new(net, blobs, lifecycle.clone())));
        }
        let sessions = Sessions::new(store.clone(), connectors, self.keys.clone(), media);
        let sessions = sessions.with_timeouts(patience);
        Process { store, sessions, lifecycle, name: secrets::random_id(), pool: self.pool.clone() }
    }

    /// The database through a pool of its own, of so many connections.
    pub fn store(&self, connections: u32) -> Store {
        Store::new(Db::from_url(&self.database.url(), connections).unwrap())
    }

    pub async fn user(&self) -> UserId {
        let id =
            sqlx::query_scalar("INSERT INTO windu_user (name, password_hash) VALUES ($1, '-') RETURNING id")
                .bind(secrets::random_id())
                .fetch_one(&self.pool)
                .await
                .unwrap();
        UserId(id)
    }

    /// So many registered accounts on a network, which nobody runs yet.
    pub async fn crowd(&self, network: &str, count: i64) {
        static NUMBERS: AtomicU64 = AtomicU64::new(15_558_000_000);
        let numbers: Vec<String> =
            (0..count).map(|_| NUMBERS.fetch_add(1, Ordering::Relaxed).to_string()).collect();
        let sealed: Vec<Vec<u8>> =
            numbers.iter().map(|number| self.keys.seal("credentials", number.as_bytes(), b"login")).collect();
        sqlx::query(
            "WITH line AS (SELECT * FROM unnest($1::text[], $2::bytea[]) AS l (number, credentials)
             ), counter AS (
                INSERT INTO account_counter (user_id, number, epoch) SELECT $3, number, number FROM line
                RETURNING id, number
             ), subscriber AS (
                INSERT INTO localnet_subscriber (number, incarnation)
                SELECT number, 'login' FROM line WHERE $4 = 'local')
             INSERT INTO account (user_id, number, counter_id, network, proved_at, registered_at, credentials,
                                  session_state)
             SELECT $3, number, c.id, $4, now(), now(), credentials, 'starting' FROM line JOIN counter c USING (number)",
        )
        .bind(&numbers)
        .bind(&sealed)
        .bind(self.user().await.0)
        .bind(network)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn until_count(&self, statement: &'static str, expected: i64) {
        let reached = async || (self.count(statement).await == expected).then_some(());
        wait_until_async(statement, DEADLINE, reached).await;
    }

    /// Runs any SQL.
    pub fn sql(&self, text: &str) -> String {
        self.database.sql(text)
    }

    /// Runs SQL in a transaction that stays open, with the locks that it took.
    pub fn hold(&self, text: &str) -> Held {
        self.database.hold(text)
    }

    /// Takes the database away from everybody.
    pub fn cut(&self) {
        self.database.go_away();
    }

    /// Gives it back.
    pub fn mend(&self) {
        self.database.come_back();
    }

    /// From now on each state that an account's session publishes is noted.
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

    /// How long each pause was when it was published, in milliseconds.
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

    /// Runs a statement about one account and gives the number of rows that it changed.
    pub async fn change(&self, account: &Account, statement: &'static str) -> u64 {
        sqlx::query(statement).bind(account.id.0).execute(&self.pool).await.unwrap().rows_affected()
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

    pub fn line(&self, account: &Account) -> Line {
        self.network.line(&account.number)
    }
}

impl Process {
    /// A new user's number on the scripted network, online.
    pub async fn online(&self, world: &World, number: &str) -> Account {
        let account = self.registered(world, number).await;
        self.until_state(&account, "online").await;
        account
    }

    /// A new user's number on the scripted network; what its session does is up to the plan.
    pub async fn registered(&self, world: &World, number: &str) -> Account {
        let account = self.waiting(world, world.user().await, number, NETWORK).await;
        self.sessions.register(&account).await.unwrap();
        self.fresh(&account).await
    }

    /// A new user's number on the local network, online.
    pub async fn local(&self, world: &World, number: &str) -> Account {
        let account = self.waiting(world, world.user().await, number, "local").await;
        self.sessions.register(&account).await.unwrap();
        self.until_state(&account, "online").await;
        self.fresh(&account).await
    }

    /// An account whose user has entered the right code.
    pub async fn waiting(&self, world: &World, user: UserId, number: &str, network: &str) -> Account {
        let number: PhoneNumber = number.parse().unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.create_account(user, &number, network, "").await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let account = self.store.account(user, Some(&number)).await.unwrap().unwrap();
        self.prove(world, &account).await;
        account
    }

    /// Lets the user prove the number once more.
    pub async fn prove(&self, world: &World, account: &Account) {
        let statement = "INSERT INTO verification_code (account_id, mac, method, expires_at)
             VALUES ($1, '', 'sms', now() + interval '10 minutes')";
        assert_eq!(world.change(account, statement).await, 1);
    }

    pub async fn register_again(&self, world: &World, account: &Account) -> Result<(), RegisterError> {
        self.prove(world, account).await;
        self.sessions.register(&self.fresh(account).await).await
    }

    /// The account as it is stored now.
    pub async fn fresh(&self, account: &Account) -> Account {
        self.store.account(account.user, Some(&account.number)).await.unwrap().expect("the account")
    }

    pub async fn state(&self, account: &Account) -> SessionState {
        self.fresh(account).await.session.state
    }

    pub async fn until_state(&self, account: &Account, name: &str) -> SessionState {
        wait_until_async(name, DEADLINE, async || {
            let state = self.state(account).await;
            (state.name() == name).then_some(state)
        })
        .await
    }

    pub async fn journal(&self, account: &Account) -> Vec<JournalEntry> {
        self.store.journal_entries(account.counter, 0, 100_000).await.unwrap()
    }

    /// The kinds of all entries, in order.
    pub async fn kinds(&self, account: &Account) -> Vec<String> {
        self.journal(account).await.into_iter().map(|entry| entry.kind).collect()
    }

    /// The entries of one kind.
    pub async fn entries(&self, account: &Account, kind: &str) -> Vec<serde_json::Value> {
        let entries = self.journal(account).await.into_iter().filter(|entry| entry.kind == kind);
        entries.map(|entry| entry.payload).collect()
    }

    pub async fn until_entries(&self, account: &Account, kind: &str, count: usize) -> Vec<serde_json::Value> {
        wait_until_async(&format!("{count} {kind}"), DEADLINE, async || {
            let entries = self.entries(account, kind).await;
            (entries.len() >= count).then_some(entries)
        })
        .await
    }

    pub async fn peer(&self, account: &Account, number: &str) -> Peer {
        let number: PhoneNumber = number.parse().unwrap();
        let connector = self.sessions.connector(&account.network).unwrap();
        let wanted = NewPeer { address: connector.address_of(&number).0, number: Some(number) };
        self.store.peers(&account.network, &[wanted]).await.unwrap().remove(0)
    }

    pub async fn add_contact(&self, account: &Account, number: &str, exists: bool) {
        let peer = self.peer(account, number).await;
        let mut tx = self.store.begin().await.unwrap();
        assert!(tx.add_contact(account, &peer, ("", ""), exists).await.unwrap());
        tx.commit().await.unwrap();
    }

    pub async fn set_nickname(&self, account: &Account, nickname: &str) {
        let mut tx = self.store.begin().await.unwrap();
        tx.set_nickname(account, nickname).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn block(&self, account: &Account, number: &str) {
        let peer = self.peer(account, number).await;
        let mut tx = self.store.begin().await.unwrap();
        assert!(tx.block(account, &peer).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Marks all received messages of a chat read; gives their number.
    /// Lets the account write to somebody, without a word to its network.
    pub async fn may_be_written_to(&self, account: &Account, peer: &Peer) {
        let statement = "INSERT INTO contact (account_id, peer_id, exists_there) VALUES ($1, $2, true)
             ON CONFLICT (account_id, peer_id) DO UPDATE SET exists_there = true";
        sqlx::query(statement).bind(account.id.0).bind(peer.id.0).execute(&self.pool).await.unwrap();
    }

    pub async fn mark_read(&self, account: &Account, contact: &str) -> u64 {
        let mut tx = self.store.begin().await.unwrap();
        let read = tx.mark_read(account, contact, None).await.unwrap();
        tx.commit().await.unwrap();
        read
    }

    pub async fn try_send(
        &self,
        account: &Account,
        to: &str,
        text: &str,
        time_to_live: Duration,
    ) -> Accepted {
        let peer = self.peer(account, to).await;
        self.may_be_written_to(account, &peer).await;
        let content = Content::Text(text.to_owned());
        let outgoing = NewMessage {
            named: true,
            id: &secrets::random_id(),
            peer: peer.id,
            chat: &ChatName::Contact(to.parse().unwrap()),
            content: &content,
            time_to_live,
        };
        self.store.accept_send(account, &outgoing, None).await.unwrap()
    }

    /// Sends a text and gives its id.
    pub async fn send(&self, account: &Account, to: &str, text: &str) -> String {
        match self.try_send(account, to, text, A_DAY).await {
            Accepted::Queued(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A chat's messages, oldest first.
    pub async fn messages(&self, account: &Account, chat: &str) -> Vec<Message> {
        let page = Page { limit: 100_000, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
        self.store.messages(account, chat, false, page).await.unwrap()
    }

    /// A chat's texts, oldest first.
    pub async fn texts(&self, account: &Account, chat: &str) -> Vec<String> {
        self.messages(account, chat)
            .await
            .into_iter()
            .filter_map(|message| message.content.text().map(str::to_owned))
            .collect()
    }

    pub async fn until_texts(&self, account: &Account, chat: &str, count: usize) -> Vec<String> {
        wait_until_async(&format!("{count} texts"), DEADLINE, async || {
            let texts = self.texts(account, chat).await;
            (texts.len() >= count).then_some(texts)
        })
        .await
    }

    /// One message of a chat.
    pub async fn message(&self, account: &Account, chat: &str, id: &str) -> Message {
        let messages = self.messages(account, chat).await;
        messages.into_iter().find(|message| message.id == id).expect("the message")
    }

    pub async fn until_message(&self, account: &Account, chat: &str, id: &str, state: &str) -> Message {
        wait_until_async(state, DEADLINE, async || {
            Some(self.message(account, chat, id).await).filter(|message| message.state.name() == state)
        })
        .await
    }

    /// Waits until the process has looked for work so often: what did not happen by then does not happen. Each
    /// attempt of another account's message takes one look.
    pub async fn sweeps(&self, world: &World, count: usize) {
        static PROBES: AtomicU64 = AtomicU64::new(15_559_990_000);
        let probe = self.online(world, &PROBES.fetch_add(1, Ordering::Relaxed).to_string()).await;
        world.line(&probe).plan_send("probe", &vec![SendFailure::RateLimited(Duration::ZERO); count]);
        let id = self.send(&probe, "15559000000", "probe").await;
        self.until_message(&probe, "15559000000", &id, "sent").await;
    }

    /// As a signal to stop, and its end.
    pub async fn stop(&self) {
        assert!(tokio::time::timeout(DEADLINE, self.lifecycle.drained()).await.expect("an orderly stop"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
    }
}
