//! What a newer version of the program has written beside this one: it is left to that version, shown as far as it is
//! known, and holds up nothing.

use serde_json::{Value, json};
use windu::domain::{Audience, MediaKind, Privacy};
use windu::sessions::{AskError, Timeouts};
use windu::store::{OwnProfile, StoredContent};

use crate::scripted::Call;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";

/// Stanzas that only a newer version can read, with their senders.
fn unreadable_stanzas() -> Vec<(&'static str, Value)> {
    let text = json!({"stanza": "text", "id": "n1", "text": "from elsewhere"});
    vec![
        (ANNA, json!({"stanza": "poll", "id": "n2", "question": "When?"})),
        (ANNA, json!({"stanza": "text", "id": "n3", "text": {"parts": ["not", "a", "text"]}})),
        (
            ANNA,
            json!({"stanza": "file", "id": "n4", "kind": "d", "caption": null, "reference": "15550100001/n4",
                   "mimetype": "application/pdf", "size": 7, "hash": "01".repeat(32)}),
        ),
        (
            ANNA,
            json!({"stanza": "group", "group": "group:a", "revision": 1, "subject": "Ducks",
                   "changes": [{"kind": "description", "who": []}]}),
        ),
        (ANNA, json!({"stanza": "in_group", "group": "group:a", "said": {"stanza": "reaction", "id": "n5"}})),
        (ANNA, json!(["stanza"])),
        ("somebody@elsewhere.example", text),
    ]
}

fn insert(recipient: &str, stanzas: &[(&str, Value)], sent_at: &str) -> String {
    let rows: Vec<String> = stanzas
        .iter()
        .map(|(sender, stanza)| format!("('{recipient}', '{sender}', '{stanza}', {sent_at})"))
        .collect();
    format!("INSERT INTO localnet_stanza (recipient, sender, stanza, sent_at) VALUES {}", rows.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stanzas_of_a_newer_version_stay_in_the_mailbox_and_hold_up_no_others() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    let stanzas = unreadable_stanzas();
    let count = i64::try_from(stanzas.len()).unwrap();
    // Sent just now, and long ago.
    world.sql(&insert(BEN, &stanzas, "clock_timestamp()"));
    world.sql(&insert(BEN, &stanzas, "clock_timestamp() - interval '1 day'"));
    let id = process.send(&anna, BEN, "readable").await;
    assert_eq!(process.until_texts(&ben, ANNA, 1).await, ["readable"]);
    process.until_entries(&anna, "message.delivered", 1).await;
    let left = "SELECT count(*) FROM localnet_stanza WHERE recipient = '15550100002'";
    world.until_count(left, 2 * count).await;
    assert_eq!(process.state(&ben).await.name(), "online");
    assert_eq!(process.entries(&ben, "message.undecryptable").await, Vec::<Value>::new());
    let ids: Vec<String> = process.messages(&ben, ANNA).await.into_iter().map(|message| message.id).collect();
    assert_eq!(ids, [id]);

    // A process of the newer version takes over: here the stanzas become ones that this version reads.
    process.stop().await;
    world.sql(
        "UPDATE localnet_stanza SET sender = '15550100001', stanza = jsonb_build_object(
            'stanza', 'text', 'id', 'n' || id, 'text', 'now readable')",
    );
    let newer = world.process();
    let texts = newer.until_texts(&ben, ANNA, 1 + usize::try_from(2 * count).unwrap()).await;
    assert!(texts[1..].iter().all(|text| text == "now readable"), "{texts:?}");
    world.until_count(left, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_full_of_stanzas_of_a_newer_version_takes_and_gives_messages() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    process.stop().await;
    world.sql(
        "INSERT INTO localnet_stanza (recipient, sender, stanza, sent_at)
         SELECT '15550100002', '15550100001', '{\"stanza\": \"poll\"}', now() - interval '1 hour'
         FROM generate_series(1, 20000)",
    );
    let again = world.process();
    for index in 0..50 {
        again.send(&anna, BEN, &index.to_string()).await;
        again.until_texts(&ben, ANNA, index + 1).await;
    }
    again.until_state(&ben, "online").await;
    again.sweeps(&world, 2).await;
    // They were read once, and not again for each message.
    let read = "SELECT coalesce(sum(idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables
                WHERE relname = 'localnet_stanza'";
    let read = wait_until_async("the statistics", DEADLINE, async || {
        Some(world.count(read).await).filter(|read| *read >= 20_000)
    })
    .await;
    assert!(read < 200_000, "{read}");
    world.until_count("SELECT count(*) FROM localnet_stanza WHERE recipient = '15550100002'", 20_000).await;
}

#[tokio::test]
async fn messages_of_a_newer_version_are_shown_as_far_as_they_are_known() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let id = process.send(&account, BEN, "the text").await;
    process.until_message(&account, BEN, &id, "sent").await;
    world.sql(
        "ALTER TABLE message DROP CONSTRAINT message_state_check;
         UPDATE message SET type = 'd', state = 'scheduled', failure = 'not_allowed',
                            details = '{\"mimetype\": \"application/pdf\", \"size\": 7, \"pages\": [1, 2]}'",
    );
    let message = process.message(&account, BEN, &id).await;
    let StoredContent::Unknown(content) = &message.content else { panic!("{message:?}") };
    assert_eq!((message.content.letter(), message.content.text()), ("d", Some("the text")));
    assert_eq!(content.detail::<String>("mimetype").as_deref(), Some("application/pdf"));
    assert_eq!((message.state.name(), message.failure.as_deref()), ("scheduled", Some("not_allowed")));
    let page = windu::store::Page { limit: 9, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
    assert_eq!(process.store.chats(&account, page).await.unwrap()[0].kind, "d");
}

#[tokio::test]
async fn a_queued_message_of_a_newer_version_waits_for_it_and_holds_up_no_other() {
    let world = World::new().await;
    let idle = world.idle_process(Timeouts::default());
    let account = idle.registered(&world, ANNA).await;
    let mut unknown = Vec::new();
    // More than are sent at once.
    for index in 0..150 {
        unknown.push(idle.send(&account, BEN, &index.to_string()).await);
    }
    world.sql("UPDATE message SET type = 'p', details = '{\"options\": []}'");
    let broken = idle.send(&account, CLEO, "a picture without its file").await;
    world.sql(&format!("UPDATE message SET type = 'i' WHERE network_id = '{broken}'"));
    let (behind, elsewhere) =
        (idle.send(&account, BEN, "behind them").await, idle.send(&account, CLEO, "elsewhere").await);
    let process = world.process();
    process.until_message(&account, BEN, &behind, "sent").await;
    process.until_message(&account, CLEO, &elsewhere, "sent").await;
    assert_eq!(process.state(&account).await.name(), "online");
    process.sweeps(&world, 2).await;
    for id in &unknown {
        assert_eq!(process.message(&account, BEN, id).await.state.name(), "queued");
    }
    assert_eq!(process.message(&account, CLEO, &broken).await.state.name(), "queued");
    // They expire as all messages do.
    world.sql("UPDATE outbox SET expires_at = now()");
    for id in [&unknown[0], &unknown[149]] {
        let expired = process.until_message(&account, BEN, id, "failed").await;
        assert_eq!(expired.failure.as_deref(), Some("expired"));
    }
}

#[tokio::test]
async fn the_file_of_a_message_of_a_newer_version_is_left_to_it() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let id = process.send(&account, BEN, "a document").await;
    process.until_message(&account, BEN, &id, "sent").await;
    assert!(MediaKind::from_letter("d").is_none());
    world.sql(
        "UPDATE message SET type = 'd', details = '{\"reference\": \"there\", \"mimetype\": \"text/plain\"}';
         INSERT INTO message_media (message_id, account_id, retry_at) SELECT id, account_id, now() FROM message",
    );
    process.sweeps(&world, 2).await;
    assert_eq!(world.count("SELECT count(*) FROM message_media WHERE retry_at IS NOT NULL").await, 1);
    assert_eq!(process.entries(&account, "message.media").await, Vec::<Value>::new());
    assert!(!world.line(&account).calls().iter().any(|call| matches!(call, Call::Fetch(_))));
    assert_eq!(process.state(&account).await.name(), "online");
}

#[tokio::test]
async fn desired_state_of_a_newer_version_is_left_to_it() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    world.change(
        &account,
        "INSERT INTO desired_state (account_id, aspect, value) VALUES
            ($1, 'pinned_messages', '[1]'), ($1, 'privacy', '{\"status_message\": \"all\", \"photo\": \"friends\"}')
         ON CONFLICT (account_id, aspect) DO UPDATE SET value = excluded.value, version = desired_state.version + 1",
    )
    .await;
    world
        .change(
            &account,
            "INSERT INTO desired_state (account_id, aspect, value) VALUES ($1, 'nickname', '{\"given\": \"Anna\"}')
             ON CONFLICT (account_id, aspect)
             DO UPDATE SET value = excluded.value, version = desired_state.version + 1",
        )
        .await;
    let id = process.send(&account, BEN, "goes on").await;
    process.until_message(&account, BEN, &id, "sent").await;
    // Who may see what cannot be read is nobody.
    let privacy = Privacy { status_message: Audience::All, photo: Audience::None, last_seen: Audience::None };
    line.waits_for_call(&Call::Privacy(privacy)).await;
    let due = "SELECT count(*) FROM desired_state WHERE applied < version";
    world.until_count(due, 1).await;
    assert!(!line.calls().contains(&Call::Nickname(String::new())), "{:?}", line.calls());
    assert_eq!(process.state(&account).await.name(), "online");
}

#[tokio::test]
async fn privacy_settings_of_a_newer_version_are_shown_as_they_are() {
    let world = World::new().await;
    let process = world.idle_process(Timeouts::default());
    let account = process.registered(&world, ANNA).await;
    world.sql("ALTER TABLE account DROP CONSTRAINT account_privacy_photo_check");
    world.change(&account, "UPDATE account SET privacy_photo = 'friends' WHERE id = $1").await;
    let OwnProfile { privacy, .. } = process.store.own_profile(&account).await.unwrap().unwrap();
    assert_eq!((privacy.photo.as_str(), privacy.last_seen.as_str()), ("friends", "all"));
    // Another setting is changed and leaves it as it is.
    let mut tx = process.store.begin().await.unwrap();
    let change = windu::store::PrivacyChange { last_seen: Some(Audience::None), ..Default::default() };
    tx.set_privacy(&account, change).await.unwrap();
    tx.commit().await.unwrap();
    let value: Value = world
        .read(&account, "SELECT value FROM desired_state WHERE account_id = $1 AND aspect = 'privacy'")
        .await;
    assert_eq!(value, json!({"status_message": "all", "photo": "friends", "last_seen": "none"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_whose_settings_only_a_newer_version_knows_is_shown_to_nobody() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    process.add_contact(&anna, BEN, true).await;
    let seen = async || {
        let peer = process.peer(&anna, BEN).await;
        let scope = windu::store::ProfileScope::One(peer.id);
        process.store.status_messages(&anna, scope).await.unwrap().remove(0).text
    };
    let shows = async |text: &str| {
        let mut tx = process.store.begin().await.unwrap();
        tx.set_status_message(&ben, text).await.unwrap();
        tx.commit().await.unwrap();
        wait_until_async("the network to apply it", DEADLINE, async || {
            let applied = "SELECT count(*) FROM desired_state WHERE applied < version";
            (world.count(applied).await == 0).then_some(())
        })
        .await;
    };
    shows("seen by all").await;
    let visible =
        async || (seen().await == windu::domain::Visible::Value("seen by all".to_owned())).then_some(());
    wait_until_async("the status message", DEADLINE, visible).await;
    world.sql(
        "UPDATE localnet_subscriber SET privacy_status_message = 'friends' WHERE number = '15550100002'",
    );
    shows("for friends").await;
    let hidden = async || (seen().await == windu::domain::Visible::Hidden).then_some(());
    wait_until_async("the status message to be hidden", DEADLINE, hidden).await;
    assert_eq!(process.state(&ben).await.name(), "online");
}

#[tokio::test]
async fn a_command_of_a_newer_version_is_not_done_now() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let command: i64 = world
        .read(
            &account,
            "INSERT INTO command (account_id, request, deadline)
             VALUES ($1, '{\"request\": \"pin\", \"chat\": 7}', now() + interval '20 seconds') RETURNING id",
        )
        .await;
    let answer: Value = wait_until_async("the answer", DEADLINE, async || {
        let id = windu::domain::CommandId(command);
        match process.store.command_progress(id).await.unwrap() {
            windu::store::CommandProgress::Done(answer) => Some(answer),
            _ => None,
        }
    })
    .await;
    assert_eq!(answer["answer"], "later");
    assert!(process.sessions.existing(account.id, vec![BEN.parse().unwrap()], None).await.is_ok());
}

#[tokio::test]
async fn an_answer_of_a_newer_version_leaves_the_outcome_unknown() {
    let world = World::new().await;
    let process = world.idle_process(Timeouts::default());
    let account = process.registered(&world, ANNA).await;
    let answered = async {
        world.until_count("SELECT count(*) FROM command", 1).await;
        world.sql("UPDATE command SET state = 'done', answer = '{\"answer\": \"pinned\", \"until\": 5}'");
    };
    let (asked, ()) = tokio::join!(process.sessions.existing(account.id, Vec::new(), None), answered);
    assert!(matches!(asked, Err(AskError::OutcomeUnknown)), "{asked:?}");
}

#[tokio::test]
async fn a_session_state_of_a_newer_version_is_shown_by_its_name() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    world.change(&account, "UPDATE account SET session_state = 'pairing' WHERE id = $1").await;
    assert_eq!(process.fresh(&account).await.session.name(), "pairing");
    assert_eq!(process.store.accounts(account.user).await.unwrap()[0].session.name(), "pairing");
    // The next session begins as after any other state.
    process.stop().await;
    let next = world.process();
    next.until_state(&account, "online").await;
}
