//! The pauses between attempts: exponential, capped and jittered.

use std::time::Duration;

use crate::secrets;

/// The first pause.
const BASE: Duration = Duration::from_secs(1);
/// The longest pause.
const CAP: Duration = Duration::from_mins(5);

/// Counts failed attempts. Each pause is twice the last, up to [`CAP`], less a random half.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// The state after some failed attempts.
    pub fn after(attempt: u32) -> Self {
        Self { attempt }
    }

    /// Failed attempts in a row.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts one more failure, and returns the pause after it.
    pub fn next(&mut self) -> Duration {
        let pause = pause_after(self.attempt, BASE, CAP);
        self.attempt = self.attempt.saturating_add(1);
        pause
    }

    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// The pause after some attempts: `shortest`, doubled with each earlier attempt, up to `longest`, less a random half.
pub(super) fn pause_after(attempts: u32, shortest: Duration, longest: Duration) -> Duration {
    let whole = shortest.saturating_mul(1 << attempts.min(16)).min(longest);
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half + secrets::random_below(half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_jittered_and_capped() {
        let mut backoff = Backoff::default();
        for expected in [1_000, 2_000, 4_000, 8_000] {
            let pause = backoff.next().as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} of {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= CAP);
        }
        backoff.reset();
        assert!(backoff.next() <= BASE);
    }
}
