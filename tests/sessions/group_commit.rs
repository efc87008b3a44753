//! Group commit: what many write at once costs none of them more than what they wrote themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use windu::db::DbError;
use windu::domain::{Account, ChatName, Content, Lease, ProcessId, ReceiptKind};
use windu::secrets;
use windu::sessions::Timeouts;
use windu::store::{
    Accepted, ImportedContact, Inbound, InboundKind, NewMessage, OUTBOX_LIMIT, Peer, Settlement, Store,
};

use crate::scripted::{NETWORK, long_ago};
use crate::world::{A_DAY, Process, World};

pub const BEN: &str = "15550100002";

/// Accounts that are registered and whose leases one process holds that does nothing: the test writes for it.
pub struct Ground {
    pub world: World,
    pub process: Process,
    owner: ProcessId,
    numbers: AtomicU64,
}

impl Ground {
    pub async fn new() -> Self {
        let world = World::new().await;
        let process = world.idle_process(Timeouts::default());
        let owner = world.count("INSERT INTO process (name) VALUES ('the test') RETURNING id").await;
        Self { world, process, owner: ProcessId(owner), numbers: AtomicU64::new(15_550_200_000) }
    }

    pub async fn account(&self) -> (Account, Lease) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed).to_string();
        let account = self.process.waiting(&self.world, self.world.user().await, &number, NETWORK).await;
        let register = "WITH leased AS (UPDATE account_counter SET owner = p.id FROM process p)
             UPDATE account SET registered_at = now() WHERE id = $1";
        assert_eq!(self.world.change(&account, register).await, 1);
        let fence =
            "SELECT fence FROM account_counter c JOIN account a ON a.counter_id = c.id WHERE a.id = $1";
        let fence = self.world.read(&account, fence).await;
        let lease = Lease { account: account.id, counter: account.counter, process: self.owner, fence };
        (self.process.fresh(&account).await, lease)
    }

    /// Somebody to whom all accounts there are may write.
    pub async fn peer(&self, account: &Account, number: &str) -> Peer {
        let peer = self.process.peer(account, number).await;
        let statement =
            "INSERT INTO contact (account_id, peer_id, exists_there) SELECT id, $1, true FROM account";
        sqlx::query(statement).bind(peer.id.0).execute(&self.world.pool).await.unwrap();
        peer
    }
}

/// Sends a text, whatever comes of it.
pub async fn send(store: &Store, from: &Account, to: &Peer, text: &str) -> Result<Accepted, DbError> {
    let content = Content::Text(text.to_owned());
    let (id, peer) = (&secrets::random_id(), to.id);
    let chat = &ChatName::Contact(to.public_id.parse().unwrap());
    let outgoing = NewMessage { named: true, id, peer, chat, content: &content, time_to_live: A_DAY };
    store.accept_send(from, &outgoing, None).await
}

fn received(from: &Peer, id: &str, text: &str) -> Inbound {
    let (network_id, content) = (id.to_owned(), Content::Text(text.to_owned()));
    let what = InboundKind::Message { network_id, content, sent_at: long_ago(), from_us: false, live: true };
    Inbound { peer: from.clone(), participant: None, what }
}

#[track_caller]
pub fn queued(sent: Result<Accepted, DbError>) {
    match sent {
        Ok(Accepted::Queued(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// What the database cannot take.
fn unstorable(ben: &Peer) -> Vec<Inbound> {
    let long = secrets::random_id().repeat(2) + &(0..400).map(|_| secrets::random_id()).collect::<String>();
    vec![received(ben, "bad", "a NUL: \0"), received(ben, "bad\0", "text"), received(ben, &long, "text")]
}

#[tokio::test]
async fn what_cannot_be_stored_harms_only_itself() {
    let ground = Ground::new().await;
    let store = &ground.process.store;
    let (account, lease) = ground.account().await;
    let ben = ground.peer(&account, BEN).await;
    let mut leases = Vec::new();
    for _ in 0..50 {
        leases.push(ground.account().await.1);
    }
    // The chats are there from now on: what follows is one transaction.
    let hello = [received(&ben, "hello", "hello")];
    for stored in
        join_all(leases.iter().chain([&lease]).map(|lease| store.ingest(lease, hello.to_vec(), None))).await
    {
        stored.unwrap();
    }
    for (round, bad) in unstorable(&ben).into_iter().enumerate() {
        let good = [received(&ben, &format!("good {round}"), "text")];
        let (stored, refused) = tokio::join!(
            join_all(leases.iter().map(|lease| store.ingest(lease, good.to_vec(), Some(b"here")))),
            store.ingest(&lease, vec![bad], Some(b"there")),
        );
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        let refused = refused.unwrap_err();
        assert!(refused.is_unstorable(), "{refused:?}");
    }
    let world = &ground.world;
    assert_eq!(world.count("SELECT count(*) FROM message").await, 51 + 3 * 50);
    assert_eq!(world.count("SELECT count(*) FROM account WHERE resume_point = 'here'").await, 50);
    assert_eq!(world.count("SELECT count(*) FROM account WHERE resume_point = 'there'").await, 0);
}

#[tokio::test]
async fn what_happens_in_a_chat_at_once_is_one_change_of_the_chat() {
    let ground = Ground::new().await;
    let store = &ground.process.store;
    let (account, lease) = ground.account().await;
    let ben = ground.peer(&account, BEN).await;
    queued(send(store, &account, &ben, "first").await);
    ground.world.sql(
        "CREATE TABLE changed (id bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO changed VALUES (NEW.id); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON chat FOR EACH ROW EXECUTE FUNCTION note()",
    );
    // Each is told three times: twice in one batch, and in another one.
    let told: Vec<Vec<Inbound>> = (0..50)
        .map(|place| {
            let one = received(&ben, &format!("m{}", place % 25), "text");
            vec![one.clone(), one]
        })
        .collect();
    let (sent, stored) = tokio::join!(
        join_all((0..100).map(|_| send(store, &account, &ben, "text"))),
        join_all(told.iter().map(|batch| store.ingest(&lease, batch.clone(), None))),
    );
    sent.into_iter().for_each(queued);
    assert!(stored.into_iter().all(|stored| stored.is_ok()));
    let world = &ground.world;
    // What is sent is one transaction, what came in another.
    assert_eq!(world.count("SELECT count(*) FROM changed").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM message").await, 126);
    assert_eq!(world.count("SELECT unread::bigint FROM chat").await, 25);
    let newest = "SELECT count(*) FROM chat h JOIN message m ON m.id = h.last_message_id
         AND m.stored_at = h.last_at AND m.stored_at = (SELECT max(stored_at) FROM message)";
    assert_eq!(world.count(newest).await, 1);
    assert_eq!(ground.process.entries(&account, "message.received").await.len(), 25);
    assert_eq!(ground.process.entries(&account, "message.queued").await.len(), 101);
}

#[tokio::test]
async fn an_outbox_is_full_at_its_limit_for_those_too_who_send_at_once() {
    let ground = Ground::new().await;
    let stores = [&ground.process.store, &ground.world.store(4)];
    let (account, _) = ground.account().await;
    let ben = ground.peer(&account, BEN).await;
    queued(send(stores[0], &account, &ben, "first").await);
    let fill = "WITH filled AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT h.account_id, h.id, 'f' || n, 'queued', 't', 'text', '', now()
            FROM chat h, generate_series(2, 9990) n WHERE h.account_id = $1 RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 day' FROM filled";
    assert_eq!(ground.world.change(&account, fill).await, 9_989);
    let sent = join_all((0..50).map(|place| send(stores[place % 2], &account, &ben, "text"))).await;
    let refused = sent.iter().filter(|sent| matches!(sent, Ok(Accepted::OutboxFull))).count();
    assert_eq!(sent.iter().filter(|sent| matches!(sent, Ok(Accepted::Queued(_)))).count(), 10, "{sent:?}");
    assert_eq!(refused, 40, "{sent:?}");
    assert_eq!(ground.world.count("SELECT count(*) FROM outbox").await, OUTBOX_LIMIT);
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nobody_along() {
    let ground = Ground::new().await;
    let store = &ground.process.store;
    let (account, _) = ground.account().await;
    let ben = ground.peer(&account, BEN).await;
    for _ in 0..3 {
        let mut sends: Vec<_> = (0..60).map(|_| Box::pin(send(store, &account, &ben, "text"))).collect();
        for sending in &mut sends {
            // Each one stands in line from now on.
            assert!(futures_util::poll!(sending).is_pending());
        }
        let mut place = 0;
        sends.retain(|_| {
            place += 1;
            place % 3 == 0
        });
        join_all(sends).await.into_iter().for_each(queued);
    }
}

const TASKS: usize = 8;
const ROUNDS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_write_the_same_accounts_do_not_deadlock() {
    let ground = Arc::new(Ground::new().await);
    let mut accounts = Vec::new();
    for _ in 0..6 {
        accounts.push(ground.account().await);
    }
    let mut peers = Vec::new();
    for place in 0..12 {
        peers.push(ground.process.peer(&accounts[0].0, &format!("155501001{place:02}")).await);
    }
    // The first six wrote once; the others' chats are made on the way.
    ground.world.sql(
        "INSERT INTO chat (account_id, peer_id, peer_wrote)
         SELECT a.id, p.id, true FROM account a, peer p WHERE p.number < '15550100106' ORDER BY p.id, a.id",
    );
    let (accounts, peers) = (Arc::new(accounts), Arc::new(peers));
    let mut tasks = Vec::new();
    for store in [ground.process.store.clone(), ground.world.store(8)] {
        for task in 0..TASKS {
            let writer =
                Writer { store: store.clone(), accounts: accounts.clone(), peers: peers.clone(), task };
            tasks.push(ground.process.lifecycle.spawn(async move {
                for round in 0..ROUNDS {
                    writer.write(round).await;
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let world = &ground.world;
    // Of each account half a round's sends and ingests, from both processes; what both were told is one message.
    let sent = i64::try_from(2 * TASKS * ROUNDS * accounts.len()).unwrap();
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, sent);
    assert_eq!(world.count("SELECT count(*) FROM message WHERE state = 'received'").await, sent / 2);
    let gaps =
        "SELECT count(*) FROM (SELECT c.id FROM account_counter c LEFT JOIN event e ON e.counter_id = c.id
         GROUP BY c.id HAVING c.seq <> count(e.seq) OR min(e.seq) <> 1 OR max(e.seq) <> c.seq) gaps";
    assert_eq!(world.count(gaps).await, 0);
    let backwards =
        "SELECT count(*) FROM (SELECT at, lag(at) OVER (PARTITION BY counter_id ORDER BY seq) AS before
         FROM event) e WHERE at <= before";
    assert_eq!(world.count(backwards).await, 0);
    let unread = "SELECT count(*) FROM chat h WHERE unread <> (SELECT count(*) FROM message m
         WHERE m.chat_id = h.id AND m.sender_peer_id IS NOT NULL AND m.read_at IS NULL)";
    assert_eq!(world.count(unread).await, 0);
    assert_eq!(
        world.count("SELECT count(*) - count(DISTINCT (account_id, stored_at)) FROM message").await,
        0
    );
}

/// One of the tasks of one process.
struct Writer {
    store: Store,
    accounts: Arc<Vec<(Account, Lease)>>,
    peers: Arc<Vec<Peer>>,
    task: usize,
}

impl Writer {
    /// Everything at once to all accounts, each task beginning with another one.
    async fn write(&self, round: usize) {
        let count = self.accounts.len();
        let places: Vec<usize> = (0..count).map(|place| (place + self.task + round) % count).collect();
        let writes = places.iter().map(async |place| {
            let (account, lease) = &self.accounts[*place];
            let (one, other) = (&self.peers[self.task % 6], &self.peers[6 + round % 6]);
            let told = [received(other, &format!("t{}r{round}", self.task), "text")];
            let (sent, stored, (), ()) = tokio::join!(
                send(&self.store, account, one, "text"),
                self.store.ingest(lease, told.to_vec(), Some(b"here")),
                self.reads(account, other),
                self.imports(account),
            );
            queued(sent);
            stored.unwrap();
        });
        join_all(writes).await;
    }

    async fn reads(&self, account: &Account, peer: &Peer) {
        let mut tx = self.store.begin().await.unwrap();
        tx.mark_read(account, &peer.public_id, None).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn imports(&self, account: &Account) {
        let entries: Vec<_> = (self.task..self.task + 3)
            .map(|place| ImportedContact {
                peer: self.peers[place % 6].clone(),
                first_name: self.task.to_string(),
                last_name: String::new(),
                exists: place % 2 == 0,
            })
            .collect();
        let mut tx = self.store.begin().await.unwrap();
        tx.replace_contacts(account, &entries).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_receipt_that_comes_with_the_settlement_counts_with_it() {
    let ground = Ground::new().await;
    let (process, store) = (&ground.process, &ground.process.store);
    let (account, lease) = ground.account().await;
    process.send(&account, BEN, "taken and delivered").await;
    let due = store.due(&lease).await.unwrap().unwrap().messages;
    let network_id = due[0].network_id.clone();
    let receipt = InboundKind::Receipt { network_id, kind: ReceiptKind::Delivered };
    let peer = process.peer(&account, BEN).await;
    // Both are asked before either is begun, so that they share a statement.
    let (settled, told) = tokio::join!(
        store.settle(&lease, vec![due[0].settled(Settlement::Sent)]),
        store.ingest(&lease, vec![Inbound { peer, participant: None, what: receipt }], None)
    );
    assert!(settled.is_ok() && told.unwrap().is_empty());
    let kinds = process.kinds(&account).await;
    let kinds: Vec<&str> =
        kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("message.")).collect();
    assert_eq!(kinds, ["message.queued", "message.sent", "message.delivered"]);
    let message = process.message(&account, BEN, &due[0].network_id).await;
    assert!(message.state.name() == "sent" && message.delivered.is_some(), "{message:?}");
    assert!(store.due(&lease).await.unwrap().unwrap().messages.is_empty());
}
