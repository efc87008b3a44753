//! The writer: requests that share a transaction do not harm each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use windu::db::DbError;
use windu::domain::{Account, ChatName, Content, Lease, ProcessId, ReceiptKind};
use windu::secrets;
use windu::sessions::Timeouts;
use windu::store::{
    Accepted, ImportedContact, Inbound, InboundKind, InboundMessage, NewMessage, OUTBOX_LIMIT, Peer,
    Settlement, Store,
};

use crate::scripted::{NETWORK, long_ago};
use crate::world::{A_DAY, Process, World};

pub const BEN: &str = "15550100002";

/// Registered accounts whose leases belong to an idle process, for which the test writes.
pub struct Fixture {
    pub world: World,
    pub process: Process,
    owner: ProcessId,
    numbers: AtomicU64,
}

impl Fixture {
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

    /// A peer to whom all existing accounts may write.
    pub async fn peer(&self, account: &Account, number: &str) -> Peer {
        let peer = self.process.peer(account, number).await;
        let statement =
            "INSERT INTO contact (account_id, peer_id, exists_there) SELECT id, $1, true FROM account";
        sqlx::query(statement).bind(peer.id.0).execute(&self.world.pool).await.unwrap();
        peer
    }
}

/// Sends a text and returns the outcome.
pub async fn send(store: &Store, from: &Account, to: &Peer, text: &str) -> Result<Accepted, DbError> {
    let content = Content::Text(text.to_owned());
    let (id, peer) = (&secrets::random_id(), to.id);
    let chat = &ChatName::Contact(to.public_id.parse().unwrap());
    let outgoing =
        NewMessage { named: true, id, peer, chat, content: &content, time_to_live: A_DAY, reservation: None };
    store.accept_send(from, &outgoing, None).await
}

fn received(from: &Peer, id: &str, text: &str) -> Inbound {
    let (network_id, content) = (id.to_owned(), Content::Text(text.to_owned()));
    let message = InboundMessage {
        network_id,
        content,
        reply_to: None,
        sent_at: long_ago(),
        from_us: false,
        live: true,
    };
    let what = InboundKind::Message(message);
    Inbound { peer: from.clone(), participant: None, what }
}

#[track_caller]
pub fn queued(sent: Result<Accepted, DbError>) {
    match sent {
        Ok(Accepted::Queued(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// Events that the database refuses.
fn unstorable(ben: &Peer) -> Vec<Inbound> {
    let long = secrets::random_id().repeat(2) + &(0..400).map(|_| secrets::random_id()).collect::<String>();
    vec![received(ben, "bad", "a NUL: \0"), received(ben, "bad\0", "text"), received(ben, &long, "text")]
}

#[tokio::test]
async fn an_unstorable_write_fails_alone() {
    let fixture = Fixture::new().await;
    let store = &fixture.process.store;
    let (account, lease) = fixture.account().await;
    let ben = fixture.peer(&account, BEN).await;
    let mut leases = Vec::new();
    for _ in 0..50 {
        leases.push(fixture.account().await.1);
    }
    // The chats exist from now on, so that the next writes are one transaction.
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
    let world = &fixture.world;
    assert_eq!(world.count("SELECT count(*) FROM message").await, 51 + 3 * 50);
    assert_eq!(world.count("SELECT count(*) FROM account WHERE resume_point = 'here'").await, 50);
    assert_eq!(world.count("SELECT count(*) FROM account WHERE resume_point = 'there'").await, 0);
}

#[tokio::test]
async fn concurrent_messages_of_a_chat_update_it_once() {
    let fixture = Fixture::new().await;
    let store = &fixture.process.store;
    let (account, lease) = fixture.account().await;
    let ben = fixture.peer(&account, BEN).await;
    queued(send(store, &account, &ben, "first").await);
    fixture.world.sql(
        "CREATE TABLE changed (id bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO changed VALUES (NEW.id); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON chat FOR EACH ROW EXECUTE FUNCTION note()",
    );
    // Each comes three times: twice in one batch, and once in another.
    let inbound: Vec<Vec<Inbound>> = (0..50)
        .map(|index| {
            let one = received(&ben, &format!("m{}", index % 25), "text");
            vec![one.clone(), one]
        })
        .collect();
    let (sent, stored) = tokio::join!(
        join_all((0..100).map(|_| send(store, &account, &ben, "text"))),
        join_all(inbound.iter().map(|batch| store.ingest(&lease, batch.clone(), None))),
    );
    sent.into_iter().for_each(queued);
    assert!(stored.into_iter().all(|stored| stored.is_ok()));
    let world = &fixture.world;
    // The sends are one transaction, the inbound messages another.
    assert_eq!(world.count("SELECT count(*) FROM changed").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM message").await, 126);
    assert_eq!(world.count("SELECT unread::bigint FROM chat").await, 25);
    let newest = "SELECT count(*) FROM chat h JOIN message m ON m.id = h.last_message_id
         AND m.stored_at = h.last_at AND m.stored_at = (SELECT max(stored_at) FROM message)";
    assert_eq!(world.count(newest).await, 1);
    assert_eq!(fixture.process.entries(&account, "message.received").await.len(), 25);
    assert_eq!(fixture.process.entries(&account, "message.queued").await.len(), 101);
}

#[tokio::test]
async fn the_outbox_limit_holds_for_concurrent_sends() {
    let fixture = Fixture::new().await;
    let stores = [&fixture.process.store, &fixture.world.store(4)];
    let (account, _) = fixture.account().await;
    let ben = fixture.peer(&account, BEN).await;
    queued(send(stores[0], &account, &ben, "first").await);
    fixture.world.fill_outbox(&account, 9_989).await;
    let sent = join_all((0..50).map(|index| send(stores[index % 2], &account, &ben, "text"))).await;
    let refused = sent.iter().filter(|sent| matches!(sent, Ok(Accepted::OutboxFull))).count();
    assert_eq!(sent.iter().filter(|sent| matches!(sent, Ok(Accepted::Queued(_)))).count(), 10, "{sent:?}");
    assert_eq!(refused, 40, "{sent:?}");
    assert_eq!(fixture.world.count("SELECT count(*) FROM outbox").await, OUTBOX_LIMIT);
}

#[tokio::test]
async fn a_cancelled_caller_does_not_cancel_others() {
    let fixture = Fixture::new().await;
    let store = &fixture.process.store;
    let (account, _) = fixture.account().await;
    let ben = fixture.peer(&account, BEN).await;
    for _ in 0..3 {
        let mut sends: Vec<_> = (0..60).map(|_| Box::pin(send(store, &account, &ben, "text"))).collect();
        for sending in &mut sends {
            // Each one is queued from now on.
            assert!(futures_util::poll!(sending).is_pending());
        }
        let mut index = 0;
        sends.retain(|_| {
            index += 1;
            index % 3 == 0
        });
        join_all(sends).await.into_iter().for_each(queued);
    }
}

const TASKS: usize = 8;
const ROUNDS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_write_the_same_accounts_do_not_deadlock() {
    let fixture = Arc::new(Fixture::new().await);
    let mut accounts = Vec::new();
    for _ in 0..6 {
        accounts.push(fixture.account().await);
    }
    let mut peers = Vec::new();
    for index in 0..12 {
        peers.push(fixture.process.peer(&accounts[0].0, &format!("155501001{index:02}")).await);
    }
    // The first six have chats; those of the others are created by the writes.
    fixture.world.sql(
        "INSERT INTO chat (account_id, peer_id, peer_wrote)
         SELECT a.id, p.id, true FROM account a, peer p WHERE p.number < '15550100106' ORDER BY p.id, a.id",
    );
    let (accounts, peers) = (Arc::new(accounts), Arc::new(peers));
    let mut tasks = Vec::new();
    for store in [fixture.process.store.clone(), fixture.world.store(8)] {
        for task in 0..TASKS {
            let writer =
                Writer { store: store.clone(), accounts: accounts.clone(), peers: peers.clone(), task };
            tasks.push(fixture.process.lifecycle.spawn(async move {
                for round in 0..ROUNDS {
                    writer.write(round).await;
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let world = &fixture.world;
    // Both processes send and ingest for every account in every round; a message that both received is stored once.
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

/// One writing task of a process.
struct Writer {
    store: Store,
    accounts: Arc<Vec<(Account, Lease)>>,
    peers: Arc<Vec<Peer>>,
    task: usize,
}

impl Writer {
    /// Writes everything at once to all accounts; each task begins with another account.
    async fn write(&self, round: usize) {
        let count = self.accounts.len();
        let indexes: Vec<usize> = (0..count).map(|index| (index + self.task + round) % count).collect();
        let writes = indexes.iter().map(async |index| {
            let (account, lease) = &self.accounts[*index];
            let (one, other) = (&self.peers[self.task % 6], &self.peers[6 + round % 6]);
            let inbound = [received(other, &format!("t{}r{round}", self.task), "text")];
            let (sent, stored, (), ()) = tokio::join!(
                send(&self.store, account, one, "text"),
                self.store.ingest(lease, inbound.to_vec(), Some(b"here")),
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
            .map(|index| ImportedContact {
                peer: self.peers[index % 6].clone(),
                first_name: self.task.to_string(),
                last_name: String::new(),
                exists: index % 2 == 0,
            })
            .collect();
        let mut tx = self.store.begin().await.unwrap();
        tx.replace_contacts(account, &entries).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_receipt_in_the_same_batch_as_its_settlement_counts() {
    let fixture = Fixture::new().await;
    let (process, store) = (&fixture.process, &fixture.process.store);
    let (account, lease) = fixture.account().await;
    process.send(&account, BEN, "taken and delivered").await;
    let due = store.due(&lease).await.unwrap().unwrap().messages;
    let network_id = due[0].network_id.clone();
    let receipt = InboundKind::Receipt { network_id, kind: ReceiptKind::Delivered };
    let peer = process.peer(&account, BEN).await;
    // Both are queued before either begins, so that they share a statement.
    let (settled, inbound) = tokio::join!(
        store.settle(&lease, vec![due[0].settled(Settlement::Sent)]),
        store.ingest(&lease, vec![Inbound { peer, participant: None, what: receipt }], None)
    );
    assert!(settled.is_ok() && inbound.unwrap().is_empty());
    let kinds = process.kinds(&account).await;
    let kinds: Vec<&str> =
        kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("message.")).collect();
    assert_eq!(kinds, ["message.queued", "message.sent", "message.delivered"]);
    let message = process.message(&account, BEN, &due[0].network_id).await;
    assert!(message.state.name() == "sent" && message.delivered.is_some(), "{message:?}");
    assert!(store.due(&lease).await.unwrap().unwrap().messages.is_empty());
}
