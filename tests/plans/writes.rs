//! Endpoints that write, and what sessions do about it.

use std::fs;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::meter::Meter;
use crate::scene::{FOLLOWED, LIST, Scene, Size};
use crate::support::client::{Answer, Client};
use crate::support::people::{Person, fresh_number, prove, register};

const SEND: &str = "/api/messages/send-message/";
/// The public client of the API's old documents.
const CLIENT: &str = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";

/// Messages of a step.
const MESSAGES: u32 = 10;

#[track_caller]
fn succeeds(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.bytes).unwrap_or_default()
}

async fn post(person: &Person, path: &str, form: &[(&str, &str)]) -> Value {
    succeeds(&person.api.post(path, form).await)
}

pub async fn messages(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, group, .. } = scene;
    for (from, to) in [(anna, bert), (bert, anna)] {
        for path in ["set-typing", "set-paused"] {
            let path = format!("/api/messages/{path}/");
            meter.step(&path, 0, post(from, &path, &[("contact", &to.number)])).await;
        }
        let messages = async || {
            for number in 0..MESSAGES {
                from.sends(to, &number.to_string()).await;
            }
            scene.settle().await;
        };
        meter.step("messages", MESSAGES, messages()).await;
        let messages = async || {
            for number in 0..MESSAGES {
                let number = number.to_string();
                let form = [("contact", to.number.as_str()), ("message", &number), ("account", &from.number)];
                post(from, SEND, &form).await;
            }
            scene.settle().await;
        };
        meter.step("messages of a named account", MESSAGES, messages()).await;
        let messages = async || {
            for number in 0..MESSAGES {
                post(from, SEND, &[("group_id", group), ("message", &number.to_string())]).await;
            }
            scene.settle().await;
        };
        meter.step("messages to a group", MESSAGES, messages()).await;
        let messages = async || {
            for number in 0..MESSAGES {
                let key = format!("{}-{number}", from.number);
                for _ in 0..2 {
                    let form = [("contact", to.number.as_str()), ("message", "once")];
                    let request = from.api.request(Method::POST, SEND).header("idempotency-key", &key);
                    succeeds(&from.api.send(request.form(&form)).await);
                }
            }
            scene.settle().await;
        };
        meter.step("messages with a key", MESSAGES, messages()).await;
        let read = async || {
            post(to, "/api/messages/update-last-read/", &[("group_id", group)]).await;
            if to.number != anna.number {
                post(to, "/api/messages/update-last-read/", &[("contact", &from.number)]).await;
            }
            scene.settle().await;
        };
        meter.step("read receipts", MESSAGES, read()).await;
    }
    // A mailbox that nobody empties, and a chat with a person who wrote first.
    let messages = async || {
        for contact in ["16000000005", "16000015001"] {
            let answer = anna.tries_to_send(contact, "waiting").await;
            assert!([200, 400].contains(&answer.status), "{}", answer.text());
        }
        scene.settle().await;
    };
    meter.step("a message to a long mailbox", 0, messages()).await;
}

pub async fn media(scene: &Scene, meter: &mut Meter) {
    let picture =
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/camera.jpg")).expect("a picture");
    let Scene { anna, bert, .. } = scene;
    for (from, to) in [(anna, bert), (bert, anna)] {
        let sends = async || {
            let form = Form::new()
                .text("contact", to.number.clone())
                .part("filename", Part::bytes(picture.clone()).file_name("a.jpg"));
            let request = from.api.request(Method::POST, "/api/messages/send-image/").multipart(form);
            let sent = succeeds(&from.api.send(request).await);
            scene.settle().await;
            let url = sent["url"].as_str().expect("a URL").replace(from.api.base(), "");
            for _ in 0..3 {
                succeeds(&Client::new(from.api.base().to_owned()).get(&url).await);
            }
            let photo = Form::new().part("photo", Part::bytes(picture.clone()).file_name("a.jpg"));
            let request = from.api.request(Method::POST, "/api/account/profile-photo/").multipart(photo);
            succeeds(&from.api.send(request).await);
            scene.settle().await;
            succeeds(&from.api.delete("/api/account/profile-photo/").await);
            scene.settle().await;
        };
        meter.step("pictures", 0, sends()).await;
    }
}

pub async fn profile(scene: &Scene, meter: &mut Meter) {
    for person in [&scene.anna, &scene.bert] {
        for (name, value) in
            [("nickname", "Nick"), ("status_message", "Busy"), ("connected_status", "online")]
        {
            let path = format!("/api/account/{}/", name.replace('_', "-"));
            let changes = async || {
                post(person, &path, &[(name, value)]).await;
                scene.settle().await;
            };
            meter.step(&path, 0, changes()).await;
        }
        let changes = async || {
            for audience in ["contacts", "all"] {
                let form = [("status_message", audience), ("photo", audience), ("last_seen", audience)];
                post(person, "/api/account/privacy-settings/", &form).await;
                scene.settle().await;
            }
        };
        meter.step("privacy settings", 0, changes()).await;
    }
}

pub async fn contacts(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, cora, .. } = scene;
    for person in [anna, bert] {
        let followed = if person.number == anna.number { LIST + FOLLOWED } else { 0 };
        let nobody = "15550008888";
        let one = format!("/api/contacts/{nobody}/");
        // A session hands its network the whole list after each change.
        let changes = async || {
            post(person, "/api/contacts/add-contact/", &[("contact_id", nobody)]).await;
            scene.settle().await;
        };
        meter.step("add-contact", followed, changes()).await;
        meter.step("PATCH of a contact", 0, person.api.patch(&one, &[("first_name", "Someone")])).await;
        let changes = async || {
            succeeds(&person.api.delete(&one).await);
            scene.settle().await;
        };
        meter.step("DELETE of a contact", followed, changes()).await;
        let changes = async || {
            for name in ["block", "unblock"] {
                post(person, &format!("/api/contacts/{nobody}/{name}/"), &[]).await;
                scene.settle().await;
            }
        };
        meter.step("block", followed, changes()).await;
        let changes = async || {
            post(person, "/api/contacts/add-contact/", &[("contact_id", nobody)]).await;
            let list = json!({"contacts": [nobody]});
            succeeds(&person.api.post_json("/api/contacts/remove-contacts/", &list).await);
            scene.settle().await;
        };
        meter.step("remove-contacts", followed, changes()).await;
        let syncs = async || post(person, "/api/contacts/force-sync/", &[]).await;
        meter.step("force-sync", followed.min(LIST), syncs()).await;
    }
    // Of an account without long lists the same, with a person who has an account.
    let changes = async || {
        for name in ["block", "unblock"] {
            post(bert, &format!("/api/contacts/{}/{name}/", cora.number), &[]).await;
            scene.settle().await;
        }
    };
    meter.step("block of a small account", 0, changes()).await;
}

pub async fn groups(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, cora, .. } = scene;
    let makes = async || {
        let group = json!({"subject": "New", "participants": [bert.number]});
        let made = succeeds(&anna.api.post_json("/api/groups/create-group/", &group).await);
        scene.settle().await;
        made["groupid"].as_str().expect("an id").to_owned()
    };
    let group = meter.step("create-group", 0, makes()).await;
    let changes = async || {
        post(anna, &format!("/api/groups/{group}/subject/"), &[("subject", "Newer")]).await;
        for name in ["add", "promote", "demote", "remove"] {
            let path = format!("/api/groups/{group}/{name}-participant/");
            post(anna, &path, &[("contact", &cora.number)]).await;
            scene.settle().await;
        }
    };
    meter.step("changes of a group", 0, changes()).await;
    let leaves = async || {
        post(anna, SEND, &[("group_id", &group), ("message", "One of all")]).await;
        scene.settle().await;
        post(bert, &format!("/api/groups/{group}/leave/"), &[]).await;
        scene.settle().await;
        post(anna, "/api/groups/leave/", &[("group_id", &group)]).await;
        scene.settle().await;
    };
    meter.step("leaving a group", 0, leaves()).await;
}

pub async fn logins(scene: &Scene, meter: &mut Meter) {
    let user = format!("login{}", fresh_number());
    scene.server.run(&["user", "create", &user, "--password-stdin"], "a password of some length\n");
    let api = Client::new(scene.server.url().to_owned());
    let logs_in = async || {
        let form = [
            ("grant_type", "password"),
            ("username", user.as_str()),
            ("password", "a password of some length"),
            ("client_id", CLIENT),
        ];
        let mut tokens = succeeds(&api.post("/o/token/", &form).await);
        for _ in 0..3 {
            let refresh = tokens["refresh_token"].as_str().expect("a token").to_owned();
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("client_id", CLIENT)];
            tokens = succeeds(&api.post("/o/token/", &form).await);
        }
        let token = tokens["access_token"].as_str().expect("a token");
        assert_eq!(api.with_token(token).get("/api/account/").await.status, 200);
        succeeds(&api.post("/o/revoke-token/", &[("token", token), ("client_id", CLIENT)]).await);
        let wrong = [form[0], form[1], ("password", "wrong"), form[3]];
        assert_eq!(api.post("/o/token/", &wrong).await.status, 400);
    };
    meter.step("logins", 0, logs_in()).await;
}

pub async fn accounts(scene: &Scene, meter: &mut Meter) {
    let Scene { server, anna, bert, .. } = scene;
    // Of a user with many accounts, and of one with few.
    for person in [anna, bert] {
        let number = fresh_number();
        let form = [("account", number.as_str())];
        let made = async || {
            post(person, "/api/account/create-account/", &form).await;
            assert_eq!(person.api.post("/api/account/request-sms-code/", &form).await.status, 429);
            prove(server, &person.api, &number).await;
            scene.settle().await;
        };
        meter.step("create-account", 0, made()).await;
        let removed = async || {
            post(person, "/api/account/remove-account/", &form).await;
            scene.settle().await;
        };
        meter.step("remove-account of a small account", 0, removed()).await;
    }
    let number = fresh_number();
    register(server, &bert.api, &number).await;
    let moves = async || {
        post(anna, "/api/account/create-account/", &[("account", &number)]).await;
        prove(server, &anna.api, &number).await;
        scene.settle().await;
    };
    // The test's own statement ages the code of the number.
    scene.server.database().sql(&format!("DELETE FROM code_sent WHERE number = '{number}'"));
    meter.step("a number that moves", 0, moves()).await;
    post(anna, "/api/account/remove-account/", &[("account", &number)]).await;
}

/// Whole lists: the contacts and the blocked people, each twice.
pub async fn lists(scene: &Scene, meter: &mut Meter, size: Size) {
    let Scene { anna, bert, cora, .. } = scene;
    let count = if size == Size::Large { LIST } else { 20 };
    let entries = |first: u32| (first..first + count).map(|place| format!("16{place:09}"));
    let mut contacts: Vec<Value> = entries(5_001)
        .map(|number| json!({"contact_id": number, "first_name": format!("Number {number}")}))
        .collect();
    contacts.extend([&bert.number, &cora.number].map(|number| json!({"contact_id": number})));
    let contacts = json!({"contacts": contacts});
    for name in ["import of contacts", "import of the same contacts"] {
        let import = async || {
            succeeds(&anna.api.post_json("/api/contacts/import-contacts/", &contacts).await);
            scene.settle().await;
        };
        meter.step(name, 2 * LIST + FOLLOWED, import()).await;
    }
    let removed = async || {
        let list: Vec<String> = entries(5_001).take(500).collect();
        let list = json!({"contacts": list});
        succeeds(&anna.api.post_json("/api/contacts/remove-contacts/", &list).await);
        scene.settle().await;
    };
    meter.step("remove-contacts of many", 2 * LIST + FOLLOWED, removed()).await;
    let blocked = json!({"numbers": entries(25_001).collect::<Vec<_>>()});
    for name in ["list of blocked people", "the same list of blocked people"] {
        let replaced = async || {
            succeeds(&anna.api.post_json("/api/contacts/blocked-list/", &blocked).await);
            scene.settle().await;
        };
        meter.step(name, 2 * LIST, replaced()).await;
    }
}
