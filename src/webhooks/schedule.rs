//! When an event is tried again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::secrets;

/// The pauses after the first attempts; after later ones the last.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
];
/// An event that is older than this is given up.
pub const LIFETIME: TimeDelta = TimeDelta::hours(75);
/// After so many refusals because of the event itself, no other one waits for it.
pub const REFUSALS: i32 = 6;
/// The event `webhook.failing` is written after this time without success.
pub const FAILING_AFTER: TimeDelta = TimeDelta::hours(1);
/// A webhook is disabled after this time without success.
pub const DISABLED_AFTER: TimeDelta = TimeDelta::days(5);

/// The time of the next attempt after so many that have failed: ±20 %, so that receivers that were away together do not get
/// everything at once; or what the receiver asked for, in seconds.
pub fn next_attempt(now: DateTime<Utc>, failed: i32, asked: Option<u64>) -> DateTime<Utc> {
    let pause = asked.map_or_else(|| spread(pause(failed)), Duration::from_secs);
    now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::hours(1))
}

fn pause(failed: i32) -> Duration {
    let nth = usize::try_from(failed - 1).unwrap_or(0);
    PAUSES[nth.min(PAUSES.len() - 1)]
}

fn spread(pause: Duration) -> Duration {
    let fifth = u64::try_from(pause.as_millis() / 5).unwrap_or(u64::MAX / 4);
    pause * 4 / 5 + Duration::from_millis(secrets::random_below(2 * fifth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn pauses_grow_to_an_hour_and_are_spread_by_a_fifth() {
        let now = clock::now();
        for (failed, seconds) in [(1, 5), (2, 30), (3, 120), (4, 600), (5, 1_800), (6, 3_600), (70, 3_600)] {
            for _ in 0..100 {
                let pause = (next_attempt(now, failed, None) - now).num_milliseconds();
                assert!((seconds * 800..=seconds * 1_200).contains(&pause), "{failed}: {pause}");
            }
        }
        assert_eq!(next_attempt(now, 1, Some(86_400)) - now, TimeDelta::days(1));
    }
}
