//! The note to people whose apps encrypt: no message of theirs can be read here. Everybody gets it once.

use std::sync::Arc;

use super::outbound;
use super::xml::Element;
use crate::domain::Content;
use crate::secrets;
use crate::upstream::{AdapterState, Address, Failure, Outgoing};

/// The note of one account.
pub(super) struct Note {
    own: String,
    /// `None`: there is none.
    text: Option<String>,
    state: Arc<dyn AdapterState>,
}

impl Note {
    pub fn new(own: String, text: Option<String>, state: Arc<dyn AdapterState>) -> Self {
        Self { own, text, state }
    }

    /// The note to a person, as a message and its stanza; `None` when there is none, or the person has it.
    pub async fn to(&self, person: &str) -> Result<Option<(Outgoing, Element)>, Failure> {
        let Some(text) = &self.text else { return Ok(None) };
        let key = key(person);
        if self.state.get(&[&key]).await?.iter().any(Option::is_some) {
            return Ok(None);
        }
        // The same on each attempt, so that one that was interrupted leaves one message.
        let digest = secrets::sha256(format!("{} {person}", self.own).as_bytes());
        let id = format!("note-{}", data_encoding::HEXLOWER.encode(&digest[..16]));
        let content = Content::Text(outbound::lines(text));
        let message = Outgoing { id, to: Address(person.to_owned()), content };
        let stanza = outbound::message(&message, None).ok();
        Ok(stanza.map(|stanza| (message, stanza)))
    }

    /// Remembers that a person has it.
    pub async fn sent(&self, person: &str) -> Result<(), Failure> {
        self.state.put(&[(&key(person), Vec::new())]).await
    }
}

fn key(person: &str) -> String {
    format!("note/{person}")
}
