//! The state of adapters, stored under the session's lease.

use async_trait::async_trait;

use crate::db::DbError;
use crate::domain::Lease;
use crate::store::Store;
use crate::upstream::{AdapterState, Failure};

/// The stored state of one account's adapter.
pub(super) struct LeasedState {
    pub store: Store,
    pub lease: Lease,
}

#[async_trait]
impl AdapterState for LeasedState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.store.adapter_state(self.lease.account, &keys).await.map_err(|error| failure(&error))
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let keys: Vec<String> = values.iter().map(|(key, _)| (*key).to_owned()).collect();
        let values: Vec<Vec<u8>> = values.iter().map(|(_, value)| value.clone()).collect();
        self.store.put_adapter_state(&self.lease, &keys, &values).await.map_err(|error| failure(&error))
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.store.delete_adapter_state(&self.lease, &keys).await.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        self.store.list_adapter_state(self.lease.account, prefix).await.map_err(|error| failure(&error))
    }
}

pub(super) fn failure(error: &DbError) -> Failure {
    match error {
        DbError::Unavailable(_) => Failure::Retry("database_unavailable"),
        DbError::Fenced => Failure::Retry("lease_lost"),
        DbError::Corrupt(_) | DbError::Refused(_) => {
            tracing::error!(%error, cause = ?error, "an adapter's state could not be read or stored");
            Failure::Retry("internal")
        }
    }
}
