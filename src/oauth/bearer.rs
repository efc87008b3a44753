//! The cache of recently used access tokens.
//!
//! An entry lives at most 5 s from the start of its lookup, never longer than its token, and a revocation drops it.
//! A lookup that was under way during a revocation may have found the token valid, so its result is not cached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::domain::{ClientId, UserId};
use crate::store::{BearerRecord, TokenHash};

const LONGEST: Duration = Duration::from_secs(5);
const CAPACITY: u64 = 20_000;

/// The user and client that a token authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The hash of the token.
    pub token: TokenHash,
    pub user: UserId,
    pub client: ClientId,
    /// Sorted.
    pub scopes: Arc<[String]>,
}

pub struct BearerCache {
    entries: Cache<TokenHash, Entry>,
    /// The number of revocations. Locked while entries are added or removed, so that the two do not cross.
    revocations: Mutex<u64>,
}

/// A lookup in the database that is under way.
pub struct PendingLookup {
    began: Instant,
    revocations: u64,
}

#[derive(Clone)]
struct Entry {
    bearer: Bearer,
    until: Instant,
}

impl BearerCache {
    pub fn new() -> Self {
        let entries = Cache::builder().max_capacity(CAPACITY).time_to_live(LONGEST).build();
        Self { entries, revocations: Mutex::new(0) }
    }

    pub fn get(&self, hash: &TokenHash) -> Option<Bearer> {
        self.entries.get(hash).filter(|entry| Instant::now() < entry.until).map(|entry| entry.bearer)
    }

    /// To be called before the query.
    pub fn begin(&self) -> PendingLookup {
        PendingLookup { began: Instant::now(), revocations: *self.lock() }
    }

    /// Caches the query's result, unless a revocation came between.
    pub fn finish(&self, hash: TokenHash, lookup: &PendingLookup, record: &BearerRecord) -> Bearer {
        let bearer = Bearer {
            token: hash,
            user: record.user,
            client: record.client,
            scopes: record.scope.split_whitespace().map(str::to_owned).collect(),
        };
        let until = lookup.began + record.remaining.min(LONGEST);
        let revocations = self.lock();
        if *revocations == lookup.revocations {
            self.entries.insert(hash, Entry { bearer: bearer.clone(), until });
        }
        bearer
    }

    pub fn forget(&self, hash: &TokenHash) {
        let mut revocations = self.lock();
        *revocations += 1;
        self.entries.invalidate(hash);
    }

    pub fn forget_all(&self) {
        let mut revocations = self.lock();
        *revocations += 1;
        self.entries.invalidate_all();
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: TokenHash = [1; 32];

    fn record(remaining: Duration) -> BearerRecord {
        BearerRecord { user: UserId(1), client: ClientId(2), scope: "read write".to_owned(), remaining }
    }

    #[test]
    fn an_entry_is_found_until_it_is_revoked() {
        let cache = BearerCache::new();
        let bearer = cache.finish(TOKEN, &cache.begin(), &record(LONGEST));
        assert_eq!(bearer.scopes.join(","), "read,write");
        assert_eq!(cache.get(&TOKEN), Some(bearer));
        cache.forget(&[2; 32]);
        assert!(cache.get(&TOKEN).is_some(), "the revocation of another token changes nothing");
        cache.forget(&TOKEN);
        assert_eq!(cache.get(&TOKEN), None);
        cache.finish(TOKEN, &cache.begin(), &record(LONGEST));
        cache.forget_all();
        assert_eq!(cache.get(&TOKEN), None);
    }

    #[test]
    fn a_lookup_that_a_revocation_crossed_is_not_cached() {
        let cache = BearerCache::new();
        for revoke in [|cache: &BearerCache| cache.forget(&TOKEN), BearerCache::forget_all] {
            let lookup = cache.begin();
            revoke(&cache);
            cache.finish(TOKEN, &lookup, &record(LONGEST));
            assert_eq!(cache.get(&TOKEN), None);
        }
    }

    #[test]
    fn an_entry_ends_with_its_token_and_after_five_seconds() {
        let cache = BearerCache::new();
        cache.finish(TOKEN, &cache.begin(), &record(Duration::ZERO));
        assert_eq!(cache.get(&TOKEN), None);
        let began = Instant::now().checked_sub(LONGEST).expect("a time in the past");
        cache.finish(TOKEN, &PendingLookup { began, revocations: 0 }, &record(Duration::from_hours(1)));
        assert_eq!(cache.get(&TOKEN), None);
    }
}
