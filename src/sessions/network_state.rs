//! The state of networks as a whole, stored for their adapters.

use async_trait::async_trait;

use super::adapter_state::failure;
use crate::store::Store;
use crate::upstream::{Failure, NetworkState, NetworkWrite};

/// The stored state of one network.
pub struct StoredNetworkState {
    pub store: Store,
    pub network: &'static str,
}

#[async_trait]
impl NetworkState for StoredNetworkState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        self.store.network_state(self.network, keys).await.map_err(|error| failure(&error))
    }

    async fn replace(
        &self,
        key: &str,
        before: Option<&[u8]>,
        after: &[u8],
        others: &[NetworkWrite],
    ) -> Result<bool, Failure> {
        let replaced = self.store.replace_network_state(self.network, key, before, after, others).await;
        replaced.map_err(|error| failure(&error))
    }

    async fn remove(&self, key: &str, before: &[u8], others: &[String]) -> Result<bool, Failure> {
        let removed = self.store.remove_network_state(self.network, key, before, others).await;
        removed.map_err(|error| failure(&error))
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let page = self.store.network_state_page(self.network, prefix, after, limit).await;
        page.map_err(|error| failure(&error))
    }
}
