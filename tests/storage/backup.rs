//! Backups: taken beside a running server, whole or refused, restored into an empty deployment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::support::people::{PASSWORD, Person};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::DEADLINE;

async fn send_picture(from: &Person, to: &Person) -> Value {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG");
    let part = Part::bytes(bytes.into_inner()).file_name("a.png");
    let form = Form::new().text("contact", to.number.clone()).part("filename", part);
    let sent =
        from.api.send(from.api.request(Method::POST, "/api/messages/send-image/").multipart(form)).await;
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    to.waits_until(&from.number, &id, |message| message["media"] == "stored").await
}

/// The same person with their password on another server.
async fn signed_in(server: &Server, person: &Person) -> Person {
    let number = &person.number;
    let name = server.database().sql(&format!(
        "SELECT u.name FROM account a JOIN windu_user u ON u.id = a.user_id WHERE a.number = '{number}'"
    ));
    Person { api: server.client().sign_in(&name, PASSWORD).await, number: number.clone() }
}

fn path_in(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_brings_everything_back_and_ends_all_tokens() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let picture = send_picture(&anna, &bert).await;
    let before = anna.delivers(&bert, "before the backup").await;
    // A message that the network has not taken yet.
    server.database().sql(&format!(
        "INSERT INTO outbox (message_id, account_id, chat_id, retry_at, expires_at)
         SELECT id, account_id, chat_id, now() + interval '10 s', now() + interval '1 hour' FROM message
         WHERE network_id = '{before}' AND sender_peer_id IS NULL;
         UPDATE message SET state = 'queued', sent_at = NULL WHERE network_id = '{before}' AND sender_peer_id IS NULL"
    ));
    let of_user = async |client: &Person, after: &str| {
        client.api.get(&format!("/api/events/?limit=1000&after={after}")).await
    };
    let before_backup = of_user(&anna, "oldest").await.json();
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    {
        let (anna, number, stop) = (anna.at(&server), bert.number.clone(), Arc::clone(&stop));
        load.spawn(async move {
            let mut accepted = 0;
            while !stop.load(Ordering::Relaxed) {
                accepted += u32::from(anna.tries_to_send(&number, "under load").await.status == 200);
            }
            accepted
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_in(folder.path(), "windu.backup");
    let report = tokio::task::block_in_place(|| server.run(&["backup", &file], ""));
    stop.store(true, Ordering::Relaxed);
    assert!(load.join_next().await.expect("a task").expect("the load") > 0);
    let counts = "SELECT (SELECT count(*) FROM windu_user) || ' users, ' || (SELECT count(*) FROM account) || ' accounts, '";
    let counts = server.database().sql(counts);
    assert!(report.starts_with(&format!("{file}: {}", counts.trim())), "{report}");
    assert!(report.contains(" 1 files, ") && report.ends_with(", and the key\n"), "{report}");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    assert_eq!(server.run(&["backup", "--verify", &file], ""), format!("{file}: whole\n"));
    assert!(server.fail(&["backup", &file], "").contains("exists already"));

    let empty = Arc::new(Database::create_empty());
    let (restored, report) = Server::setup().database(empty).start_after(&["restore", &file]);
    assert!(report.starts_with(&format!("restored: {}", counts.trim())), "{report}");
    restored.client().with_token(anna.api.token()).get("/api/account/").await.refused(401, "token_invalid");

    let (anna, bert) = (signed_in(&restored, &anna).await, signed_in(&restored, &bert).await);
    // The cursors of the old epoch lead nowhere; what the backup has keeps its ids, and what comes has others.
    let gone = of_user(&anna, before_backup["cursor"].as_str().expect("a cursor")).await;
    gone.refused(410, "cursor_gone");
    assert_eq!(gone.json()["reason"], "epoch");
    let epoch = gone.json()["epoch"].as_str().expect("a word").to_owned();
    assert!(report.contains(&format!("Event epoch: {epoch}. All tokens ended")), "{report}");
    let kept = of_user(&anna, "oldest").await.json();
    let (old, new) =
        (before_backup["events"].as_array().expect("events"), kept["events"].as_array().expect("events"));
    for (old, new) in old.iter().zip(new) {
        assert_eq!((&old["id"], &old["seq"]), (&new["id"], &new["seq"]));
        assert_eq!(new["epoch"], epoch.as_str());
        assert_ne!(old["epoch"], new["epoch"]);
    }
    let found = bert.waits_until(&anna.number, picture["id"].as_str().expect("an id"), |_| true).await;
    assert_eq!(found["hash"], picture["hash"]);
    let url = found["url"].as_str().expect("a URL");
    let bytes = restored.client().get(url.trim_start_matches(restored.url())).await;
    assert_eq!((bytes.status, bytes.header("content-type")), (200, "image/png"));
    // The queued message goes again, under its id, and its receiver has it once.
    anna.waits_until(&bert.number, &before, |message| message["sent"].is_string()).await;
    let ids: Vec<Value> =
        bert.chat(&anna.number).await.into_iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids.iter().filter(|id| **id == before).count(), 1);
    // Numbers go on where they were.
    anna.waits_until_online(DEADLINE).await;
    anna.delivers(&bert, "after the restoration").await;
    bert.delivers(&anna, "and back").await;
    let later = of_user(&anna, kept["cursor"].as_str().expect("a cursor")).await.json();
    let received =
        later["events"].as_array().expect("events").iter().find(|event| event["type"] == "message.received");
    let id = received.expect("received")["id"].as_str().expect("an id");
    assert!(id.starts_with(&epoch) && !old[0]["id"].as_str().expect("an id").starts_with(&epoch), "{id}");
    assert!(restored.fail(&["restore", &file], "").contains("restore into an empty one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cut_or_changed_anywhere_is_refused_and_restores_nothing() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_in(folder.path(), "windu.backup");
    server.run(&["backup", &file], "");
    let whole = fs::read(&file).expect("a file");
    let broken = path_in(folder.path(), "broken.backup");
    let is_refused = |bytes: &[u8]| {
        fs::write(&broken, bytes).expect("written");
        windu::backup::verify(Path::new(&broken)).is_err()
    };
    // A tar ends with two empty blocks, which nothing depends on.
    let needed = whole.iter().rposition(|byte| *byte != 0).expect("content") + 1;
    for length in (0..needed).step_by(311) {
        assert!(is_refused(&whole[..length]), "cut at {length} of {needed}");
    }
    for at in (0..needed).step_by(97).filter(|at| whole[*at] != 0) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(is_refused(&changed), "changed at {at} of {needed}");
    }
    for more in [whole.clone(), b"more".to_vec(), vec![0; 1_000_000].into_iter().chain([1]).collect()] {
        assert!(is_refused(&[whole.clone(), more].concat()), "something after the end");
    }
    assert!(!is_refused(&[whole.clone(), vec![0; 10_240]].concat()), "a tar ends with zeros");
    let empty = Arc::new(Database::create_empty());
    fs::write(&broken, &whole[..whole.len() / 2]).expect("written");
    let errors = Server::setup().database(Arc::clone(&empty)).fail_command(&["restore", &broken]);
    assert!(errors.starts_with("windu: ") && errors.lines().count() == 1, "{errors}");
    assert_eq!(empty.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_only_with_its_own_key_and_without_media_if_so_asked() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    send_picture(&anna, &bert).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_in(folder.path(), "windu.backup");
    let report = server.run(&["backup", &file, "--no-media"], "");
    assert!(report.contains(" 0 files, ") && report.ends_with("; no media\n"), "{report}");
    let empty = Arc::new(Database::create_empty());
    let errors = Server::setup()
        .env("WINDU_SECRET_KEY", "OTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTBmZWRjYmE=")
        .database(empty)
        .fail_command(&["restore", &file]);
    assert!(errors.contains("WINDU_SECRET_KEY") && errors.contains("the key in the backup"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_which_files_the_storage_did_not_have() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    send_picture(&anna, &bert).await;
    fs::remove_dir_all(server.folder().join("media")).expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_in(folder.path(), "windu.backup");
    let report = server.run(&["backup", &file], "");
    assert!(report.contains(" 0 files, "), "{report}");
    assert!(report.ends_with("; 1 files are missing in the storage\n"), "{report}");
    let verified = server.run(&["backup", "--verify", &file], "");
    assert_eq!(verified, format!("{file}: whole; 1 files were missing in the storage\n"));
    let empty = Arc::new(Database::create_empty());
    let (_restored, report) = Server::setup().database(empty).start_after(&["restore", &file]);
    assert!(report.ends_with("All tokens ended; 1 files were missing in the storage\n"), "{report}");
}

/// The same backup with other contents, of which the end has the right lengths and hashes.
fn changed(backup: &[u8], change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let hash = |bytes: &[u8]| data_encoding::HEXLOWER.encode(&windu::secrets::sha256(bytes));
    let mut out = tar::Builder::new(Vec::new());
    let mut streams: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for member in tar::Archive::new(backup).entries().expect("a tar") {
        let mut member = member.expect("a member");
        let (mut name, mut bytes) = (member.path().expect("a name").display().to_string(), Vec::new());
        member.read_to_end(&mut bytes).expect("bytes");
        change(&name, &mut bytes);
        if name.starts_with("end.") {
            let mut end: Value = serde_json::from_slice(&bytes).expect("JSON");
            for (stream, bytes) in &streams {
                end["streams"][stream] = serde_json::json!({"size": bytes.len(), "sha256": hash(bytes)});
            }
            bytes = end.to_string().into_bytes();
            name = format!("end.{}.json", hash(&bytes));
        } else if let Some((stream, _)) = name.rsplit_once('.').filter(|(_, end)| *end != "json") {
            streams.entry(stream.to_owned()).or_default().extend_from_slice(&bytes);
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, name, &*bytes).expect("written");
    }
    out.into_inner().expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_other_counts_or_another_key_than_its_tables_is_refused() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, made) = (path_in(folder.path(), "windu.backup"), path_in(folder.path(), "made.backup"));
    server.run(&["backup", &file], "");
    let whole = fs::read(&file).expect("a file");
    let empty = Arc::new(Database::create_empty());
    let refusal = |bytes: Vec<u8>| {
        fs::write(&made, bytes).expect("written");
        let verified = windu::backup::verify(Path::new(&made)).expect_err("refused");
        let target = Server::setup().database(Arc::clone(&empty));
        let errors = target.fail_command(&["restore", &made]);
        assert_eq!(
            empty.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
            "0"
        );
        assert!(errors.starts_with("windu: ") && errors.lines().count() == 1, "{errors}");
        (format!("{verified:#}"), errors)
    };
    fs::write(&made, changed(&whole, |_, _| {})).expect("written");
    windu::backup::verify(Path::new(&made)).expect("whole");

    let (verified, errors) = refusal(changed(&whole, |name, bytes| {
        if name.starts_with("end.") {
            let mut end: Value = serde_json::from_slice(bytes).expect("JSON");
            end["counts"]["messages"] = 1_000.into();
            *bytes = end.to_string().into_bytes();
        }
    }));
    assert!(verified.contains(" 2 messages, ") && verified.contains(" 1000 messages, "), "{verified}");
    assert!(errors.contains(" 1000 messages, "), "{errors}");

    let other = windu::secrets::MasterKey::generate_base64();
    let (verified, errors) = refusal(changed(&whole, |name, bytes| {
        if name.starts_with("key.") {
            *bytes = other.clone().into_bytes();
        }
    }));
    for text in [verified, errors] {
        assert!(text.contains("its key is not the one that its tables were used with"), "{text}");
    }

    // With another key none is written in the first place.
    server.database().sql("UPDATE deployment SET value = 'another' WHERE key = 'key_fingerprint'");
    let errors = server.fail(&["backup", &path_in(folder.path(), "wrong.backup")], "");
    assert!(errors.contains("WINDU_SECRET_KEY is not the key"), "{errors}");
    assert!(!folder.path().join("wrong.backup").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_all_of_one_user_and_nothing_of_others_and_no_secret() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let carl = Person::new(&server).await;
    carl.adds_contact(&bert.number).await;
    carl.delivers(&bert, "from carl to bert").await;
    let picture = send_picture(&anna, &bert).await;
    anna.delivers(&bert, "a line\nand \"quotes\"").await;
    let sql = |text: &str| server.database().sql(text);
    let name = sql(&format!(
        "SELECT u.name FROM account a JOIN windu_user u ON u.id = a.user_id WHERE a.number = '{}'",
        anna.number
    ));
    let form = [("url", "https://8.8.8.8/hook"), ("active", "0")];
    let webhook = anna.api.post("/api/webhooks/", &form).await.json();
    let folder = tempfile::tempdir().expect("a folder");
    let file = path_in(folder.path(), "anna.tar");
    let report = server.run(&["user", "export", &name, &file], "");
    assert_eq!(report, format!("{file}: 1 accounts, 1 contacts, 2 messages, 1 files\n"));
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(server.fail(&["user", "export", &name, &file], "").contains("exists already"));
    assert!(server.fail(&["user", "export", "nobody", &path_in(folder.path(), "x")], "").contains("nobody"));

    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(fs::File::open(&file).expect("a file"));
    for member in archive.entries().expect("a tar") {
        let mut member = member.expect("a member");
        let (name, mut bytes) = (member.path().expect("a name").display().to_string(), Vec::new());
        member.read_to_end(&mut bytes).expect("bytes");
        members.insert(name, bytes);
    }
    let lines = |name: &str| -> Vec<Value> {
        let text = std::str::from_utf8(&members[name]).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(lines("accounts.jsonl")[0]["account"], anna.number.as_str());
    assert_eq!(lines("contacts.jsonl")[0]["contact"], bert.number.as_str());
    let messages = lines("messages.jsonl");
    assert_eq!((messages.len(), &messages[0]["id"]), (2, &picture["id"]));
    assert_eq!(
        (&messages[1]["text"], &messages[1]["chat"]),
        (&"a line\nand \"quotes\"".into(), &bert.number.as_str().into())
    );
    assert!(lines("events.jsonl").iter().any(|event| event["type"] == "message.delivered"));
    assert_eq!(
        (&lines("webhooks.jsonl")[0]["id"], &lines("webhooks.jsonl")[0]["url"]),
        (&webhook["id"], &form[0].1.into())
    );
    let signs = webhook["secret"].as_str().expect("a secret");
    let picture = &members[&format!("media/{}", messages[0]["file"].as_str().expect("a hash"))];
    assert!(picture.starts_with(b"\x89PNG"));
    let all = members.values().flatten().copied().collect::<Vec<u8>>();
    let hash = sql(&format!("SELECT password_hash FROM windu_user WHERE name = '{name}'"));
    for secret in [carl.number.as_str(), "from carl", PASSWORD, anna.api.token(), &hash, signs] {
        assert!(!all.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}
