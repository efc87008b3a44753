//! What is too large for the account's network is refused before it is queued.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

#[tokio::test]
async fn a_text_or_a_file_over_the_limit_of_the_network_is_refused() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    anna.post("/api/account/create-account/", &[("account", ANNA)]).await;
    assert_eq!(anna.post("/api/account/register-code/", &[("code", "12345")]).await.status, 200);
    assert_eq!(anna.post("/api/contacts/add-contact/", &[("contact_id", BEN)]).await.status, 201);
    let limits = anna.get("/api/account/capabilities/").await.json()["limits"].clone();
    assert_eq!((&limits["text_bytes"], &limits["file_bytes"]), (&json!(10_000), &json!(1_000)));

    // Bytes, not characters.
    for (text, status) in [("a".repeat(10_000), 200), ("é".repeat(5_000), 200), ("é".repeat(5_001), 400)] {
        let sent = anna.post("/api/messages/send-message/", &[("contact", BEN), ("message", &text)]).await;
        assert_eq!(sent.status, status, "{}", sent.text());
        assert!(status == 200 || sent.text().contains("10002 bytes"), "{}", sent.text());
    }
    let file = Part::bytes(include_bytes!("../files/plain.mp3").to_vec()).file_name("plain.mp3");
    let form = Form::new().text("contact", BEN).part("filename", file);
    let sent = anna.send(anna.request(Method::POST, "/api/messages/send-audio/").multipart(form)).await;
    sent.refused(413, "too_large");
    assert_eq!(world.count("SELECT count(*) FROM message").await, 2);
}
