//! The streams, sockets and waiting polls of each user, which are limited and counted in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::UserId;
use crate::metrics::METRICS;

/// How a client takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Poll,
    Stream,
    Socket,
    Webhook,
    /// The message broker: one consumer, of all users.
    Broker,
}

impl Way {
    /// As a label of the figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Stream => "stream",
            Self::Socket => "socket",
            Self::Webhook => "webhook",
            Self::Broker => "broker",
        }
    }
}

/// The consumers of this process.
pub struct Consumers {
    /// Of one user; `None`: any number.
    limit: Option<u32>,
    open: Mutex<HashMap<UserId, u32>>,
}

/// A consumer, counted until it is dropped.
pub struct Consumer {
    all: Arc<Consumers>,
    user: UserId,
    way: Way,
}

impl Consumers {
    #[must_use]
    pub fn new(limit: Option<u32>) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// `None`: the user has as many as one may have.
    #[must_use]
    pub fn open(self: &Arc<Self>, user: UserId, way: Way) -> Option<Consumer> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user).or_default();
        if self.limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        METRICS.event_consumers(way.name(), 1);
        Some(Consumer { all: Arc::clone(self), user, way })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        METRICS.event_consumers(self.way.name(), -1);
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_limit_of_its_own() {
        let consumers = Consumers::new(Some(2));
        let open = |user| consumers.open(UserId(user), Way::Poll);
        let (first, second) = (open(1), open(1));
        assert!(first.is_some() && second.is_some() && open(1).is_none() && open(2).is_some());
        drop(first);
        assert!(open(1).is_some());
        drop(second);
        assert!(consumers.open.lock().expect("not poisoned").is_empty());
    }
}
