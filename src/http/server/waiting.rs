//! Connections that wait for a request: where it is asked for, the one that has waited longest is closed for a new one when
//! all places are taken, so that connections without requests keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections of a listener that wait for a request, in the order in which their waits began.
#[derive(Clone, Default)]
pub struct WaitingConnections(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waits: Mutex<Waits>,
    /// A wait has begun.
    begun: Notify,
}

#[derive(Default)]
struct Waits {
    last: u64,
    tokens: BTreeMap<u64, CancellationToken>,
}

/// One connection's part in it; it waits at first.
pub struct Waiting {
    all: WaitingConnections,
    /// The number of its wait; `None` while a request is answered.
    number: Mutex<Option<u64>>,
    closed: CancellationToken,
}

impl WaitingConnections {
    pub fn add(&self) -> Waiting {
        let waiting =
            Waiting { all: self.clone(), number: Mutex::default(), closed: CancellationToken::new() };
        waiting.begin();
        waiting
    }

    /// Closes the connection that has waited longest, or the first one that begins to wait.
    pub async fn close_one(&self) {
        loop {
            let begun = self.0.begun.notified();
            let first = self.waits().tokens.pop_first();
            if let Some((_, closed)) = first {
                return closed.cancel();
            }
            begun.await;
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Cancelled when the connection is to be closed for another one.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// The connection waits for its next request from now on.
    pub fn begin(&self) {
        let number = {
            let mut waits = self.all.waits();
            waits.last += 1;
            let number = waits.last;
            waits.tokens.insert(number, self.closed.clone());
            number
        };
        *self.number() = Some(number);
        self.all.0.begun.notify_one();
    }

    /// A request has arrived.
    pub fn end(&self) {
        if let Some(number) = self.number().take() {
            self.all.waits().tokens.remove(&number);
        }
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_has_waited_longest_is_closed_and_none_that_answers() {
        let all = WaitingConnections::default();
        let [first, second, third] = [all.add(), all.add(), all.add()];
        first.end();
        all.close_one().await;
        assert!(second.closed().is_cancelled() && !first.closed().is_cancelled());
        // Its new wait is younger.
        first.begin();
        all.close_one().await;
        assert!(third.closed().is_cancelled() && !first.closed().is_cancelled());
        drop((second, third));
        all.close_one().await;
        assert!(first.closed().is_cancelled());
        drop(first);
        assert!(all.waits().tokens.is_empty());
        // None waits: the next one that does is closed.
        let later = all.add();
        later.end();
        let closing = tokio::join!(all.close_one(), async { later.begin() });
        assert_eq!(closing, ((), ()));
        assert!(later.closed().is_cancelled());
    }
}
