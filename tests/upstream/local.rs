//! The local network in the conformance suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use windu::db::Db;
use windu::domain::{PhoneNumber, StoredMedia, UserId};
use windu::lifecycle::Lifecycle;
use windu::media::{Media, Uploader};
use windu::store::Store;
use windu::upstream::Connector;
use windu::upstream::local::Local;
use windu::upstream::local::network::LocalNet;

use crate::network::Network;
use crate::support::media;
use crate::support::postgres::Database;

/// An empty database. Its processes end with the test.
pub struct LocalNetwork {
    database: Database,
    numbers: AtomicU64,
    lifecycle: Lifecycle,
    folder: TempDir,
}

#[async_trait]
impl Network for LocalNetwork {
    const UNACKNOWLEDGED: usize = 500;

    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (database, lifecycle) = (Database::create(), Lifecycle::default());
        Self { database, numbers: AtomicU64::new(0), lifecycle, folder }
    }

    async fn connector(&self) -> Arc<dyn Connector> {
        let store = Store::new(Db::from_url(&self.database.url(), 4).unwrap());
        store.db().connect_notifications(&self.lifecycle);
        let media = Arc::new(self.media(&store));
        Arc::new(Local::new(LocalNet::new(store.db().clone()), media, self.lifecycle.clone()))
    }

    async fn store(&self, bytes: &[u8], mimetype: &str) -> StoredMedia {
        let media = self.media(&Store::new(Db::from_url(&self.database.url(), 1).unwrap()));
        let mut spool = media.spool(Uploader::User(UserId(1)));
        spool.write(bytes).await.unwrap();
        media.ingest(&spool.finish().await.unwrap(), mimetype).await.unwrap()
    }

    fn number(&self) -> PhoneNumber {
        let number = 15_550_100_000 + self.numbers.fetch_add(1, Ordering::Relaxed);
        number.to_string().parse().unwrap()
    }
}

impl LocalNetwork {
    fn media(&self, store: &Store) -> Media {
        media::in_folder(store, self.folder.path())
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
    }
}
