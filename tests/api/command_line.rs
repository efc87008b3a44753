//! Commands beside a running server: `windu check`, `windu user` and `windu account`.

use std::fs;

use crate::media_messages::{form, png, upload};
use serde_json::json;

use crate::support::people::{Person, fresh_number, login, register};
use crate::support::server::Server;
use crate::support::wait::DEADLINE;

#[tokio::test]
async fn check_reports_each_part_that_works() {
    let server = Server::start();
    let report = server.run(&["check"], "");
    for line in [
        "ok      configuration: listens on 127.0.0.1:0\n",
        &format!(", {name} at ", name = server.database().name()),
        "ok      database: PostgreSQL ",
        "ok      outbox local: 0 messages wait, the oldest for 0 s\n",
        "ok      sessions local: none\n",
        "ok      files: all 0 are there\n",
        "ok      webhooks: none; 0 events wait, the oldest for 0 s\n",
        "ok      tables: at this version\n",
        "ok      secret key: fits the database\n",
        "ok      servers: 1 running, 0 registered accounts\n",
        "ok      network local: answers\n",
        "ok      codes: go to the terminal of the server, or to ",
        "checks passed\n",
    ] {
        assert!(report.contains(line), "{line:?} in {report}");
    }
    assert!(!report.contains("FAILED"), "{report}");
}

#[tokio::test]
async fn check_fails_with_another_key_and_without_a_database() {
    let server = Server::start();
    let other_key = Server::setup()
        .env("WINDU_SECRET_KEY", "OTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTBmZWRjYmE=")
        .database(server.database().clone());
    let (status, errors) = other_key.fail();
    assert!(!status.success() && errors.contains("WINDU_SECRET_KEY"), "{errors}");
    let before = server.database().sql("SELECT value FROM deployment WHERE key = 'key_fingerprint'");
    server.database().go_away();
    let errors = server.fail(&["check"], "");
    server.database().come_back();
    assert!(errors.contains("check"), "{errors}");
    assert_eq!(server.database().sql("SELECT value FROM deployment WHERE key = 'key_fingerprint'"), before);
}

#[tokio::test]
async fn check_fails_when_no_server_runs_and_when_messages_wait_or_files_are_missing() {
    let mut server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.waits_until_online(DEADLINE).await;
    bert.waits_until_online(DEADLINE).await;
    for shade in [1, 2] {
        let sent = upload(&anna.api, "send-image", form(&bert.number, "a.png", png(shade))).await;
        let id = sent.json()["id"].as_str().expect("an id").to_owned();
        bert.waits_until(&anna.number, &id, |message| message["media"] == "stored").await;
    }
    let report = server.run(&["check"], "");
    for line in
        ["sessions local: 2 online", "servers: 1 running, 2 registered accounts", "files: all 2 are there"]
    {
        assert!(report.contains(&format!("ok      {line}\n")), "{report}");
    }
    fs::remove_dir_all(server.folder().join("media")).expect("a folder");
    server.kill();
    server.database().sql("UPDATE process SET heartbeat_at = 'epoch'");
    let message = "SELECT min(id) FROM message WHERE sender_peer_id IS NULL";
    server.database().sql(&format!(
        "UPDATE message SET stored_at = now() - interval '1 hour' WHERE id = ({message});
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 hour' FROM message WHERE id = ({message})"
    ));
    let before = server.database().sql(EVERYTHING);
    let report = server.run_failing(&["check"]);
    for line in [
        "servers: 0 running, 2 registered accounts: nothing is sent or received; start windu serve",
        "outbox local: 1 messages wait, the oldest for 36",
        "sessions local: 2 unheld",
        "files: 2 of 2 are not in",
    ] {
        assert!(report.contains(&format!("FAILED  {line}")), "{line} in {report}");
    }
    assert_eq!(server.database().sql(EVERYTHING), before);
}

/// What a command that changes nothing must leave as it is.
const EVERYTHING: &str = "SELECT (SELECT string_agg(d::text, '') FROM deployment d), (SELECT string_agg(p::text, '') FROM process p),
    (SELECT string_agg(o::text, '') FROM outbox o), (SELECT string_agg(a::text, '') FROM account a)";

#[tokio::test]
async fn deleting_a_user_removes_the_numbers_from_the_network() {
    let server = Server::start();
    let friend = Person::new(&server).await;
    let (name, number) = ("leaver", fresh_number());
    server.run(&["user", "create", name, "--password-stdin"], "a password of some length\n");
    let leaver = login(&server).await.sign_in(name, "a password of some length").await;
    register(&server, &leaver, &number).await;
    friend.adds_contact(&number).await;
    friend.delivers(&Person { api: leaver.clone(), number: number.clone() }, "goodbye").await;
    let gone = "SELECT (SELECT count(*) FROM message m WHERE NOT EXISTS (SELECT 1 FROM chat WHERE id = m.chat_id)),
                       (SELECT count(*) FROM event e WHERE NOT EXISTS (SELECT 1 FROM account_counter WHERE id = e.counter_id)),
                       (SELECT count(*) FROM message WHERE text = 'goodbye')";
    assert_eq!(server.database().sql(gone), "0|0|2");
    server.run(&["user", "delete", name], "");
    assert_eq!(server.database().sql(gone), "0|0|1");
    leaver.get("/api/account/").await.refused(401, "token_invalid");
    let synced = friend.api.post("/api/contacts/force-sync/", &[]).await;
    assert_eq!(synced.json(), json!({"existing": [], "non_existing": [number]}));
    let left = format!("SELECT count(*) FROM account WHERE number = '{number}'");
    assert_eq!(server.database().sql(&left), "0");
    assert!(server.fail(&["user", "delete", name], "").contains("there is no user"));
}

#[tokio::test]
async fn accounts_of_an_unknown_network_are_listed_and_removed_by_force() {
    let server = Server::start();
    let (name, numbers) = ("owner", [fresh_number(), fresh_number()]);
    server.run(&["user", "create", name, "--password-stdin"], "a password of some length\n");
    let owner = login(&server).await.sign_in(name, "a password of some length").await;
    for number in &numbers {
        register(&server, &owner, number).await;
    }
    let listed = server.run(&["account", "list", name], "");
    for number in &numbers {
        assert!(listed.contains(&format!("{name}\t{number}\tlocal\tyes\tonline\n")), "{listed}");
    }
    assert!(server.run(&["account", "list"], "").contains(&numbers[1]));
    let errors = server.fail(&["account", "list", "nobody"], "");
    assert!(errors.contains("there is no user"), "{errors}");

    // A network that is not supported any more.
    let gone = format!("UPDATE account SET network = 'gone' WHERE number = '{}'", numbers[0]);
    server.database().sql(&gone);
    let errors = server.fail(&["account", "remove", name, &numbers[0]], "");
    assert!(errors.contains("--force") && errors.contains("gone"), "{errors}");
    let left = |number: &str| format!("SELECT count(*) FROM account WHERE number = '{number}'");
    assert_eq!(server.database().sql(&left(&numbers[0])), "1");
    server.run(&["account", "remove", name, &numbers[0], "--force"], "");
    assert_eq!(server.database().sql(&left(&numbers[0])), "0");

    server.run(&["account", "remove", name, &numbers[1]], "");
    assert_eq!(owner.get("/api/account/").await.json(), json!({"accounts": []}));
    let subscribed = format!("SELECT count(*) FROM localnet_subscriber WHERE number = '{}'", numbers[1]);
    assert_eq!(server.database().sql(&subscribed), "0");
    let errors = server.fail(&["account", "remove", name, &numbers[1]], "");
    assert!(errors.contains("has no account"), "{errors}");
    let errors = server.fail(&["account", "remove", &numbers[1], name], "");
    assert!(errors.contains("the user's name comes before the number"), "{errors}");
}
