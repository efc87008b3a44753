//! `windu user delete`, killed at many moments and repeated.

use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::killed_command::kill_until_it_ends;
use crate::support::owner::Owner;
use crate::support::people::PASSWORD;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

/// A word in what belongs to the user alone.
const SECRET: &str = "sesquipedalian";

/// The id and the name of the user of a number.
fn user_of(server: &Server, number: &str) -> (String, String) {
    let row = server.database().sql(&format!(
        "SELECT u.id, u.name FROM account a JOIN windu_user u ON u.id = a.user_id WHERE a.number = '{number}'"
    ));
    let (id, name) = row.split_once('|').expect("two columns");
    (id.to_owned(), name.to_owned())
}

/// Accounts that write to each other, with a file, a webhook, and a long history.
async fn owner(server: &Server, word: &str) -> Owner {
    let owner = Owner::new(server, 3).await;
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(3, 2, image::Rgb([7, 2, word.as_bytes()[0]]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
        let form = Form::new()
            .text("account", owner.numbers[from].clone())
            .text("contact", owner.numbers[to].clone())
            .text("caption", word.to_owned())
            .part("filename", Part::bytes(bytes.into_inner()).file_name("a.png"));
        let request = owner.api.request(Method::POST, "/api/messages/send-image/").multipart(form);
        assert_eq!(owner.api.send(request).await.status, 200);
    }
    let hook = json!({"url": format!("https://example.com/{word}"), "after": "oldest"});
    let made = owner.api.post_json("/api/webhooks/", &hook).await;
    assert_eq!(made.status, 201, "{}", made.text());
    block_in_place(|| {
        wait_until("the files to arrive", DEADLINE, || {
            let waiting = "SELECT count(*) FROM message_media WHERE retry_at IS NOT NULL";
            (server.database().sql(waiting) == "0").then_some(())
        });
        let (user, _) = user_of(server, &owner.numbers[0]);
        server.database().sql(&format!(
            "INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
             SELECT h.account_id, h.id, 'old ' || n, 'sent', 't', '{word}', sha256('x'), now() - n * interval '1 s'
             FROM chat h JOIN account a ON a.id = h.account_id, generate_series(1, 2000) n WHERE a.user_id = {user};
             WITH moved AS (
                 UPDATE account_counter SET seq = seq + 10000, stored_at = clock_timestamp() WHERE user_id = {user}
                 RETURNING id, seq - 10000 AS seq, stored_at)
             INSERT INTO event (counter_id, seq, at, kind, payload)
             SELECT id, seq + n, stored_at, 'message.removed', '{{\"chat\": \"{word}\"}}'
             FROM moved, generate_series(1, 10000) n"
        ));
    });
    owner
}

/// All rows that belong to a user, as one hash.
fn rows_of(server: &Server, user: &str) -> String {
    let hash = |table: &str, of: &str| {
        format!("(SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t WHERE {of})")
    };
    let accounts = format!("account_id IN (SELECT id FROM account WHERE user_id = {user})");
    let counters = format!("counter_id IN (SELECT id FROM account_counter WHERE user_id = {user})");
    let mut hashes: Vec<String> = ["chat", "message", "message_media", "contact", "media_usage"]
        .map(|table| hash(table, &accounts))
        .into();
    hashes.push(hash("event", &counters));
    hashes.push(hash("windu_user", &format!("id = {user}")));
    hashes
        .push(format!("(SELECT count(*) FROM account WHERE user_id = {user} AND registered_at IS NOT NULL)"));
    hashes.push(format!("(SELECT count(*) FROM webhook WHERE user_id = {user})"));
    server.database().sql(&format!("SELECT {}", hashes.join(", ")))
}

/// The tables that have a row with one of these ids in a column of this name, or with a word. Commands are left out: requests
/// may still wait for their answers, or be repeated, and they end within the hour.
fn tables_with(server: &Server, ids: &[(&str, String)], words: &[&str]) -> Vec<String> {
    let database = server.database();
    let mut found = Vec::new();
    for (column, list) in ids {
        let tables = database.sql(&format!(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'command'
               AND a.attname = '{column}'"
        ));
        for table in tables.lines() {
            let rows = database.sql(&format!("SELECT count(*) FROM {table} WHERE {column} IN ({list})"));
            if rows != "0" {
                found.push(format!("{table}.{column}: {rows}"));
            }
        }
    }
    let tables = database
        .sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'command'");
    for table in tables.lines() {
        for word in words {
            let rows = database.sql(&format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{word}%'"));
            if rows != "0" {
                found.push(format!("{table}, {word}: {rows}"));
            }
        }
    }
    found
}

async fn deletes_although_it_is_killed(server: &mut Server, runs_beside_it: bool) {
    let (victim, other) = (owner(server, SECRET).await, owner(server, "bystander").await);
    let (user, name) = user_of(server, &victim.numbers[0]);
    let (other_user, _) = user_of(server, &other.numbers[0]);
    let database = server.database().clone();
    let list = |what: &str, of: &str| {
        database.sql(&format!("SELECT string_agg({what}::text, ',') FROM account WHERE {of}"))
    };
    let of_victim = format!("user_id = {user}");
    let ids = [
        ("user_id", user.clone()),
        ("account_id", list("id", &of_victim)),
        ("counter_id", list("counter_id", &of_victim)),
    ];
    let before = rows_of(server, &other_user);
    if !runs_beside_it {
        block_in_place(|| server.kill());
    }
    let anonymous = Client::new(server.url().to_owned());
    let (mut touched, mut attempts) = (false, 0);
    let runtime = tokio::runtime::Handle::current();
    let (kills, _) = block_in_place(|| {
        let command = || {
            let mut command = server.program();
            command.args(["user", "delete", &name]);
            command
        };
        kill_until_it_ends(command, Duration::from_millis(60), || {
            let whole = "SELECT count(*) = 3 FROM account";
            touched |=
                database.sql(&format!("{whole} WHERE {of_victim} AND registered_at IS NOT NULL")) == "f";
            if touched && runs_beside_it {
                // Half deleted, the user cannot sign in. More attempts would be refused anyway.
                attempts += 1;
                if attempts <= 3 {
                    let form = [
                        ("grant_type", "password"),
                        ("username", name.as_str()),
                        ("password", PASSWORD),
                        ("client_id", "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY"),
                    ];
                    assert_eq!(runtime.block_on(anonymous.post("/o/token/", &form)).status, 400);
                }
                assert_eq!(runtime.block_on(victim.api.get("/api/account/")).status, 401);
            }
        })
    });
    println!("killed {kills} times; half deleted: {touched}");
    assert_eq!(tables_with(server, &ids, &[SECRET, &name]), [] as [String; 0]);
    assert_eq!(rows_of(server, &other_user), before);
    let numbers = victim.numbers.iter().map(|number| format!("'{number}'")).collect::<Vec<_>>().join(",");
    let subscribed = format!("SELECT count(*) FROM localnet_subscriber WHERE number IN ({numbers})");
    assert_eq!(database.sql(&subscribed), "0");
    let acts = format!(
        "SELECT outcome, count(*) FROM audit WHERE action = 'user.delete' AND target = 'user-{user}' GROUP BY 1"
    );
    assert_eq!(database.sql(&acts), "ok|1");
    if !runs_beside_it {
        block_in_place(|| server.restart());
    }
    let answer = other.api.at(server.url()).get("/api/account/").await;
    assert_eq!((answer.status, answer.json()["accounts"].as_array().map(Vec::len)), (200, Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_deleted_although_the_command_is_killed() {
    let mut server = Server::start();
    deletes_although_it_is_killed(&mut server, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_deleted_although_the_command_is_killed_and_no_server_runs() {
    let mut server = Server::start();
    deletes_although_it_is_killed(&mut server, false).await;
}
