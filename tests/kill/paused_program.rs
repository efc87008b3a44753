//! A program that is paused for longer than its leases last: its sessions run elsewhere meanwhile, and it must not
//! change anything of theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use tokio::task::{JoinSet, block_in_place};

use crate::processes::{TAKEN_OVER, friends, owners};
use crate::support::client::Client;
use crate::support::guarantees::{assert_guarantees, soak};
use crate::support::people::{Person, texts};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

/// The database user of the paused program, so that its writes can be recognised.
const SLEEPER: &str = "sleeper";

/// Records writes of the sleeper to an account whose lease is not one of its new ones, once `watching` has a row: its
/// name and the last of its old ids. A writer has locked the counter of the account, so the owner that is seen
/// here is the one at the time of the write.
const WATCH: &str = "
    CREATE TABLE watching (name text, last bigint);
    CREATE TABLE late (at timestamptz DEFAULT clock_timestamp(), kind text, counter bigint, owner bigint, what jsonb);
    CREATE FUNCTION note_late() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        fact jsonb = to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
        whose bigint = CASE WHEN TG_TABLE_NAME = 'account_counter' THEN (fact->>'id')::bigint
            WHEN fact ? 'counter_id' THEN (fact->>'counter_id')::bigint
            ELSE (SELECT counter_id FROM account WHERE id = (fact->>'account_id')::bigint) END;
        holder bigint = (SELECT owner FROM account_counter WHERE id = whose);
    BEGIN
        IF session_user = 'sleeper' AND EXISTS (SELECT FROM watching) AND holder IS DISTINCT FROM
           (SELECT max(p.id) FROM process p JOIN watching w ON p.name = w.name AND p.id > w.last) THEN
            INSERT INTO late (kind, counter, owner, what) VALUES (TG_OP || ' ' || TG_TABLE_NAME, whose, holder, fact);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER late AFTER UPDATE OF seq, stored_at ON account_counter FOR EACH ROW EXECUTE FUNCTION note_late();
    CREATE TRIGGER late AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION note_late();
    CREATE TRIGGER late AFTER UPDATE ON account FOR EACH ROW EXECUTE FUNCTION note_late();
    CREATE TRIGGER late AFTER INSERT OR UPDATE ON message FOR EACH ROW EXECUTE FUNCTION note_late();
    CREATE TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION note_late();
    CREATE TRIGGER late AFTER INSERT OR UPDATE ON chat FOR EACH ROW EXECUTE FUNCTION note_late();";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_paused_writes_nothing_under_its_lost_leases() {
    let awake = Server::start();
    let people = friends(&awake, 4).await;
    let database = awake.database();
    database.sql(&format!("CREATE ROLE {SLEEPER} SUPERUSER LOGIN"));
    let url = database.url().replace(&format!("//{}@", database.cluster().user()), &format!("//{SLEEPER}@"));
    let sleeper = Server::setup().env("DATABASE_URL", url).database(Arc::clone(database)).start();
    wait_until("each program to run two sessions", DEADLINE, || (owners(database) == "2 2").then_some(()));
    for person in &people {
        person.waits_until_online(DEADLINE).await;
    }
    let mut rounds = vec![all_to_all(&people, "before").await];

    let process = format!("SELECT max(id) FROM process WHERE name LIKE '%:{}:%'", sleeper.id());
    let last = database.sql(&process);
    let held = format!("FROM account_counter WHERE owner = {last}");
    database.sql(&format!("CREATE TABLE was_held AS SELECT id, fence {held}"));
    database.sql(WATCH);
    let sending = stop_in_the_middle(&sleeper, database, &people, &held);
    let asleep = Instant::now();
    rounds.push("the last".to_owned());
    // The program does nothing now; every later write is late.
    database.sql(&format!("INSERT INTO watching SELECT name, id FROM process WHERE id = {last}"));

    wait_until("the other program to run all sessions", TAKEN_OVER.saturating_sub(asleep.elapsed()), || {
        (owners(database) == "4").then_some(())
    });
    for person in &people {
        person.waits_until_online(Duration::from_secs(5)).await;
    }
    sending.join_all().await;
    rounds.push(all_to_all(&people, "meanwhile").await);
    let lasting = Duration::from_secs(if soak() { 40 } else { 20 });
    tokio::time::sleep(lasting.saturating_sub(asleep.elapsed())).await;

    signal(&sleeper, Signal::SIGCONT);
    wait_until("the paused program to join again", DEADLINE, || {
        (database.sql(&process) != last).then_some(())
    });
    wait_until("each program to run two sessions", DEADLINE, || (owners(database) == "2 2").then_some(()));
    for person in &people {
        person.waits_until_online(DEADLINE).await;
    }
    let same = "SELECT c.* FROM account_counter c JOIN was_held w ON w.id = c.id WHERE c.fence <= w.fence";
    assert_eq!(database.sql(same), "", "fences that did not grow");
    assert_eq!(database.sql("SELECT * FROM late ORDER BY at"), "", "written under an old lease");

    let through_it: Vec<Person> = people.iter().map(|person| person.at(&sleeper)).collect();
    rounds.push(all_to_all(&through_it, "afterwards").await);
    assert_guarantees(database);
    for person in &people {
        for other in people.iter().filter(|other| other.number != person.number) {
            let chat = person.chat(&other.number).await;
            let (ours, theirs): (Vec<_>, Vec<_>) =
                chat.into_iter().partition(|message| message["received"] == false);
            assert_eq!(
                (texts(&ours), texts(&theirs)),
                (rounds.clone(), rounds.clone()),
                "each once, in order"
            );
        }
    }
}

/// Every person sends to every other one and waits for the delivery.
async fn all_to_all(people: &[Person], text: &str) -> String {
    for (from, to) in pairs(people) {
        from.delivers(to, text).await;
    }
    text.to_owned()
}

fn pairs(people: &[Person]) -> impl Iterator<Item = (&Person, &Person)> {
    people.iter().flat_map(move |from| {
        people.iter().filter(move |to| to.number != from.number).map(move |to| (from, to))
    })
}

/// Stops the program while it stores messages of all to all: its transaction stays open, with its locks.
/// Returns the senders, which repeat their messages until they are accepted.
fn stop_in_the_middle(sleeper: &Server, database: &Database, people: &[Person], held: &str) -> JoinSet<()> {
    let backends = |what: &str| {
        let sleepers = format!("datname = current_database() AND usename = '{SLEEPER}'");
        database.sql(&format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {sleepers} AND {what}")) == "t"
    };
    let lock = database.hold(&format!("SELECT {held} FOR UPDATE"));
    let mut sending = JoinSet::new();
    for (from, to) in pairs(people) {
        sending.spawn(repeat(from.api.clone(), to.number.clone()));
    }
    block_in_place(|| {
        wait_until("the paused program to wait for a lock", DEADLINE, || {
            backends("wait_event_type = 'Lock'").then_some(())
        });
        signal(sleeper, Signal::SIGSTOP);
        drop(lock);
        wait_until("its transaction to be open", DEADLINE, || {
            backends("state = 'idle in transaction'").then_some(())
        });
    });
    sending
}

/// Repeats the request while the stopped program has the account locked.
async fn repeat(api: Client, contact: String) {
    loop {
        let request = api
            .request(Method::POST, "/api/messages/send-message/")
            .header("idempotency-key", format!("to-{contact}"))
            .form(&[("contact", contact.as_str()), ("message", "the last")]);
        let answer = api.send(request).await;
        match answer.status {
            200 => return,
            503 => tokio::time::sleep(Duration::from_millis(100)).await,
            status => panic!("{status}: {}", answer.text()),
        }
    }
}

fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.id().try_into().expect("a process id"));
    kill(pid, signal).expect("it runs");
}
