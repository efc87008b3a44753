//! Webhooks of a user with long journals, and of one with short ones.

use serde_json::{Value, json};

use crate::meter::Meter;
use crate::scene::Scene;
use crate::support::receiver::Receiver;

/// Waiting events that are counted at most.
const COUNTED: u32 = 10_000;
/// Rows of a slice.
const SLICE: u32 = 1_000;

pub async fn webhooks(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, .. } = scene;
    let receiver = Receiver::start().await;
    for (person, friend) in [(anna, bert), (bert, anna)] {
        let url = receiver.url(&format!("/{}", person.number));
        let creates = async |settings: Value| {
            let made = person.api.post_json("/api/webhooks/", &settings).await;
            assert_eq!(made.status, 201, "{}", made.text());
            format!("/api/webhooks/{}/", made.json()["id"].as_str().expect("an id"))
        };
        let nothing_waits = async |path: &str| {
            crate::support::wait::wait_until_async(
                "nothing waits",
                std::time::Duration::from_mins(1),
                async || (person.api.get(path).await.json()["waiting"] == 0).then_some(()),
            )
            .await;
        };
        let delivers = async || {
            let settings = json!({"url": url, "types": "message.*", "accounts": [person.number]});
            let path = creates(settings).await;
            let cursor = person.api.get("/api/events/?after=newest&limit=0").await.json()["cursor"].clone();
            let count = receiver.count();
            person.sends(friend, "To a webhook").await;
            receiver.waits_for("its events", count + 2, |_| true).await;
            nothing_waits(&path).await;
            for rest in ["attempts/?limit=20", "attempts/?failed=1", "attempts/?event_id=x", "dead/"] {
                assert_eq!(person.api.get(&format!("{path}{rest}")).await.status, 200);
            }
            let replayed = person.api.post_json(&format!("{path}replay/"), &json!({"after": cursor})).await;
            assert_eq!(replayed.status, 200, "{}", replayed.text());
            assert_eq!(person.api.post_json(&format!("{path}test/"), &json!({})).await.status, 200);
            nothing_waits(&path).await;
            path
        };
        // New connections read the catalog for their first calls.
        let path = delivers().await;
        person.api.delete(&path).await;
        let path = meter.step("a webhook's events", 100, delivers()).await;
        let counts = async || {
            let paused = creates(json!({"url": url, "after": "oldest", "active": 0})).await;
            assert!(person.api.get(&paused).await.json()["waiting"].is_number());
            paused
        };
        let paused = meter.step("what waits for a webhook", COUNTED, counts()).await;
        let ends = async || {
            for path in [&path, &paused] {
                assert_eq!(person.api.delete(path).await.status, 200);
            }
            scene.until("SELECT count(*) FROM webhook WHERE user_id IS NULL", "0").await;
        };
        meter.step("the end of a webhook", SLICE, ends()).await;
    }
}
