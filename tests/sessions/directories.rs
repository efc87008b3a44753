//! A network that shows each account other people: numbers without addresses, addresses without numbers, and what becomes of
//! both when the network says that they are one person.

use std::sync::atomic::Ordering;

use windu::domain::{Account, ChatName, ContactId, Content, GroupChangeKind, ReceiptKind};
use windu::store::{Accepted, NewMessage};
use windu::upstream::{Address, Group, GroupChange, Incoming, Member, UpstreamEvent};

use crate::scripted::{Call, Line, incoming, long_ago, message, receipt};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{A_DAY, Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";

fn from(address: &str, id: &str, text: &str, number: u64) -> Incoming {
    let mut incoming = message("", id, text, number);
    if let UpstreamEvent::Message { from, .. } = &mut incoming.event {
        *from = Address(address.to_owned());
    }
    incoming
}

fn resolved(of: &str, address: &str, number: u64) -> Incoming {
    let address = Address(address.to_owned());
    incoming(UpstreamEvent::Resolved { number: of.parse().unwrap(), address }, number)
}

/// Adds a contact as the API does.
async fn add(process: &Process, account: &Account, number: &str) -> bool {
    let id = ContactId::Number(number.parse().unwrap());
    let (tx, contact) = process.sessions.add_contact(account, &id, ("Ben", ""), None).await.unwrap();
    tx.commit().await.unwrap();
    contact.exists
}

/// The addresses that texts were sent to.
fn sent_to(line: &Line) -> Vec<(String, String)> {
    let calls = line.calls().into_iter();
    calls
        .filter_map(|call| match call {
            Call::Send { to, text, .. } => Some((text, to)),
            _ => None,
        })
        .collect()
}

/// The public id of the only chat.
async fn only_chat(process: &Process, account: &Account) -> String {
    let page = windu::store::Page { limit: 10, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
    let mut chats = process.store.chats(account, page).await.unwrap();
    assert_eq!(chats.len(), 1, "{chats:?}");
    chats.remove(0).id
}

#[tokio::test]
async fn a_number_has_a_provisional_address_until_the_network_says_its_own() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    assert!(!add(&process, &account, BEN).await, "the network knows nobody yet");
    let first = process.send(&account, BEN, "to the number").await;
    process.until_message(&account, BEN, &first, "sent").await;

    // As an answer.
    line.knows(BEN, "user-2");
    let (tx, synced) = process.sessions.sync_contacts(&account, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(synced.existing, [BEN]);
    let second = process.send(&account, BEN, "to the address").await;
    process.until_message(&account, BEN, &second, "sent").await;
    // As an event.
    assert!(!add(&process, &account, CLEO).await);
    line.stores(vec![resolved(CLEO, "user-3", 1)]).await;
    let third = process.send(&account, CLEO, "to Cleo").await;
    process.until_message(&account, CLEO, &third, "sent").await;
    assert_eq!(
        sent_to(&line),
        [("to the number", "tel:15550100002"), ("to the address", "user-2"), ("to Cleo", "user-3")]
            .map(|(text, to)| (text.to_owned(), to.to_owned()))
    );

    // Receipts and messages come from the address.
    let receipt = |id: &str, number| {
        let mut receipt = receipt("", id, ReceiptKind::Read, number);
        if let UpstreamEvent::Receipt { from, .. } = &mut receipt.event {
            *from = Address("user-2".to_owned());
        }
        receipt
    };
    line.stores(vec![receipt(&first, 2), receipt(&second, 3), from("user-2", "a", "an answer", 4)]).await;
    assert!(process.message(&account, BEN, &first).await.read.is_some());
    assert!(process.message(&account, BEN, &second).await.read.is_some());
    assert_eq!(process.texts(&account, BEN).await, ["to the number", "to the address", "an answer"]);
    // The session got its lists again, with the new address.
    line.waits_for_call(&Call::Contacts(vec!["user-2".to_owned(), "user-3".to_owned()])).await;
}

/// Somebody wrote, and is somebody to whom the account has written by number: more messages than one step moves.
#[tokio::test]
async fn a_person_known_by_address_and_by_number_becomes_one() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    add(&process, &account, BEN).await;
    process.block(&account, BEN).await;
    let first = process.send(&account, BEN, "by number").await;
    process.until_message(&account, BEN, &first, "sent").await;
    let many = "INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
                SELECT account_id, id, 'filled ' || n, 'sent', 't', 'text', '', now() + n * interval '1 microsecond'
                FROM chat, generate_series(1, 2500) n WHERE account_id = $1";
    assert_eq!(world.change(&account, many).await, 2_500);
    line.stores(vec![from("user-2", "a", "from the address", 1)]).await;
    let page = windu::store::Page { limit: 10, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
    let chats = process.store.chats(&account, page).await.unwrap();
    let unknown = chats.iter().find(|chat| chat.id != BEN).expect("a chat with a public id").id.clone();
    assert!(unknown.starts_with('x'), "{unknown}");
    // What another device sent came to the other chat, under the id of the message.
    let mut elsewhere = from("user-2", &first, "by number", 2);
    if let UpstreamEvent::Message { from, id, content, reply_to, sent_at, .. } = elsewhere.event {
        elsewhere.event = UpstreamEvent::SentElsewhere { to: from, id, content, reply_to, sent_at };
    }
    line.stores(vec![elsewhere]).await;

    // It fails after the first step, and goes on.
    world.sql(
        "CREATE TABLE failing ();
         INSERT INTO failing DEFAULT VALUES;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM failing) AND (SELECT count(*) FROM message m JOIN chat h ON h.id = m.chat_id
                        JOIN peer p ON p.id = h.peer_id WHERE p.address = 'user-2') > 1500
             THEN RAISE 'the second step fails'; END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER failing AFTER UPDATE ON message FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    );
    line.receives(vec![resolved(BEN, "user-2", 3)]).await;
    line.opened(2).await;
    let both = process.messages(&account, BEN).await.len() + process.messages(&account, &unknown).await.len();
    assert_eq!(both, 2_502, "nothing is lost in between");
    world.sql("DELETE FROM failing");
    line.stores(vec![resolved(BEN, "user-2", 3)]).await;

    assert_eq!(only_chat(&process, &account).await, BEN);
    assert_eq!(process.messages(&account, &unknown).await.len(), 0);
    let messages = process.messages(&account, BEN).await;
    assert_eq!(messages.len(), 2_502);
    assert!(messages.is_sorted_by_key(|message| message.time));
    assert_eq!(messages.iter().filter(|message| message.id == first).count(), 1);
    let changed = process.entries(&account, "contact.id_changed").await;
    assert_eq!(changed, [serde_json::json!({"contact": BEN, "was": unknown})]);
    let contact = process.store.contact(&account, BEN).await.unwrap().expect("the contact");
    assert!(contact.exists && contact.first_name == "Ben");
    assert_eq!(process.store.blocked(&account).await.unwrap(), [BEN]);
    line.waits_for_call(&Call::Blocked(vec!["user-2".to_owned()])).await;

    // What is queued and what comes goes to the one chat.
    line.receives(vec![from("user-2", "blocked", "from somebody blocked", 4)]).await;
    line.waits_for_call(&Call::Discard(vec![4])).await;
    let last = process.send(&account, BEN, "last").await;
    process.until_message(&account, BEN, &last, "sent").await;
    assert_eq!(sent_to(&line).last().unwrap(), &("last".to_owned(), "user-2".to_owned()));
    assert_eq!(process.messages(&account, BEN).await.len(), 2_503);
    // The same again changes nothing.
    let entries = process.journal(&account).await.len();
    line.stores(vec![resolved(BEN, "user-2", 5)]).await;
    assert_eq!(process.journal(&account).await.len(), entries);
}

#[tokio::test]
async fn a_message_keeps_the_id_of_the_network_in_the_joined_chat() {
    let world = World::new().await;
    world.network.remote_ids.store(true, Ordering::Relaxed);
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    line.stores(vec![from("user-2", "a", "hello", 1)]).await;
    line.plan_remote_id("by number", "remote-1");
    let id = process.send(&account, BEN, "by number").await;
    process.until_message(&account, BEN, &id, "sent").await;
    let mut read = receipt("", "remote-1", ReceiptKind::Read, 3);
    if let UpstreamEvent::Receipt { from, .. } = &mut read.event {
        *from = Address("user-2".to_owned());
    }
    // The receipt comes first.
    line.stores(vec![read]).await;
    line.stores(vec![resolved(BEN, "user-2", 2)]).await;
    assert!(process.message(&account, BEN, &id).await.read.is_some());
    assert_eq!(process.texts(&account, BEN).await, ["hello", "by number"]);
}

/// A request has looked the person up before, and writes afterwards.
#[tokio::test]
async fn a_request_that_crosses_the_joining_means_the_one_person() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    line.stores(vec![from("user-2", "a", "hello", 1)]).await;
    let provisional = process.peer(&account, BEN).await;
    line.stores(vec![resolved(BEN, "user-2", 2)]).await;

    let mut tx = process.store.begin().await.unwrap();
    tx.add_contact(&account, &provisional, ("Ben", ""), true).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = process.store.begin().await.unwrap();
    tx.replace_blocked(&account, std::slice::from_ref(&provisional)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(process.store.contact_addresses(account.id).await.unwrap(), ["user-2"]);
    assert_eq!(process.store.blocked(&account).await.unwrap(), [BEN]);
    assert!(process.store.contact(&account, BEN).await.unwrap().is_some());
    // A send is refused, and looks the person up again.
    let content = Content::Text("to nobody".to_owned());
    let message = NewMessage {
        named: true,
        id: "m",
        peer: provisional.id,
        chat: &ChatName::Contact(BEN.parse().unwrap()),
        content: &content,
        time_to_live: A_DAY,
        reservation: None,
    };
    let accepted = process.store.accept_send(&account, &message, None).await.unwrap();
    assert_eq!(accepted, Accepted::NotAllowed);
}

#[tokio::test]
async fn what_one_account_knows_of_a_person_does_not_show_in_the_answers_to_another() {
    let world = World::new().await;
    let process = world.process();
    let (anna, cleo) = (process.private(&world, ANNA).await, process.private(&world, CLEO).await);
    for account in [&anna, &cleo] {
        world.line(account).stores(vec![from("user-2", "a", "hello", 1)]).await;
    }
    world.line(&anna).stores(vec![resolved(BEN, "user-2", 2)]).await;
    assert_eq!(only_chat(&process, &anna).await, BEN);
    let unknown = only_chat(&process, &cleo).await;
    assert!(unknown.starts_with('x'), "{unknown}");
    assert_eq!(process.texts(&cleo, BEN).await.len(), 0);
    // A number that the one may know is none that the other may.
    world.line(&anna).knows("15550100009", "user-9");
    assert!(add(&process, &anna, "15550100009").await);
    assert!(!add(&process, &cleo, "15550100009").await);
}

#[tokio::test]
async fn a_number_that_passes_to_another_person_takes_no_chat_along() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    line.knows(BEN, "user-2");
    assert!(add(&process, &account, BEN).await);
    line.stores(vec![from("user-2", "a", "from the first owner", 1)]).await;
    line.stores(vec![resolved(BEN, "user-7", 2), from("user-7", "b", "from the second owner", 3)]).await;
    assert_eq!(process.texts(&account, BEN).await, ["from the second owner"]);
    let changed = process.entries(&account, "contact.id_changed").await;
    let first_owner = changed[0]["contact"].as_str().unwrap().to_owned();
    assert_eq!((changed.len(), changed[0]["was"].as_str()), (1, Some(BEN)));
    assert_eq!(process.texts(&account, &first_owner).await, ["from the first owner"]);
    // The entry is one of the number.
    let contacts = process.store.contacts(&account).await.unwrap();
    assert_eq!(contacts.len(), 1);
    assert!(contacts[0].public_id == BEN && contacts[0].exists && contacts[0].first_name == "Ben");
    assert_eq!(process.store.contact_addresses(account.id).await.unwrap(), ["user-7"]);
}

#[tokio::test]
async fn a_person_who_changes_the_number_takes_the_chat_along() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    line.knows(BEN, "user-2");
    assert!(add(&process, &account, BEN).await);
    add(&process, &account, CLEO).await;
    line.stores(vec![from("user-2", "a", "under the old number", 1)]).await;
    line.stores(vec![resolved(CLEO, "user-2", 2), from("user-2", "b", "under the new one", 3)]).await;
    assert_eq!(process.texts(&account, CLEO).await, ["under the old number", "under the new one"]);
    assert_eq!(only_chat(&process, &account).await, CLEO);
    let contacts = process.store.contacts(&account).await.unwrap();
    let contacts: Vec<_> = contacts.iter().map(|one| (one.public_id.as_str(), one.exists)).collect();
    assert_eq!(contacts, [(BEN, false), (CLEO, true)]);
    let addresses = process.store.contact_addresses(account.id).await.unwrap();
    assert_eq!(addresses, ["tel:15550100002", "user-2"]);
}

#[tokio::test]
async fn groups_are_of_the_directory_of_the_account() {
    let world = World::new().await;
    let process = world.process();
    let (anna, cleo) = (process.private(&world, ANNA).await, process.private(&world, CLEO).await);
    let member =
        |address: &str| Member { address: Address(address.to_owned()), admin: false, since: long_ago() };
    let group = Group {
        address: Address("g@groups.scripted".to_owned()),
        subject: "Lake".to_owned(),
        creator: Some(Address("user-1".to_owned())),
        created_at: long_ago(),
        revision: 1,
        photo: None,
        members: vec![member("user-1"), member("user-2"), member("user-3")],
    };
    let news = |number| {
        let change = GroupChange { kind: GroupChangeKind::Created, who: Vec::new(), by: None };
        let group = std::sync::Arc::new(group.clone());
        incoming(
            UpstreamEvent::GroupChanged {
                group,
                revision: 1,
                subject: "Lake".to_owned(),
                changes: vec![change],
            },
            number,
        )
    };
    world.line(&anna).stores(vec![resolved(ANNA, "user-1", 1), resolved(BEN, "user-2", 2), news(3)]).await;
    world.line(&cleo).stores(vec![resolved(CLEO, "user-3", 1), news(2)]).await;
    let of_anna = process.store.groups(&anna, None).await.unwrap().remove(0);
    let of_cleo = process.store.groups(&cleo, None).await.unwrap().remove(0);
    assert_eq!(of_anna.participants[..2], [ANNA, BEN]);
    assert!(of_anna.participants[2].starts_with('x'), "{of_anna:?}");
    assert_eq!(of_cleo.participants[2], CLEO);
    assert!(of_cleo.participants[..2].iter().all(|id| id.starts_with('x')), "{of_cleo:?}");
}

#[tokio::test]
async fn the_directory_goes_with_the_account() {
    let world = World::new().await;
    let process = world.process();
    let (anna, cleo) = (process.private(&world, ANNA).await, process.private(&world, CLEO).await);
    for account in [&anna, &cleo] {
        let line = world.line(account);
        line.stores(vec![from("user-2", "a", "hello", 1), resolved(BEN, "user-2", 2)]).await;
    }
    process.sessions.unregister(anna.id, None).await.unwrap();
    process.store.delete_all_removed().await.unwrap();
    let known = "SELECT count(*) FROM peer WHERE number = '15550100002' OR address = 'user-2'";
    assert_eq!(world.count(known).await, 1, "that of the other account");
    assert_eq!(process.texts(&cleo, BEN).await, ["hello"]);
}

/// As many as a contact list may have, resolved in the answer to an import.
#[tokio::test]
async fn a_whole_contact_list_is_resolved_in_few_steps() {
    let world = World::new().await;
    let process = world.process();
    let account = process.private(&world, ANNA).await;
    let line = world.line(&account);
    let numbers: Vec<String> = (0..5_000).map(|number| (15_560_000_000_u64 + number).to_string()).collect();
    for number in &numbers {
        line.knows(number, &format!("user-{number}"));
    }
    let ids = || numbers.iter().map(|number| ContactId::Number(number.parse().unwrap())).collect::<Vec<_>>();
    let before =
        world.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await;
    for _ in 0..2 {
        let existing = process
            .sessions
            .existing(account.id, numbers.iter().map(|number| number.parse().unwrap()).collect(), None)
            .await
            .unwrap();
        assert_eq!(existing.len(), numbers.len());
    }
    let peers = process.sessions.peers(&account, ids()).await.unwrap();
    assert!(peers.iter().all(|peer| peer.address == format!("user-{}", peer.public_id)));
    let counted = async || {
        let now =
            world.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await;
        (now > before).then_some(now)
    };
    let after = wait_until_async("the statistics", DEADLINE, counted).await;
    assert!(after - before < 1_000, "{} transactions", after - before);
}
