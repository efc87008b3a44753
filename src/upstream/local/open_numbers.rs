//! The numbers that have an open connection in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::PhoneNumber;

/// The open connections of each number. Clones share them.
#[derive(Clone, Default)]
pub(super) struct OpenNumbers(Arc<Mutex<HashMap<PhoneNumber, Connections>>>);

#[derive(Default)]
struct Connections {
    count: usize,
    /// The newest connection has done with the stanzas of the mailbox up to this one.
    done_up_to: i64,
}

/// One open connection of a number, until it is dropped.
pub(super) struct OpenNumber {
    open: OpenNumbers,
    number: PhoneNumber,
}

impl OpenNumbers {
    pub fn register(&self, number: PhoneNumber) -> OpenNumber {
        let mut open = self.lock();
        let connections = open.entry(number.clone()).or_default();
        *connections = Connections { count: connections.count + 1, done_up_to: 0 };
        drop(open);
        OpenNumber { open: self.clone(), number }
    }

    /// The numbers, and up to which stanza each is done with its mailbox.
    pub fn mailboxes(&self) -> Vec<(PhoneNumber, i64)> {
        self.lock().iter().map(|(number, of)| (number.clone(), of.done_up_to)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PhoneNumber, Connections>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenNumber {
    pub fn done_up_to(&self, stanza: i64) {
        if let Some(connections) = self.open.lock().get_mut(&self.number) {
            connections.done_up_to = stanza;
        }
    }
}

impl Drop for OpenNumber {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(connections) = open.get_mut(&self.number) {
            connections.count -= 1;
            if connections.count == 0 {
                open.remove(&self.number);
            }
        }
    }
}
