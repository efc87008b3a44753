//! Waiting for a predicate with a deadline: tests never sleep for a fixed time.

use std::time::{Duration, Instant};

/// Generous, so that a busy machine does not fail a test.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Waits until `predicate` returns a value.
///
/// # Panics
/// When the deadline passes; the message says what was awaited.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut predicate: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = predicate() {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} for: {what}");
        std::thread::sleep(POLL);
    }
}

/// [`wait_until`] for async predicates.
///
/// # Panics
/// When the deadline passes; the message says what was awaited.
pub async fn wait_until_async<T>(
    what: &str,
    deadline: Duration,
    mut predicate: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = predicate().await {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} for: {what}");
        tokio::time::sleep(POLL).await;
    }
}
