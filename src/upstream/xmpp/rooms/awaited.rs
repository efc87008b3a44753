//! The stanzas that come to the administrator by themselves and that somebody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::upstream::xmpp::xml::{Element, ns};

/// Stanzas of one kind that may wait: a page of an archive.
const WAITING: usize = 200;

/// What is waited for, by the address of an occupant, the id of a message, or the name of a query. Clones share it.
#[derive(Clone, Default)]
pub(in crate::upstream::xmpp) struct Awaited(Arc<Mutex<HashMap<String, mpsc::Sender<Element>>>>);

impl Awaited {
    /// Begins to wait, as long as the receiver is there.
    pub fn expect(&self, key: &str) -> mpsc::Receiver<Element> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut waiting = self.lock();
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(key.to_owned(), sender);
        receiver
    }

    /// Hands a stanza to whom waits for it.
    pub fn hand_over(&self, stanza: Element) {
        let result = stanza.get_child("result", ns::MAM).and_then(|result| result.attr("queryid"));
        let key = match stanza.name() {
            "presence" => stanza.attr("from"),
            _ => result.or_else(|| stanza.attr("id")),
        };
        let sender = key.and_then(|key| self.lock().get(key).cloned());
        if let Some(sender) = sender {
            // Nobody reads it any more, or it is more than was asked for.
            let _ = sender.try_send(stanza);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Element>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
