//! The fixture: database, networks and processes of one test.

pub mod api;
mod chats;
mod codes;
mod database;

pub use codes::CODE;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tempfile::TempDir;
use windu::db::Db;
use windu::domain::{Account, PhoneNumber, SessionState, UserId};
use windu::lifecycle::Lifecycle;
use windu::secrets::{self, MasterKey};
use windu::sessions::{Connectors, RegisterError, Sessions, Timeouts};
use windu::store::{JournalEntry, Store};
use windu::upstream::SendFailure;
use windu::upstream::local::Local;
use windu::upstream::local::network::LocalNet;

use crate::scripted::{Line, NETWORK, PERSONS, PRIVATE_NETWORK, Private, Scripted};
use crate::support::media;
use crate::support::postgres::Database;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Longer than any test.
pub const A_DAY: Duration = Duration::from_hours(24);

pub struct World {
    pub pool: PgPool,
    pub network: Scripted,
    /// The scripted network of persons.
    pub persons: Scripted,
    database: Database,
    keys: MasterKey,
    folder: TempDir,
}

/// One process of the program. It ends with the test.
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
        let (network, persons) = (Scripted::default(), Scripted::of_persons());
        Self { pool, network, persons, database, keys, folder }
    }

    /// A process that runs sessions.
    pub fn process(&self) -> Process {
        self.process_with(Timeouts::default())
    }

    pub fn process_with(&self, timeouts: Timeouts) -> Process {
        let process = self.idle_process(timeouts);
        process.sessions.run(process.name.clone(), &process.lifecycle);
        process
    }

    /// A process that runs sessions of these networks only.
    pub fn process_on(&self, networks: &[&str]) -> Process {
        let process = self.program(Timeouts::default(), networks);
        process.sessions.run(process.name.clone(), &process.lifecycle);
        process
    }

    /// A process that serves the API and runs no sessions.
    pub fn idle_process(&self, timeouts: Timeouts) -> Process {
        self.program(timeouts, &[NETWORK, PERSONS, PRIVATE_NETWORK, "local"])
    }

    fn program(&self, timeouts: Timeouts, networks: &[&str]) -> Process {
        let lifecycle = Lifecycle::default();
        let store = self.store(8);
        store.db().connect_notifications(&lifecycle);
        let media = media::in_folder(&store, self.folder.path());
        let mut connectors = Connectors::default();
        if networks.contains(&NETWORK) {
            connectors.add(Arc::new(self.network.clone()));
        }
        if networks.contains(&PRIVATE_NETWORK) {
            connectors.add(Arc::new(Private(self.network.clone())));
        }
        if networks.contains(&PERSONS) {
            connectors.add(Arc::new(self.persons.clone()));
        }
        if networks.contains(&"local") {
            let (net, blobs) = (LocalNet::new(store.db().clone()), Arc::new(media.clone()));
            connectors.add(Arc::new(Local::new(net, blobs, lifecycle.clone())));
        }
        let sessions = Sessions::new(store.clone(), connectors, self.keys.clone(), media);
        let sessions = sessions.with_timeouts(timeouts);
        Process { store, sessions, lifecycle, name: secrets::random_id(), pool: self.pool.clone() }
    }

    /// A store with its own pool of `connections` connections.
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

    /// Makes `count` registered accounts on a network, which no process runs yet.
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

    pub fn line(&self, account: &Account) -> Line {
        let network = if account.network == PERSONS { &self.persons } else { &self.network };
        network.line(&account.number)
    }
}

impl Process {
    /// A new user's number on the scripted network, online.
    pub async fn online(&self, world: &World, number: &str) -> Account {
        let account = self.registered(world, number).await;
        self.until_state(&account, "online").await;
        account
    }

    /// A new user's number on the scripted network; the script decides about its session.
    pub async fn registered(&self, world: &World, number: &str) -> Account {
        let account = self.waiting(world, world.user().await, number, NETWORK).await;
        self.sessions.register(&account).await.unwrap();
        self.fresh(&account).await
    }

    /// A new user's number on the network that shows each account other people, online.
    pub async fn private(&self, world: &World, number: &str) -> Account {
        let account = self.waiting(world, world.user().await, number, PRIVATE_NETWORK).await;
        self.sessions.register(&account).await.unwrap();
        self.until_state(&account, "online").await;
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

    /// Lets the user prove the number again.
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

    pub async fn set_nickname(&self, account: &Account, nickname: &str) {
        let mut tx = self.store.begin().await.unwrap();
        tx.set_nickname(account, nickname).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Waits until the process has looked for work `count` times: what did not happen by then does not happen. Each
    /// attempt to send the message of a probe account is one time.
    pub async fn sweeps(&self, world: &World, count: usize) {
        static PROBES: AtomicU64 = AtomicU64::new(15_559_990_000);
        let probe = self.online(world, &PROBES.fetch_add(1, Ordering::Relaxed).to_string()).await;
        world.line(&probe).plan_send("probe", &vec![SendFailure::RateLimited(Duration::ZERO); count]);
        let id = self.send(&probe, "15559000000", "probe").await;
        self.until_message(&probe, "15559000000", &id, "sent").await;
    }

    /// Stops the process, as a signal would, and waits for its end.
    pub async fn stop(&self) {
        assert!(tokio::time::timeout(DEADLINE, self.lifecycle.drained()).await.expect("an orderly stop"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
    }
}
