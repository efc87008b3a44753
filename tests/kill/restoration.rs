//! `windu restore`, killed at many moments and repeated.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::killed_command::kill_until_it_ends;
use crate::support::people::{PASSWORD, Person};
use crate::support::postgres::Database;
use crate::support::server::{Server, Setup};
use crate::support::wait::{DEADLINE, wait_until};

/// A server with a backup of it.
struct BackedUp {
    /// The name and the number of one of two people who have written to each other.
    name: String,
    bert: Person,
    anna: Person,
    /// The ids and hashes of messages with a file.
    files: Vec<(String, Value)>,
    file: String,
    _folder: TempDir,
    _server: Server,
}

const REPORT: &str = "restored: 3 users, 2 accounts, 60004 messages, 2 files";

impl BackedUp {
    async fn new() -> Self {
        let server = Server::start();
        let (anna, bert) = Person::two_friends(&server).await;
        let mut files = Vec::new();
        for length in [1_000_usize, 3_000_000] {
            let mut film = include_bytes!("../files/plain.mp4").to_vec();
            // A box that every reader skips.
            film.extend(u32::try_from(length).expect("short").to_be_bytes());
            film.extend(b"free");
            film.resize(film.len() + length - 8, 7);
            let form = Form::new()
                .text("contact", bert.number.clone())
                .part("filename", Part::bytes(film).file_name("a.mp4"));
            let request = anna.api.request(Method::POST, "/api/messages/send-video/").multipart(form);
            let sent = anna.api.send(request).await;
            assert_eq!(sent.status, 200, "{}", sent.text());
            let id = sent.json()["id"].as_str().expect("an id").to_owned();
            let message = bert.waits_until(&anna.number, &id, |message| message["media"] == "stored").await;
            files.push((id, message["hash"].clone()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("windu.backup").display().to_string();
        let name = block_in_place(|| {
            server.database().sql(
                "INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
                 SELECT account_id, id, 'old ' || n, 'sent', 't', repeat('x', 200), sha256('x'),
                        now() - n * interval '1 s'
                 FROM chat, generate_series(1, 30000) n",
            );
            server.run(&["backup", &file], "");
            server.database().sql(&format!(
                "SELECT u.name FROM account a JOIN windu_user u ON u.id = a.user_id WHERE a.number = '{}'",
                bert.number
            ))
        });
        Self { name, bert, anna, files, file, _folder: folder, _server: server }
    }

    fn restore(&self, program: &dyn Fn() -> Command) -> Command {
        let mut command = program();
        command.args(["restore", &self.file]);
        command
    }

    async fn assert_restored(&self, restored: &Server) {
        let bert = Person {
            api: restored.client().sign_in(&self.name, PASSWORD).await,
            number: self.bert.number.clone(),
        };
        for (id, hash) in &self.files {
            let message = bert.waits_until(&self.anna.number, id, |_| true).await;
            assert_eq!(&message["hash"], hash);
            let url = message["url"].as_str().expect("a URL");
            let bytes = restored.client().get(url.trim_start_matches(restored.url())).await;
            assert_eq!(bytes.status, 200);
        }
    }
}

/// Restores a backup with these settings; each run is killed until one ends.
async fn restores_although_it_is_killed(setup: Setup, first: Duration) {
    let backup = BackedUp::new().await;
    let restored = block_in_place(|| {
        setup.start_after_runs(|program| {
            let restore = || backup.restore(program);
            let (kills, output) = kill_until_it_ends(restore, first, || ());
            println!("killed {kills} times");
            let report = String::from_utf8_lossy(&output.stdout);
            assert!(report.starts_with(REPORT), "{report}");
        })
    });
    backup.assert_restored(&restored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_although_the_command_is_killed() {
    let setup = Server::setup().database(Arc::new(Database::create_empty()));
    restores_although_it_is_killed(setup, Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_into_a_private_cluster_although_the_command_is_killed() {
    // The key is in the data folder.
    let setup = Server::setup().with_own_database().env("WINDU_SECRET_KEY", "");
    restores_although_it_is_killed(setup, Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_ends_a_restoration_that_was_killed_after_all_was_restored() {
    let backup = BackedUp::new().await;
    let database = Arc::new(Database::create_empty());
    let setup = Server::setup().database(Arc::clone(&database));
    let restored = block_in_place(|| {
        setup.start_after_runs(|program| {
            // The last migration waits for this lock.
            let lock = database.hold("SELECT pg_advisory_lock(x'77696e6475'::bigint)");
            let mut killed = backup.restore(program).spawn().expect("it runs");
            wait_until("the database to be filled", DEADLINE, || {
                let mark = database.try_sql("SELECT count(*) FROM deployment WHERE key = 'restoration'");
                mark.is_ok_and(|count| count == "1").then_some(())
            });
            killed.kill().expect("killed");
            killed.wait().expect("its end");
            lock.commit();
            let repeated = backup.restore(program).output().expect("it runs");
            let report = String::from_utf8_lossy(&repeated.stdout);
            assert!(report.starts_with(REPORT), "{report} {}", String::from_utf8_lossy(&repeated.stderr));
            let again = backup.restore(program).output().expect("it runs");
            let errors = String::from_utf8_lossy(&again.stderr);
            assert!(!again.status.success() && errors.contains("restore into an empty one"), "{errors}");
        })
    });
    assert_eq!(database.sql("SELECT count(*) FROM audit WHERE action = 'restore'"), "1");
    backup.assert_restored(&restored).await;
}
