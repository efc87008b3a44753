//! Limits that several parties share, so that none of them can take what all the others need.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit in any unit. A party may hold as much of it as is left free: one alone gets half, two get a third each, and
/// there is always something left for the next. Clones share the limit.
#[derive(Debug)]
pub struct FairShare<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    limit: u64,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    all: u64,
    by_party: HashMap<K, u64>,
}

/// What a party holds; given back when dropped.
#[derive(Debug)]
pub struct Share<K: Copy + Eq + Hash> {
    of: FairShare<K>,
    party: K,
    amount: u64,
}

impl<K: Copy + Eq + Hash> FairShare<K> {
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let held = Mutex::new(Held { all: 0, by_party: HashMap::new() });
        Self(Arc::new(Inner { limit, held }))
    }

    /// A share that holds nothing yet.
    #[must_use]
    pub fn share(&self, party: K) -> Share<K> {
        Share { of: self.clone(), party, amount: 0 }
    }

    /// A share of so much; `None` when that is more than the party may hold now.
    #[must_use]
    pub fn take(&self, party: K, amount: u64) -> Option<Share<K>> {
        let mut share = self.share(party);
        share.grow(amount).then_some(share)
    }

    /// What all parties hold together.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for FairShare<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Copy + Eq + Hash> Share<K> {
    #[must_use]
    pub fn party(&self) -> K {
        self.party
    }

    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes more. Returns whether the party may hold it; otherwise nothing changes.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let mut held = self.of.lock();
        let mine = held.by_party.get(&self.party).copied().unwrap_or(0).saturating_add(more);
        let all = held.all.saturating_add(more);
        if self.of.0.limit.checked_sub(all).is_none_or(|free| mine > free) {
            return false;
        }
        held.all = all;
        held.by_party.insert(self.party, mine);
        drop(held);
        self.amount += more;
        true
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        held.all -= self.amount;
        if let Some(mine) = held.by_party.get_mut(&self.party) {
            *mine -= self.amount;
            if *mine == 0 {
                held.by_party.remove(&self.party);
            }
        }
    }
}

/// Turns of each party: so many at one time, further ones wait for each other and for nobody else.
#[derive(Debug)]
pub struct Turns<K> {
    at_once: usize,
    parties: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { at_once, parties: Mutex::new(HashMap::new()) }
    }

    /// Waits for the party's turn, which ends when the permit is dropped. `None` never comes: no semaphore is closed.
    pub async fn next(&self, party: K) -> Option<Turn> {
        let semaphore = {
            let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
            parties.retain(|_, semaphore| semaphore.strong_count() > 0);
            let known = parties.get(&party).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let semaphore = Arc::new(Semaphore::new(self.at_once));
                parties.insert(party, Arc::downgrade(&semaphore));
                semaphore
            })
        };
        semaphore.acquire_owned().await.ok().map(Turn)
    }
}

/// A turn of a party.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn there_is_always_a_share_for_one_more() {
        let room = FairShare::new(100);
        let mut first = room.share(1);
        assert!(first.grow(50) && !first.grow(1));
        let second = room.take(2, 25).expect("a share");
        assert!(room.take(2, 1).is_none() && !first.grow(1));
        let third = room.take(3, 12).expect("a share");
        assert_eq!((room.held(), first.amount(), third.party()), (87, 50, 3));
        drop(first);
        assert!(room.take(2, 19).is_some());
        drop((second, third));
        assert_eq!(room.held(), 0);
        assert!(room.take(1, 51).is_none() && room.take(1, u64::MAX).is_none());
    }

    #[test]
    fn a_party_waits_for_its_own_turns_alone() {
        let turns = Turns::new(1);
        let first = turns.next(1).now_or_never().flatten().expect("a turn");
        assert!(turns.next(1).now_or_never().is_none());
        assert!(turns.next(2).now_or_never().flatten().is_some());
        drop(first);
        assert!(turns.next(1).now_or_never().flatten().is_some());
    }
}
