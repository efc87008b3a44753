//! The network inside the program, as the suite's first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use windu::domain::PhoneNumber;
use windu::lifecycle::Lifecycle;
use windu::store::Store;
use windu::store::localnet::LocalNet;
use windu::upstream::Connector;
use windu::upstream::local::Local;

use crate::network::Network;
use crate::support::postgres::Database;

/// A database with nothing in it. Its processes end with the test.
pub struct LocalNetwork {
    database: Database,
    numbers: AtomicU64,
    lifecycle: Lifecycle,
}

#[async_trait]
impl Network for LocalNetwork {
    const UNACKNOWLEDGED: usize = 500;

    async fn start() -> Self {
        Self { database: Database::create(), numbers: AtomicU64::new(0), lifecycle: Lifecycle::default() }
    }

    async fn connector(&self) -> Arc<dyn Connector> {
        let store = Store::from_url(&self.database.url(), 4).unwrap();
        store.connect_wakes(&self.lifecycle);
        Arc::new(Local::new(LocalNet::new(store), self.lifecycle.clone()))
    }

    fn number(&self) -> PhoneNumber {
        let number = 15_550_100_000 + self.numbers.fetch_add(1, Ordering::Relaxed);
        number.to_string().parse().unwrap()
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
    }
}
