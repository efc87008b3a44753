//! A client that follows the events of a user and notes what it got.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::support::postgres::Database;

/// What a client got, in order.
#[derive(Default)]
pub struct Followed {
    ids: HashSet<String>,
    /// The last number of each account.
    last: BTreeMap<String, i64>,
    pub count: usize,
}

impl Followed {
    /// Takes the next event.
    ///
    /// # Panics
    /// When it came before, or is not the next one of its account.
    #[track_caller]
    pub fn take(&mut self, event: &Value) {
        let id = event["id"].as_str().expect("an id").to_owned();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!(id.len() <= 64 && id.bytes().all(fits), "{id}");
        assert!(self.ids.insert(id), "twice: {event}");
        let account = event["account"].as_str().expect("an account").to_owned();
        let last = self.last.entry(account).or_default();
        assert_eq!(event["seq"], *last + 1, "a gap before {event}");
        *last += 1;
        self.count += 1;
    }

    /// Whether it got all events that are stored.
    pub fn has_all(&self, database: &Database) -> bool {
        // In one query: more may be stored between two.
        let stored = database
            .sql("SELECT (SELECT count(*) FROM event), (SELECT coalesce(sum(seq), 0) FROM account_counter)");
        let (count, counted) = stored.split_once('|').expect("two columns");
        assert_eq!(count, counted, "a journal has a gap");
        count == self.count.to_string()
    }
}
