//! The number of connections and requests that one address may have open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::domain::CallerNetwork;

/// Counts per [`CallerNetwork`], up to a limit; clones share them.
#[derive(Clone)]
pub struct AddressLimit {
    most: usize,
    open: Arc<Mutex<HashMap<CallerNetwork, Count>>>,
}

#[derive(Default)]
struct Count {
    open: usize,
    /// Whether the log says already that more are refused.
    warned: bool,
}

/// One open connection or request of an address, until it is dropped.
pub struct AddressPermit {
    network: CallerNetwork,
    open: Arc<Mutex<HashMap<CallerNetwork, Count>>>,
}

impl AddressLimit {
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// `None` when the address has as many as it may.
    pub fn open(&self, address: IpAddr) -> Option<AddressPermit> {
        let network = CallerNetwork::from(address);
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if count.open < self.most {
            count.open += 1;
            return Some(AddressPermit { network, open: Arc::clone(&self.open) });
        }
        if !std::mem::replace(&mut count.warned, true) {
            tracing::warn!(address = %network, open = count.open, "more connections of an address are refused");
        }
        None
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = counts.entry(self.network) {
            entry.get_mut().open -= 1;
            if entry.get().open == 0 {
                entry.remove();
            }
        }
    }
}

impl AddressPermit {
    /// The response with a body that keeps the permit until it is sent.
    pub fn until_sent(self, response: Response) -> Response {
        response.map(
            |body| if body.is_end_stream() { body } else { Body::new(CountedBody { body, _permit: self }) },
        )
    }
}

struct CountedBody {
    body: Body,
    _permit: AddressPermit,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit_and_nothing_is_kept_of_those_that_are_gone() {
        let limit = AddressLimit::new(2);
        let of = |address: &str| limit.open(address.parse().expect("an address"));
        let first = of("2001:db8:0:1::1");
        let _second = of("2001:db8:0:1:ffff::1").expect("two");
        assert!(of("2001:db8:0:1::3").is_none(), "a /64 counts as one address");
        let other = of("2001:db8:0:2::1");
        assert!(first.is_some() && other.is_some());
        drop(first);
        assert!(of("2001:db8:0:1::3").is_some());
        drop(other);
        assert_eq!(limit.open.lock().expect("not poisoned").len(), 1);
    }
}
