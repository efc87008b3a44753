//! What a peer says to a person or in a room.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::peer::{Peer, string};

/// The conversation with a person or a room.
pub struct Chat<'a> {
    peer: &'a Peer,
    to: String,
    kind: &'static str,
}

impl<'a> Chat<'a> {
    /// Of a `kind`, the type of its messages.
    pub fn new(peer: &'a Peer, to: &str, kind: &'static str) -> Self {
        Self { peer, to: to.to_owned(), kind }
    }

    /// Sends a text; returns its id, as all of these do.
    pub async fn text(&self, body: &str) -> String {
        self.send("text", json!({"body": body})).await
    }

    /// Sends a text with this id.
    pub async fn text_with_id(&self, id: &str, body: &str) -> String {
        self.send("text", json!({"body": body, "id": id})).await
    }

    /// Sends a text and asks for a receipt (XEP-0184) and a marker (XEP-0333).
    pub async fn text_to_confirm(&self, body: &str) -> String {
        self.send("text", json!({"body": body, "receipt": true, "markable": true})).await
    }

    /// Says that a message was delivered (XEP-0184).
    pub async fn receipt(&self, of: &str) {
        self.peer.with("receipt", json!({"to": self.to, "of": of})).await;
    }

    /// Says that all up to a message was seen (XEP-0333).
    pub async fn displayed(&self, of: &str) -> String {
        self.send("displayed", json!({"of": of})).await
    }

    /// Says `composing`, `paused`, `active`, `inactive` or `gone` (XEP-0085).
    pub async fn state(&self, state: &str) -> String {
        self.send("chat_state", json!({"state": state})).await
    }

    /// Corrects a message (XEP-0308).
    pub async fn correct(&self, of: &str, body: &str) -> String {
        self.send("correct", json!({"of": of, "body": body})).await
    }

    /// Replaces its reactions to a message (XEP-0444).
    pub async fn react(&self, of: &str, reactions: &[&str]) -> String {
        self.send("react", json!({"of": of, "reactions": reactions})).await
    }

    /// Retracts a message (XEP-0424).
    pub async fn retract(&self, of: &str) -> String {
        self.send("retract", json!({"of": of})).await
    }

    /// Replies to a message of `author`, with what it said as a fallback (XEP-0461).
    pub async fn reply(&self, of: &str, author: &str, quoted: &str, body: &str) -> String {
        let what = json!({"of": of, "author": author, "quoted": quoted, "body": body});
        self.send("reply", what).await
    }

    /// Sends what looks like a message encrypted with OMEMO.
    pub async fn encrypted(&self) -> String {
        self.send("encrypted", json!({})).await
    }

    /// Sends a URL out of band (XEP-0066), as most clients send files.
    pub async fn url(&self, url: &str) -> String {
        self.send("send_url", json!({"url": url})).await
    }

    /// Sends a file that is at a URL with all that is known of it (XEP-0447), and as a URL for older clients.
    pub async fn file(&self, url: &str, content: &[u8], name: &str, mime: &str) -> String {
        let data = BASE64.encode(content);
        let what = json!({"url": url, "data": data, "name": name, "mime": mime, "disposition": "inline"});
        self.send("share_file", what).await
    }

    async fn send(&self, name: &str, mut what: Value) -> String {
        what["to"] = (&*self.to).into();
        what["kind"] = self.kind.into();
        string(&self.peer.with(name, what).await)
    }
}
