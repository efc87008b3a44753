//! The state of adapters, stored under the lease of a session or of a registration, or as a copy.
//!
//! It may hold the keys and tokens of a login, so each value is encrypted as credentials are; the keys are not. Values from
//! before that are plain: they are read as they are, and encrypted when a session reads them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::db::DbError;
use crate::domain::{AccountId, Lease};
use crate::secrets::MasterKey;
use crate::store::{RegistrationLease, Store};
use crate::telemetry::chain;
use crate::upstream::{AdapterState, Failure};

/// The beginning of an encrypted value. No adapter has ever written a plain one that begins so.
const SEALED: &[u8] = b"\0sealed\x01";

/// The encryption of one account's values.
pub(super) struct Seal {
    pub keys: MasterKey,
    pub account: AccountId,
}

/// A value that was read.
struct Opened {
    value: Vec<u8>,
    was_plain: bool,
}

impl Seal {
    fn seal(&self, key: &str, value: &[u8]) -> Vec<u8> {
        let mut sealed = SEALED.to_vec();
        sealed.extend(self.keys.seal("adapter_state", &self.context(key), value));
        sealed
    }

    fn open(&self, key: &str, stored: Vec<u8>) -> Result<Opened, Failure> {
        let Some(sealed) = stored.strip_prefix(SEALED) else {
            return Ok(Opened { value: stored, was_plain: true });
        };
        let opened = self.keys.open("adapter_state", &self.context(key), sealed);
        let value = opened.map_err(|error| {
            tracing::error!(account = %self.account, %error, "what an adapter has stored cannot be decrypted");
            Failure::Retry("internal")
        })?;
        Ok(Opened { value, was_plain: false })
    }

    /// A value belongs to its account and key.
    fn context(&self, key: &str) -> Vec<u8> {
        [&self.account.0.to_be_bytes(), key.as_bytes()].concat()
    }

    fn open_in_order(
        &self,
        keys: &[&str],
        stored: Vec<Option<Vec<u8>>>,
    ) -> Result<Vec<Option<Opened>>, Failure> {
        let opened = keys
            .iter()
            .zip(stored)
            .map(|(key, stored)| stored.map(|stored| self.open(key, stored)).transpose());
        opened.collect()
    }

    fn open_all(&self, stored: Vec<(String, Vec<u8>)>) -> Result<Vec<(String, Opened)>, Failure> {
        let opened = stored.into_iter().map(|(key, stored)| {
            let opened = self.open(&key, stored)?;
            Ok((key, opened))
        });
        opened.collect()
    }

    /// The keys and the encrypted values.
    fn columns(&self, values: &[(&str, Vec<u8>)]) -> (Vec<String>, Vec<Vec<u8>>) {
        values.iter().map(|(key, value)| ((*key).to_owned(), self.seal(key, value))).unzip()
    }
}

/// The stored state of one account's adapter.
pub(super) struct LeasedState {
    store: Store,
    lease: Lease,
    seal: Seal,
}

impl LeasedState {
    pub fn new(store: Store, lease: Lease, keys: MasterKey) -> Self {
        Self { store, lease, seal: Seal { keys, account: lease.account } }
    }

    /// Encrypts values that were stored plain, unless they have changed meanwhile.
    async fn encrypt(&self, plain: &[(&str, &[u8])]) -> Result<(), Failure> {
        if plain.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = plain.iter().map(|(key, _)| (*key).to_owned()).collect();
        let before: Vec<Vec<u8>> = plain.iter().map(|(_, value)| value.to_vec()).collect();
        let after: Vec<Vec<u8>> = plain.iter().map(|(key, value)| self.seal.seal(key, value)).collect();
        let replaced = self.store.replace_adapter_state(&self.lease, &keys, &before, &after).await;
        replaced.map_err(|error| failure(&error))
    }
}

#[async_trait]
impl AdapterState for LeasedState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let stored = self.store.adapter_state(self.lease.account, &owned(keys)).await;
        let opened = self.seal.open_in_order(keys, stored.map_err(|error| failure(&error))?)?;
        let plain: Vec<(&str, &[u8])> = keys
            .iter()
            .zip(&opened)
            .filter_map(|(key, opened)| Some((*key, opened.as_ref().filter(|opened| opened.was_plain)?)))
            .map(|(key, opened)| (key, opened.value.as_slice()))
            .collect();
        self.encrypt(&plain).await?;
        Ok(opened.into_iter().map(|opened| opened.map(|opened| opened.value)).collect())
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let (keys, values) = self.seal.columns(values);
        self.store.put_adapter_state(&self.lease, &keys, &values).await.map_err(|error| failure(&error))
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        self.store.delete_adapter_state(&self.lease, &owned(keys)).await.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let stored = self.store.list_adapter_state(self.lease.account, prefix).await;
        let opened = self.seal.open_all(stored.map_err(|error| failure(&error))?)?;
        let plain: Vec<(&str, &[u8])> = opened
            .iter()
            .filter(|(_, opened)| opened.was_plain)
            .map(|(key, opened)| (key.as_str(), opened.value.as_slice()))
            .collect();
        self.encrypt(&plain).await?;
        Ok(values(opened))
    }
}

/// What the adapter keeps of a registration by a code of the network, until the account has the new login.
pub(super) struct RegistrationState {
    store: Store,
    lease: RegistrationLease,
    seal: Seal,
}

impl RegistrationState {
    pub fn new(store: Store, lease: RegistrationLease, keys: MasterKey) -> Self {
        let seal = Seal { keys, account: lease.account };
        Self { store, lease, seal }
    }
}

#[async_trait]
impl AdapterState for RegistrationState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let stored = self.store.registration_state(self.lease.account, &owned(keys)).await;
        let opened = self.seal.open_in_order(keys, stored.map_err(|error| failure(&error))?)?;
        Ok(opened.into_iter().map(|opened| opened.map(|opened| opened.value)).collect())
    }

    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
        let (keys, values) = self.seal.columns(values);
        let put = self.store.put_registration_state(&self.lease, &keys, &values).await;
        put.map_err(|error| failure(&error))
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Failure> {
        let deleted = self.store.delete_registration_state(&self.lease, &owned(keys)).await;
        deleted.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let stored = self.store.list_registration_state(self.lease.account, prefix).await;
        Ok(values(self.seal.open_all(stored.map_err(|error| failure(&error))?)?))
    }
}

/// A copy of an account's state, for a log-out without the account's lease: what is written to it is not kept.
pub(super) struct CopiedState(Mutex<BTreeMap<String, Vec<u8>>>);

impl CopiedState {
    /// Of values as they are stored.
    pub fn new(seal: &Seal, stored: Vec<(String, Vec<u8>)>) -> Result<Self, Failure> {
        let state = values(seal.open_all(stored)?);
        Ok(Self(Mutex::new(state.into_iter().collect())))
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

fn values(opened: Vec<(String, Opened)>) -> Vec<(String, Vec<u8>)> {
    opened.into_iter().map(|(key, opened)| (key, opened.value)).collect()
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
