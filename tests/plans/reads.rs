//! Endpoints that read.

use crate::meter::Meter;
use crate::scene::Scene;
use crate::support::people::Person;

/// Someone with 30,000 messages to whom nobody ever answered, in a filled database.
const SILENT: &str = "16000000001";
/// Someone without an answer, too, who is no contact.
const STRANGER: &str = "16000015000";

/// Members of all groups of an account in a filled database.
const MEMBERS: u32 = 2_500;

/// Asks for each path twice, in a step of its own. A person who is a contact of the one may be none of the other.
async fn ask(meter: &mut Meter, person: &Person, paths: &[String]) {
    for path in paths {
        let name = format!("GET {path}");
        let entries = if path.ends_with("/info-all/") { MEMBERS } else { 0 };
        meter
            .step(&name, entries, async {
                for _ in 0..2 {
                    let answer = person.api.get(path).await;
                    assert!([200, 400, 403, 404].contains(&answer.status), "{path}: {}", answer.text());
                }
            })
            .await;
    }
}

pub async fn account(_scene: &Scene, meter: &mut Meter, person: &Person) {
    let mut paths = vec!["/api/account/".to_owned()];
    for name in ["status-message", "profile-photo", "connected-status", "nickname", "privacy-settings"] {
        paths.push(format!("/api/account/{name}/"));
        paths.push(format!("/api/account/{name}/?account={}", person.number));
    }
    ask(meter, person, &paths).await;
}

pub async fn contacts(_scene: &Scene, meter: &mut Meter, person: &Person, friend: &Person) {
    let mut paths = vec!["/api/contacts/".to_owned()];
    for name in
        ["statuses-messages", "connected-statuses", "preview-photos-urls", "photos-urls", "blocked-list"]
    {
        paths.push(format!("/api/contacts/{name}/"));
    }
    for contact in [&friend.number, SILENT] {
        paths.push(format!("/api/contacts/{contact}/"));
        for name in [
            "status-message",
            "status-message-history",
            "connected-status",
            "preview-photo",
            "photo",
            "preview-photo-url",
            "photo-url",
            "preview-photo-history-urls",
            "photo-history-urls",
        ] {
            paths.push(format!("/api/contacts/{contact}/{name}/"));
        }
    }
    ask(meter, person, &paths).await;
}

pub async fn messages(scene: &Scene, meter: &mut Meter, person: &Person, friend: &Person) {
    let mut paths = Vec::new();
    let lists = ["", "?limit=100", "?after=2016-05-20T05:52:45", "?after=2040-01-01", "?offset=20&limit=5"];
    for list in lists {
        paths.push(format!("/api/messages/chats/{list}"));
        for name in ["chats", "delivered", "read"] {
            for chat in [&friend.number, SILENT, STRANGER, &scene.group] {
                paths.push(format!("/api/messages/{name}/{chat}/{list}"));
            }
        }
    }
    for chat in [&friend.number, SILENT] {
        paths.push(format!("/api/messages/chats/{chat}/?received_only=1"));
        paths.push(format!("/api/messages/chats/{chat}/?received_only=1&after=2016-05-20"));
        paths.push(format!("/api/messages/chats/{chat}/?limit=1000"));
    }
    paths.push(format!("/api/messages/chats/?account={}", person.number));
    ask(meter, person, &paths).await;
}

pub async fn groups(scene: &Scene, meter: &mut Meter, person: &Person) {
    let mut paths = vec!["/api/groups/info-all/".to_owned()];
    for name in ["info", "subject", "photo", "preview-photo", "photo-url", "preview-photo-url"] {
        paths.push(format!("/api/groups/{}/{name}/", scene.group));
        paths.push(format!("/api/groups/16000000001-1500000001/{name}/"));
    }
    ask(meter, person, &paths).await;
}

pub async fn events(_scene: &Scene, meter: &mut Meter, person: &Person) {
    let mut paths = Vec::new();
    for query in
        ["", "after=newest", "limit=1", "types=message.failed", "limit=1000&types=contact.*,chat.read"]
    {
        paths.push(format!("/api/events/?{query}"));
        paths.push(format!("/api/events/?{query}&account={}", person.number));
    }
    paths.push(format!("/api/events/?after=1&account={}", person.number));
    ask(meter, person, &paths).await;
}
