//! Large accounts, as ratios to the same endpoint on a small account: lists, the import of contacts, and work that goes on
//! behind the answer, with the messages that are sent meanwhile.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::Options;
use crate::people::{self, Person};
use crate::support::client::{Answer, Client};
use crate::support::server::Server;
use crate::world::World;

/// Chats of the large account; the small one has [`SMALL`].
const CHATS: i64 = 20_000;
/// Contacts in an import of the large account; half of that many are in its list before.
const CONTACTS: i64 = 10_000;
/// Chats, unread messages, and contacts in an import, of the small account.
const SMALL: i64 = 20;
/// Requests for each list.
const REQUESTS: u32 = 50;
/// Messages that are sent one after the other to know how long one takes on a quiet server.
const QUIET: usize = 200;

const SEND: &str = "/api/messages/send-message/";

/// Years of use of the account $1: $2 chats with a message each, and $3 unread messages in its oldest chat.
const FILL: [&str; 7] = [
    "INSERT INTO peer (network, address, number, public_id)
     SELECT 'local', n, n, n FROM (SELECT '16' || lpad(i::text, 9, '0') FROM generate_series(1, $2) i) AS p (n)
     WHERE $1 > 0 AND $3 >= 0 ON CONFLICT DO NOTHING",
    "INSERT INTO localnet_subscriber (number, incarnation)
     SELECT number, md5(number) FROM peer WHERE number LIKE '16%' AND $1 + $2 + $3 > 0 ON CONFLICT DO NOTHING",
    "INSERT INTO chat (account_id, peer_id, peer_wrote)
     SELECT $1, id, true FROM peer WHERE number LIKE '16%' AND $3 >= 0 ORDER BY id LIMIT $2",
    "INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at,
                          sent_at, read_at)
     SELECT account_id, id, md5('chat ' || id), peer_id, 'received', 't', 'Good day', sha256('Good day'),
            now() - interval '2 days' + id * interval '1 millisecond', now(), now()
     FROM chat WHERE account_id = $1 AND peer_wrote AND $2 + $3 > 0 ORDER BY id",
    "INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at,
                          sent_at)
     SELECT account_id, id, md5(id || ' long ' || i), peer_id, 'received', 't', 'Good day', sha256('Good day'),
            now() - interval '1 day' + i * interval '100 ms', now()
     FROM generate_series(1, $3) i, (
         SELECT * FROM chat WHERE account_id = $1 AND $2 > 0 ORDER BY id LIMIT 1) oldest",
    "INSERT INTO contact (account_id, peer_id, first_name, exists_there)
     SELECT account_id, peer_id, 'Someone', true FROM chat WHERE account_id = $1 AND peer_wrote AND $3 >= 0
     ORDER BY id LIMIT $2 / 4",
    "UPDATE chat h SET last_message_id = m.id, last_at = m.at, unread = m.unread FROM (
         SELECT chat_id, max(id) AS id, max(stored_at) AS at, count(*) FILTER (WHERE read_at IS NULL) AS unread
         FROM message WHERE account_id = $1 AND $2 + $3 > 0 GROUP BY chat_id) m
     WHERE m.chat_id = h.id",
];

/// A server with a large account, a small one, and a neighbour, each with a friend.
struct Town {
    world: World,
    server: Server,
    large: (Client, Person),
    small: (Client, Person),
    neighbour: (Client, Person),
}

/// Messages that were sent while something else was done.
struct Sends {
    times: Vec<Duration>,
    refused: usize,
}

/// Measures all of it, in this order: what is removed goes last.
pub async fn run(options: &Options) {
    println!(
        "\n== large: {CHATS} chats, {} unread messages in one chat, {CONTACTS} contacts; a small account has {SMALL}",
        options.unread
    );
    let town = Town::start(options).await;
    town.lists().await;
    town.import().await;
    let quiet = [("same account", &town.large), ("neighbour", &town.neighbour)];
    let mut usual = Vec::new();
    for (name, (client, friend)) in quiet {
        let mut sends = Sends { times: Vec::new(), refused: 0 };
        for _ in 0..QUIET {
            sends.send(client, &friend.number).await;
        }
        println!("   a message of the {name} on a quiet server: {}", sends.describe());
        usual.push(sends.median());
    }
    town.read(&usual).await;
    town.remove(&usual).await;
}

impl Town {
    async fn start(options: &Options) -> Self {
        let world = World::new().await;
        let mut pairs = people::make_pairs(&world.pool, 3).await.into_iter();
        for (account, chats, unread) in [(1, CHATS, options.unread), (2, SMALL, SMALL)] {
            for statement in FILL {
                let filled = sqlx::query(statement).bind(account).bind(chats).bind(unread);
                filled.execute(&world.pool).await.expect("rows");
            }
        }
        world.analyze().await;
        let server = world.setup(&options.log).start();
        people::until_online(&world.pool, 6).await;
        let mut next = || {
            let (sender, friend) = pairs.next().expect("three pairs");
            (server.client().with_token(&sender.token), friend)
        };
        let (large, small, neighbour) = (next(), next(), next());
        Self { world, server, large, small, neighbour }
    }

    async fn lists(&self) {
        let chat = |(_, friend): &(Client, Person)| format!("/api/messages/chats/{}/", friend.number);
        let all = |_: &(Client, Person)| "/api/messages/chats/".to_owned();
        self.compare_lists("chat list", all).await;
        self.compare_lists("message list", chat).await;
    }

    async fn compare_lists(&self, name: &str, path: impl Fn(&(Client, Person)) -> String) {
        let mut times = Vec::new();
        for one in [&self.large, &self.small] {
            let path = path(one);
            succeed(&one.0.get(&path).await);
            let began = Instant::now();
            for _ in 0..REQUESTS {
                succeed(&one.0.get(&path).await);
            }
            times.push(began.elapsed() / REQUESTS);
        }
        print_ratio(name, times[0], times[1]);
    }

    /// Each list twice; half of the large one is there before.
    async fn import(&self) {
        let mut times = Vec::new();
        for ((client, friend), count) in [(&self.large, CONTACTS), (&self.small, SMALL)] {
            let first = if count == CONTACTS { CONTACTS / 4 } else { 1 };
            let contacts: Vec<Value> = (first..first + count)
                .map(|place| format!("16{place:09}"))
                // An import replaces the list, and the account goes on to write to its friend.
                .chain([friend.number.clone()])
                .map(|number| json!({"contact_id": number, "first_name": "Somebody"}))
                .collect();
            for _ in 0..2 {
                let began = Instant::now();
                let body = json!({"contacts": contacts});
                succeed(&client.post_json("/api/contacts/import-contacts/", &body).await);
                let answered = began.elapsed();
                self.until(began, "SELECT count(*) FROM desired_state WHERE applied < version").await;
                times.push((answered, began.elapsed()));
            }
        }
        for (name, place) in [("import", 0), ("import of the same", 1)] {
            print_ratio(name, times[place].0, times[place + 2].0);
            print_ratio(&format!("{name}, until the network has it"), times[place].1, times[place + 2].1);
        }
    }

    /// All unread messages of a chat are marked as read.
    async fn read(&self, usual: &[Duration]) {
        let chat = async |account: i64| {
            let number = "SELECT p.public_id FROM chat h JOIN peer p ON p.id = h.peer_id
                          WHERE h.account_id = $1 ORDER BY h.id LIMIT 1";
            sqlx::query_scalar(number).bind(account).fetch_one(&self.world.pool).await.expect("a chat")
        };
        let (large, small): (String, String) = (chat(1).await, chat(2).await);
        let path = "/api/messages/update-last-read/";
        let unread = "SELECT count(*) FROM message WHERE sender_peer_id IS NOT NULL AND read_at IS NULL
                      AND account_id = ";
        let (small_answered, small_done) = self
            .timed(&self.small.0, Method::POST, path, &[("contact", &small)], &format!("{unread} 2"))
            .await;
        let (form, left) = ([("contact", large.as_str())], format!("{unread} 1"));
        let work = self.timed(&self.large.0, Method::POST, path, &form, &left);
        let ((answered, done), sends) = self.sends_while(work).await;
        print_ratio("update-last-read", answered, small_answered);
        print_ratio("update-last-read, until all are marked", done, small_done);
        print_sends(&sends, usual);
        let began = Instant::now();
        self.until(began, "SELECT count(*) FROM receipt_outbox").await;
        println!("   the receipts are out {:.1} s later", began.elapsed().as_secs_f64());
    }

    /// The accounts leave.
    async fn remove(&self, usual: &[Duration]) {
        let path = "/api/account/remove-account/";
        let left = "SELECT (SELECT count(*) FROM message WHERE account_id = ID) + (SELECT count(*) FROM chat WHERE account_id = ID)
                    + (SELECT count(*) FROM account WHERE id = ID)";
        let (small_answered, small_done) =
            self.timed(&self.small.0, Method::POST, path, &[], &left.replace("ID", "2")).await;
        let left = left.replace("ID", "1");
        let work = self.timed(&self.large.0, Method::POST, path, &[], &left);
        let ((answered, done), sends) = self.sends_while(work).await;
        print_ratio("remove-account", answered, small_answered);
        print_ratio("remove-account, until all is gone", done, small_done);
        print_sends(&sends[1..], &usual[1..]);
    }

    /// Asks for something; the times until the answer, and until a count is 0. A refusal is printed.
    async fn timed(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        form: &[(&str, &str)],
        left: &str,
    ) -> (Duration, Duration) {
        let began = Instant::now();
        let answer = client.send(client.request(method, path).form(form)).await;
        let answered = began.elapsed();
        if answer.status != 200 {
            println!("   {path}: {} {} after {:.1} s", answer.status, answer.text(), answered.as_secs_f64());
        }
        self.until(began, left).await;
        (answered, began.elapsed())
    }

    /// Waits until a count is 0, for five minutes at most.
    async fn until(&self, began: Instant, query: &str) {
        while self.count(query).await > 0 {
            if began.elapsed() > Duration::from_mins(5) {
                println!("   not done after five minutes: {query}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self, query: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        sqlx::query_scalar(query).fetch_one(&self.world.pool).await.expect("a count")
    }

    /// The large account and the neighbour send one message after the other while something else is done.
    async fn sends_while<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Sends>) {
        let of = async |(client, friend): &(Client, Person), sends: &mut Sends| loop {
            sends.send(client, &friend.number).await;
        };
        let new = || Sends { times: Vec::new(), refused: 0 };
        let (mut own, mut others) = (new(), new());
        let done = tokio::select! {
            done = work => done,
            () = async { tokio::join!(of(&self.large, &mut own), of(&self.neighbour, &mut others)); } => {
                unreachable!("it sends for ever")
            }
        };
        assert!(self.server.memory("VmRSS") > 0, "the server runs");
        (done, vec![own, others])
    }
}

impl Sends {
    async fn send(&mut self, client: &Client, to: &str) {
        let began = Instant::now();
        let answer = client.post(SEND, &[("contact", to), ("message", "meanwhile")]).await;
        if answer.status == 200 {
            self.times.push(began.elapsed());
        } else {
            self.refused += 1;
            // As a client does that has to come back later.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn median(&self) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn describe(&self) -> String {
        let [median, longest] = [self.median(), self.times.iter().max().copied().unwrap_or_default()]
            .map(|time| time.as_secs_f64() * 1e3);
        let (count, refused) = (self.times.len(), self.refused);
        format!("{count} accepted, {refused} refused; {median:.1} ms, at most {longest:.0} ms")
    }
}

fn print_sends(sends: &[Sends], usual: &[Duration]) {
    let names = if sends.len() == 2 { &["same account", "neighbour"][..] } else { &["neighbour"] };
    for ((name, sends), usual) in names.iter().zip(sends).zip(usual) {
        let ratio = sends.median().as_secs_f64() / usual.as_secs_f64();
        println!("   meanwhile a message of the {name}: {}; ratio {ratio:.1}", sends.describe());
    }
}

fn print_ratio(name: &str, large: Duration, small: Duration) {
    let [large, small] = [large, small].map(|time| time.as_secs_f64() * 1e3);
    println!("{name}: {large:.1} ms, small account {small:.1} ms; ratio {:.1}", large / small);
}

#[track_caller]
fn succeed(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
}
