//! Stanzas that only another version of this program can read.
//!
//! They stay in the mailbox, for a connection of that version. This connection passes them by: those of the last minute by
//! their ids, all earlier ones by the place in the mailbox up to which it is done.

use std::collections::BTreeMap;
use std::time::Instant;

use super::network::SETTLE_TIME;

/// Unreadable stanzas of the last minute. At the limit the mailbox is not read until some are older.
const RECENT_LIMIT: usize = 1_000;

/// The unreadable stanzas of a mailbox, as one connection found them.
#[derive(Default)]
pub(super) struct UnreadableStanzas {
    /// By id: when no earlier stanza can become visible any more.
    recent: BTreeMap<i64, Instant>,
    done_up_to: i64,
}

impl UnreadableStanzas {
    /// Adds a stanza. Every earlier one that was visible must have been read.
    pub fn add(&mut self, id: i64, is_settled: bool) {
        let now = Instant::now();
        self.recent.insert(id, if is_settled { now } else { now + SETTLE_TIME });
        self.settle(now);
    }

    /// The stanza up to which the mailbox needs to be read no more, except for stanzas that are in flight.
    pub fn done_up_to(&mut self) -> i64 {
        self.settle(Instant::now());
        self.done_up_to
    }

    /// The stanzas after [`Self::done_up_to`].
    pub fn recent(&self) -> impl Iterator<Item = i64> + '_ {
        self.recent.keys().copied()
    }

    pub fn is_full(&self) -> bool {
        self.recent.len() >= RECENT_LIMIT
    }

    fn settle(&mut self, now: Instant) {
        let newest = self.recent.iter().rev().find(|(_, settled)| **settled <= now).map(|(id, _)| *id);
        if let Some(newest) = newest {
            self.done_up_to = newest;
            self.recent = self.recent.split_off(&(newest + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stanzas_of_the_last_minute_are_remembered_by_their_ids() {
        let mut stanzas = UnreadableStanzas::default();
        for id in 1..=10_000 {
            stanzas.add(id, true);
        }
        assert_eq!((stanzas.done_up_to(), stanzas.recent().count()), (10_000, 0));
        stanzas.add(10_005, false);
        stanzas.add(10_003, false);
        assert_eq!(stanzas.done_up_to(), 10_000);
        assert!(stanzas.recent().eq([10_003, 10_005]));
        // One that is settled settles all before it.
        stanzas.add(10_004, true);
        assert_eq!(stanzas.done_up_to(), 10_004);
        assert!(stanzas.recent().eq([10_005]));
    }

    #[test]
    fn the_recent_stanzas_have_a_limit() {
        let mut stanzas = UnreadableStanzas::default();
        for id in 1.. {
            if stanzas.is_full() {
                break;
            }
            stanzas.add(id, false);
        }
        assert_eq!((stanzas.done_up_to(), stanzas.recent().count()), (0, RECENT_LIMIT));
    }
}
