//! Commands beside a running server: `windu check`, `windu user` and `windu account`.

use serde_json::json;

use crate::support::people::{Person, fresh_number, login, register};
use crate::support::server::Server;

#[tokio::test]
async fn check_reports_each_part_that_works() {
    let server = Server::start();
    let report = server.run(&["check"], "");
    for line in [
        "ok      configuration: listens on 127.0.0.1:0\n",
        "ok      database: PostgreSQL ",
        "ok      tables: at this version\n",
        "ok      secret key: fits the database\n",
        "ok      servers: 1 running, 0 registered accounts\n",
        "ok      network local: answers\n",
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
}
