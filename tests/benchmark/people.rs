//! Accounts made by SQL as registration would make them, thousands per second.

use std::ops::Range;

use serde_json::json;
use sqlx::PgPool;
use windu::secrets::{self, MasterKey};

use crate::support::server::SECRET_KEY;
use crate::support::xmpp::XmppServer;

/// A registered account, of a user of its own.
pub struct Person {
    pub number: String,
    /// An access token of the user.
    pub token: String,
}

/// The statements for a person, in order.
const STATEMENTS: &[&str] = &[
    "INSERT INTO windu_user (name, password_hash) SELECT number, '-' FROM person ORDER BY place",
    "INSERT INTO account_counter (user_id, number, epoch)
     SELECT u.id, number, md5(number) FROM person JOIN windu_user u ON u.name = number ORDER BY place",
    "INSERT INTO account (user_id, number, counter_id, network, proved_at, registered_at, credentials, session_state)
     SELECT c.user_id, number, c.id, person.network, now(), now(), credentials, 'starting'
     FROM person JOIN account_counter c USING (number) ORDER BY place",
    "INSERT INTO localnet_subscriber (number, incarnation)
     SELECT number, secret FROM person WHERE network = 'local' ORDER BY place",
    "INSERT INTO oauth_grant (user_id, client_id, scope)
     SELECT u.id, o.id, 'read write' FROM person JOIN windu_user u ON u.name = number, oauth_client o ORDER BY place",
    "INSERT INTO oauth_token (grant_id, access_hash, access_scope, access_expires_at, refresh_hash, refresh_expires_at)
     SELECT g.id, token_hash, 'read write', now() + interval '1 day', sha256(token_hash), now() + interval '1 day'
     FROM person JOIN windu_user u ON u.name = number JOIN oauth_grant g ON g.user_id = u.id ORDER BY place",
    "INSERT INTO peer (network, address, number, public_id)
     SELECT network, address, number, number FROM person ORDER BY place",
    "DROP TABLE person",
];

/// Where accounts are made.
struct Network<'a> {
    name: &'a str,
    addresses: Vec<String>,
    /// What the network gave each to log in with, in the form of its connector.
    secrets: Vec<String>,
}

/// Makes `count` people in an empty database, on the network `local`: the account and the counter of the first have the
/// id 1, and so on.
pub async fn make(pool: &PgPool, count: usize) -> Vec<Person> {
    let people = people(0..count);
    let network = Network {
        name: "local",
        addresses: people.iter().map(|person| person.number.clone()).collect(),
        secrets: people.iter().map(|_| secrets::random_id()).collect(),
    };
    insert(pool, &people, &network).await;
    people
}

/// Makes people with accounts on an XMPP server. The place of each, from 0, is in the number.
pub async fn make_on_xmpp(pool: &PgPool, xmpp: &XmppServer, places: Range<usize>) -> Vec<Person> {
    let people = people(places);
    let passwords: Vec<String> = people.iter().map(|_| secrets::random_token()).collect();
    xmpp.add_users(people.iter().zip(&passwords).map(|(person, password)| (&*person.number, &**password)));
    let network = Network {
        name: "xmpp",
        addresses: people.iter().map(|person| format!("{}@{}", person.number, xmpp.domain())).collect(),
        secrets: passwords.iter().map(|password| json!({ "password": password }).to_string()).collect(),
    };
    insert(pool, &people, &network).await;
    people
}

fn people(places: Range<usize>) -> Vec<Person> {
    places.map(|place| Person { number: format!("1555{place:07}"), token: secrets::random_token() }).collect()
}

async fn insert(pool: &PgPool, people: &[Person], network: &Network<'_>) {
    let keys = MasterKey::from_base64(SECRET_KEY, None).expect("a key");
    let numbers: Vec<&str> = people.iter().map(|person| person.number.as_str()).collect();
    let hashes: Vec<Vec<u8>> =
        people.iter().map(|person| secrets::sha256(person.token.as_bytes()).to_vec()).collect();
    let sealed: Vec<Vec<u8>> = numbers
        .iter()
        .zip(&network.secrets)
        .map(|(number, secret)| keys.seal("credentials", number.as_bytes(), secret.as_bytes()))
        .collect();
    sqlx::query(
        "CREATE TABLE person AS SELECT *, $6::text AS network
         FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[], $5::text[])
         WITH ORDINALITY AS p (number, token_hash, secret, credentials, address, place)",
    )
    .bind(&numbers)
    .bind(&hashes)
    .bind(&network.secrets)
    .bind(&sealed)
    .bind(&network.addresses)
    .bind(network.name)
    .execute(pool)
    .await
    .expect("the people");
    for statement in STATEMENTS {
        sqlx::query(*statement).execute(pool).await.expect("the rows of the people");
    }
}

/// Makes `pairs` senders, then as many receivers; each sender has a receiver as its only contact, and a chat with it
/// whose id is the sender's.
pub async fn make_pairs(pool: &PgPool, pairs: usize) -> Vec<(Person, Person)> {
    let mut senders = make(pool, pairs * 2).await;
    let receivers = senders.split_off(pairs);
    for statement in [
        "INSERT INTO contact (account_id, peer_id, exists_there)
         SELECT a.id, p.id, true FROM account a JOIN account r ON r.id = a.id + $1 JOIN peer p ON p.number = r.number
         ORDER BY a.id",
        "INSERT INTO chat (account_id, peer_id)
         SELECT a.id, c.peer_id FROM account a JOIN contact c ON c.account_id = a.id WHERE a.id <= $1 ORDER BY a.id",
    ] {
        let pairs = i64::try_from(pairs).expect("a small number");
        sqlx::query(statement).bind(pairs).execute(pool).await.expect("contacts and chats");
    }
    let fits = "SELECT count(*) FROM account a JOIN chat h ON h.id = a.id AND h.account_id = a.id
                WHERE a.counter_id = a.id";
    let fitting: i64 = sqlx::query_scalar(fits).fetch_one(pool).await.expect("a count");
    assert_eq!(usize::try_from(fitting).ok(), Some(pairs), "the ids of accounts, counters and chats");
    senders.into_iter().zip(receivers).collect()
}

/// Waits until `count` sessions are online.
pub async fn until_online(pool: &PgPool, count: usize) {
    let online = "SELECT count(*) FROM account WHERE session_state = 'online'";
    loop {
        let found: i64 = sqlx::query_scalar(online).fetch_one(pool).await.expect("a count");
        if usize::try_from(found).is_ok_and(|found| found >= count) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
