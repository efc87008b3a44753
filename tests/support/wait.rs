//! Waiting for a predicate with a deadline: tests never sleep for a fixed time.

use std::time::{Duration, Instant};

/// Generous: a busy machine must not fail a test. Nothing waits so long when all is well.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Waits until `predicate` gives a value.
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
        assert!(Instant::now() < end, "waited {deadline:?} in vain for: {what}");
        std::thread::sleep(POLL);
    }
}

/// [`wait_until`] for predicates that await.
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
        assert!(Instant::now() < end, "waited {deadline:?} in vain for: {what}");
        tokio::time::sleep(POLL).await;
    }
}
