//! The record of administrative acts.

use serde_json::Value;

use crate::support::people::Person;
use crate::support::server::{SECRET_KEY, Server};

/// The acts without their times, which are checked.
fn acts(server: &Server) -> Vec<String> {
    let acts = server.run(&["audit"], "");
    let act = |line: &str| {
        let (time, act) = line.split_once(' ').expect("a time");
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{line}");
        act.to_owned()
    };
    acts.lines().map(act).collect()
}

#[tokio::test]
async fn every_administrative_act_is_recorded_with_its_outcome_and_without_numbers() {
    let server = Server::start();
    let person = Person::new(&server).await;
    let sql = |text: &str| server.database().sql(text);
    let name = sql("SELECT name FROM windu_user WHERE name <> 'alice'");
    let account = sql("SELECT id FROM account");
    let user = sql(&format!("SELECT id FROM windu_user WHERE name = '{name}'"));
    server.run(&["user", "disable", &name], "");
    server.run(&["user", "enable", &name], "");
    server.fail(&["user", "create", "alice"], "");
    server.run(&["user", "list"], "");
    server.run(&["client", "create", "my app"], "");
    server.run(&["client", "delete", "my app"], "");
    let cli = acts(&server)[0].split(' ').next().expect("an actor").to_owned();
    assert!(cli.starts_with("cli:") && cli.len() > 4, "{cli}");
    let expected = [
        // The first user, which the server makes.
        format!("{cli} user.create alice ok"),
        format!("{cli} user.create {name} ok"),
        format!("api:{name} account.register {account} ok"),
        format!("{cli} user.disable {name} ok"),
        format!("{cli} user.enable {name} ok"),
        format!("{cli} user.create alice failed"),
        format!("{cli} client.create my_app ok"),
        format!("{cli} client.delete my_app ok"),
    ];
    assert_eq!(acts(&server), expected);
    assert!(!server.run(&["audit"], "").contains(&person.number));

    let deleted = server.run(&["user", "delete", &name], "");
    assert_eq!(deleted, format!("deleted {name}: 1 accounts, 0 messages\n"));
    let after = acts(&server);
    assert_eq!(after.last(), Some(&format!("{cli} user.delete user-{user} ok")));
    assert_eq!(after[2], format!("api:user-{user} account.register {account} ok"));
    assert!(!after.iter().any(|act| act.contains(&name)), "{after:?}");

    let json = server.run(&["audit", "--json", "--since", "2026-01-01"], "");
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["action"], &first["outcome"]), (&"user.create".into(), &"ok".into()));
    assert_eq!(server.run(&["audit", "--since", "2999-01-01T00:00:00Z"], ""), "");
    assert!(server.fail(&["audit", "--since", "yesterday"], "").contains("2026-11-23"));
}

#[tokio::test]
async fn removing_an_account_is_recorded_for_its_user() {
    let server = Server::start();
    let person = Person::new(&server).await;
    let account = server.database().sql("SELECT id FROM account");
    let removed = person.api.post("/api/account/remove-account/", &[("account", &person.number)]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    let name = server.database().sql("SELECT name FROM windu_user WHERE name <> 'alice'");
    assert_eq!(acts(&server).last(), Some(&format!("api:{name} account.remove {account} ok")));
}

#[tokio::test]
async fn a_name_of_several_words_is_one_word_and_is_forgotten_too() {
    let server = Server::start();
    server.run(&["user", "create", "two words", "--password-stdin"], "a password of some length\n");
    assert!(acts(&server)[1].ends_with(" user.create two_words ok"));
    let id = server.database().sql("SELECT id FROM windu_user WHERE name = 'two words'");
    server.run(&["user", "delete", "two words"], "");
    server.fail(&["user", "create", ""], "");
    let acts = acts(&server);
    assert!(acts[1].ends_with(&format!(" user.create user-{id} ok")), "{acts:?}");
    assert!(acts.iter().all(|act| act.split(' ').count() == 4), "{acts:?}");
}

#[tokio::test]
async fn a_change_of_keys_is_recorded() {
    let first = Server::start();
    let second = Server::setup()
        .database(first.database().clone())
        .env("WINDU_SECRET_KEY", "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE=")
        .env("WINDU_SECRET_KEY_OLD", SECRET_KEY)
        .start();
    assert!(acts(&second).last().expect("an act").ends_with(" key.change - ok"));
}
