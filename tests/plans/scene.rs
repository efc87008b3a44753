//! The people, the server and the large database.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::meter::{Meter, POSTGRES, observe};
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Contacts, and blocked people, of an account in a filled database; each as long as the lists of a request.
pub const LIST: u32 = 10_000;
/// People whose profiles such an account follows.
pub const FOLLOWED: u32 = 20_000;

/// How much the lists of requests hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Small,
    Large,
}

/// Three people in a group.
pub struct Scene {
    pub server: Server,
    /// Has the large account in a filled database.
    pub anna: Person,
    pub bert: Person,
    pub cora: Person,
    /// The group's id.
    pub group: String,
    /// One large account keeps two cores busy: the tests of this binary run one after the other. Dropped last.
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// A database with three people; `before` is done to it while it is empty.
    pub async fn new(before: impl FnOnce(&Database)) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        LazyLock::force(&POSTGRES);
        let database = Arc::new(Database::create());
        before(&database);
        let setup = Server::setup().database(database).on_a_fixed_port().env("WINDU_LOG", "warn");
        let server = setup.env("WINDU_FETCH_ALLOW", "127.0.0.0/8").start();
        let (anna, bert) = Person::two_friends(&server).await;
        let cora = Person::new(&server).await;
        for (one, other) in [(&anna, &cora), (&cora, &anna), (&cora, &bert)] {
            one.adds_contact(&other.number).await;
        }
        anna.delivers(&bert, "Hello").await;
        bert.delivers(&anna, "Good day").await;
        for nobody in ["15550009998", "15550009999"] {
            let path = format!("/api/contacts/{nobody}/block/");
            assert_eq!(anna.api.post(&path, &[]).await.status, 200);
        }
        let made = json!({"subject": "Three", "participants": [bert.number, cora.number]});
        let made = anna.api.post_json("/api/groups/create-group/", &made).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let group = made.json()["groupid"].as_str().expect("an id").to_owned();
        let scene = Self { server, anna, bert, cora, group, _turn: turn };
        for person in [&scene.bert, &scene.cora] {
            let path = format!("/api/groups/{}/info/", scene.group);
            wait_until_async("the group", DEADLINE, async || {
                (person.api.get(&path).await.status == 200).then_some(())
            })
            .await;
        }
        scene.settle().await;
        scene
    }

    /// Years of use, by SQL.
    pub fn fill(&self) {
        let database = self.server.database();
        let mut psql = database
            .cluster()
            .psql(database.name())
            .args(["-o", "/dev/null", "-v"])
            .arg(format!("anna={}", self.anna.number))
            .arg("-v")
            .arg(format!("bert={}", self.bert.number))
            .stdin(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut input = psql.stdin.take().expect("piped");
        input.write_all(include_bytes!("fill.sql")).expect("psql reads");
        drop(input);
        assert!(psql.wait().expect("psql").success(), "the database is filled");
    }

    /// Fills the database while the server does not run, does `after` to it, and starts the server again.
    pub async fn restart_filled(&mut self, meter: &mut Meter, after: impl FnOnce(&Database)) {
        self.server.kill();
        self.fill();
        after(self.server.database());
        meter
            .step("the sessions' start", LIST + FOLLOWED, async {
                self.server.restart();
                self.until_online().await;
            })
            .await;
    }

    /// Has all sessions connect anew, on the connections to the database that there are.
    pub async fn restart_sessions(&self, meter: &mut Meter) {
        meter
            .step("the sessions' start", LIST + FOLLOWED, async {
                let end = "UPDATE account SET session_state = 'starting' WHERE network = 'local';
                           UPDATE account_counter SET owner = NULL, fence = fence + 1 WHERE owner IS NOT NULL";
                observe(self.server.database(), end);
                self.until_online().await;
            })
            .await;
    }

    async fn until_online(&self) {
        let left = "SELECT count(*) FROM account
                    WHERE network = 'local' AND registered_at IS NOT NULL AND session_state <> 'online'";
        self.until(left, "0").await;
        // The last that a session does then.
        let watches = format!(
            "SELECT count(*) >= {FOLLOWED} FROM localnet_watch WHERE watcher = '{}' AND active",
            self.anna.number
        );
        self.until(&watches, "t").await;
        self.settle().await;
    }

    /// Waits until the sessions have nothing to do: mailboxes are empty, the desired state is applied, and no message or
    /// receipt is due.
    pub async fn settle(&self) {
        let work = "SELECT (SELECT count(*) FROM desired_state s JOIN account a ON a.id = s.account_id
                   WHERE s.applied < s.version AND a.network = 'local' AND a.registered_at IS NOT NULL)
                + (SELECT count(*) FROM localnet_stanza s JOIN account a ON a.number = s.recipient
                   WHERE a.network = 'local' AND a.registered_at IS NOT NULL)
                + (SELECT count(*) FROM outbox o JOIN account a ON a.id = o.account_id
                   WHERE a.network = 'local' AND a.registered_at IS NOT NULL AND o.retry_at <= now())
                + (SELECT count(*) FROM receipt_outbox o JOIN account a ON a.id = o.account_id
                   WHERE a.network = 'local' AND a.registered_at IS NOT NULL)";
        self.until(work, "0").await;
    }

    /// Waits until a query returns this.
    pub async fn until(&self, query: &str, value: &str) {
        wait_until_async(query, DEADLINE * 4, async || {
            (observe(self.server.database(), query) == value).then_some(())
        })
        .await;
    }
}
