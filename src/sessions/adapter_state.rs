//! The state of adapters, stored under the lease of a session or of a registration, or as a copy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::db::DbError;
use crate::domain::Lease;
use crate::store::{RegistrationLease, Store};
use crate::telemetry::chain;
use crate::upstream::{AdapterState, Failure};

/// The stored state of one account's adapter.
pub(super) struct LeasedState {
    pub store: Store,
    pub lease: Lease,
}

#[async_trait]
impl AdapterState for LeasedState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        self.store.adapter_state(self.lease.account, &owned(keys)).await.map_err(|error| failure(&error))
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let (keys, values) = columns(values);
        self.store.put_adapter_state(&self.lease, &keys, &values).await.map_err(|error| failure(&error))
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        self.store.delete_adapter_state(&self.lease, &owned(keys)).await.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        self.store.list_adapter_state(self.lease.account, prefix).await.map_err(|error| failure(&error))
    }
}

/// What the adapter keeps of a registration by a code of the network, until the account has the new login.
pub(super) struct RegistrationState {
    pub store: Store,
    pub lease: RegistrationLease,
}

#[async_trait]
impl AdapterState for RegistrationState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        self.store.registration_state(self.lease.account, &owned(keys)).await.map_err(|error| failure(&error))
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let (keys, values) = columns(values);
        let put = self.store.put_registration_state(&self.lease, &keys, &values).await;
        put.map_err(|error| failure(&error))
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        let deleted = self.store.delete_registration_state(&self.lease, &owned(keys)).await;
        deleted.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let listed = self.store.list_registration_state(self.lease.account, prefix).await;
        listed.map_err(|error| failure(&error))
    }
}

/// A copy of an account's state, for a log-out without the account's lease: what is written to it is not kept.
pub(super) struct CopiedState(Mutex<BTreeMap<String, Vec<u8>>>);

impl CopiedState {
    pub fn new(state: Vec<(String, Vec<u8>)>) -> Self {
        Self(Mutex::new(state.into_iter().collect()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl AdapterState for CopiedState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        Ok(self.with(|state| keys.iter().map(|key| state.get(*key).cloned()).collect()))
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        self.with(|state| state.extend(values.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))));
        Ok(())
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        self.with(|state| state.retain(|key, _| !keys.contains(&key.as_str())));
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let listed = |state: &mut BTreeMap<String, Vec<u8>>| {
            let found = state.iter().filter(|(key, _)| key.starts_with(prefix));
            found.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Ok(self.with(listed))
    }
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// The keys and the values.
fn columns(values: &[(&str, Vec<u8>)]) -> (Vec<String>, Vec<Vec<u8>>) {
    values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).unzip()
}

/// The lease was lost, as [`failure`] reports it to an adapter.
pub(super) const LEASE_LOST: Failure = Failure::Retry("lease_lost");

/// A failed query, as it is reported to an adapter or to who asks a network something.
pub(super) fn failure(error: &DbError) -> Failure {
    match error {
        DbError::Unavailable(_) => Failure::Retry("database_unavailable"),
        DbError::Fenced => LEASE_LOST,
        DbError::Corrupt(_) | DbError::Refused(_) => {
            tracing::error!(error = chain(error), "what an adapter needs could not be read or stored");
            Failure::Retry("internal")
        }
    }
}
