//! The messages that a connection has passed on, so that what the server repeats is not passed on twice.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::address;
use super::xml::{Element, child_text, ns};

/// Messages that are remembered, so that they are not passed on twice. Beyond them the store recognises them.
const REMEMBERED: usize = 20_000;

/// After catching up, what the server still repeats is recognised for so long.
const REPEATS: Duration = Duration::from_mins(1);

/// The messages that were passed on since the login, until the server has repeated what it had to.
#[derive(Default)]
pub(super) struct Seen {
    /// Hashes of sender, receiver, id and text.
    messages: HashSet<u64>,
    hasher: RandomState,
    until: Option<Instant>,
}

impl Seen {
    /// The account has caught up: what the server still repeats is recognised for a while.
    pub fn end_soon(&mut self) {
        self.until = Some(Instant::now() + REPEATS);
    }

    /// Whether the message is new.
    pub fn add(&mut self, message: &Element) -> bool {
        if self.until.is_some_and(|until| until < Instant::now()) {
            self.messages = HashSet::new();
            return true;
        }
        let Some(key) = self.key(message) else { return true };
        if self.messages.contains(&key) {
            return false;
        }
        if self.messages.len() < REMEMBERED {
            self.messages.insert(key);
        }
        true
    }

    pub fn contains(&self, message: &Element) -> bool {
        self.key(message).is_some_and(|key| self.messages.contains(&key))
    }

    fn key(&self, message: &Element) -> Option<u64> {
        let (from, id) = (message.attr("from")?, message.attr("id")?);
        let to = message.attr("to").map_or("", address::bare);
        Some(self.hasher.hash_one((address::bare(from), to, id, child_text(message, "body", ns::CLIENT))))
    }
}
