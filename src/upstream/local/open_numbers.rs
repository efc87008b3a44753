//! The numbers that have an open connection in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::PhoneNumber;

/// Counts the open connections of each number. Clones share the counts.
#[derive(Clone, Default)]
pub(super) struct OpenNumbers(Arc<Mutex<HashMap<PhoneNumber, usize>>>);

/// One open connection of a number, until it is dropped.
pub(super) struct OpenNumber {
    open: OpenNumbers,
    number: PhoneNumber,
}

impl OpenNumbers {
    pub fn register(&self, number: PhoneNumber) -> OpenNumber {
        *self.lock().entry(number.clone()).or_default() += 1;
        OpenNumber { open: self.clone(), number }
    }

    pub fn numbers(&self) -> Vec<PhoneNumber> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PhoneNumber, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenNumber {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.number);
            }
        }
    }
}
