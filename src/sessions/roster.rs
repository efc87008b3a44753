//! Changes of an account's contact list that need its network: which peer an id names, and whether a number exists.
//!
//! Each change returns its open transaction, which the caller commits together with its response.

use std::collections::HashSet;

use super::command::AskError;
use super::{NoSuchNetwork, Sessions};
use crate::db::DbError;
use crate::domain::{Account, ContactId, PhoneNumber};
use crate::store::{Claim, LIST_LIMIT, ListAddition, NewPeer, Peer, Tx};

/// Why the contact list was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    #[error("this contact is already in the contact list")]
    Exists,
    #[error("nobody on the network has the public id {0}")]
    UnknownPublicId(String),
    #[error("an account may have at most {LIST_LIMIT} contacts")]
    TooMany,
    /// Of an import.
    #[error("no entry of the list names a peer")]
    NoValidEntry,
    #[error(transparent)]
    NoSuchNetwork(#[from] NoSuchNetwork),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] DbError),
}

/// A contact after the network was asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedContact {
    /// The number, or the public id of a peer that has none.
    pub public_id: String,
    pub exists: bool,
}

/// Contacts by number or public id, after the network was asked about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedContacts {
    pub existing: Vec<String>,
    pub non_existing: Vec<String>,
}

/// Peers that some ids name; numbers are not stored yet.
#[derive(Default)]
pub(super) struct NamedPeers {
    by_public_id: Vec<Peer>,
    numbers: Vec<NewPeer>,
    unknown: Vec<String>,
}

impl Sessions {
    /// The peers that the ids name: first those named by public id, then those named by number, each in order.
    ///
    /// # Errors
    /// Notably [`ContactError::UnknownPublicId`]; then nothing is stored.
    pub async fn peers(&self, account: &Account, ids: Vec<ContactId>) -> Result<Vec<Peer>, ContactError> {
        let named = self.named_peers(account, ids).await?;
        match named.unknown.first() {
            Some(id) => Err(ContactError::UnknownPublicId(id.clone())),
            None => self.stored_peers(account, named).await,
        }
    }

    /// Adds a contact after asking the network whether its number exists.
    ///
    /// # Errors
    /// Notably [`ContactError::Exists`], also when another request has added it meanwhile.
    pub async fn add_contact(
        &self,
        account: &Account,
        id: &ContactId,
        names: (&str, &str),
        claim: Option<&Claim>,
    ) -> Result<(Tx, SyncedContact), ContactError> {
        if self.store.contact(account, id.as_str()).await?.is_some() {
            return Err(ContactError::Exists);
        }
        let (peer, exists) = match id {
            ContactId::Number(number) => {
                let existing = self.existing(account.id, vec![number.clone()], claim).await?;
                (self.peers(account, vec![id.clone()]).await?.pop(), existing.contains(number))
            }
            // A peer without a number was seen on the network itself.
            ContactId::PublicId(id) => {
                let ids = [id.clone()];
                (self.store.peers_by_public_id(&account.directory, &ids).await?.pop(), true)
            }
        };
        let peer = peer.ok_or_else(|| ContactError::UnknownPublicId(id.to_string()))?;
        let mut tx = self.store.begin().await?;
        match tx.add_contact(account, &peer, names, exists).await? {
            ListAddition::Added => {}
            ListAddition::Present => return Err(ContactError::Exists),
            ListAddition::Full => return Err(ContactError::TooMany),
        }
        Ok((tx, SyncedContact { public_id: peer.public_id, exists }))
    }

    /// Asks the network again which contacts exist.
    pub async fn sync_contacts(
        &self,
        account: &Account,
        claim: Option<&Claim>,
    ) -> Result<(Tx, SyncedContacts), ContactError> {
        let contacts = self.store.contacts(account).await?;
        let (numbers, mut existing): (Vec<String>, Vec<String>) =
            contacts.into_iter().map(|contact| contact.public_id).partition(|id| is_number(id));
        let found = if numbers.is_empty() {
            HashSet::new()
        } else {
            self.existing_ids(account, &numbers, claim).await?
        };
        let (known, non_existing): (Vec<String>, Vec<String>) =
            numbers.iter().cloned().partition(|number| found.contains(number));
        let mut tx = self.store.begin().await?;
        tx.store_sync(account, &numbers, &found).await?;
        existing.extend(known);
        Ok((tx, SyncedContacts { existing, non_existing }))
    }

    /// The peers that the ids name, without those named by a public id that nobody on the network has.
    pub(super) async fn known_peers(
        &self,
        account: &Account,
        ids: Vec<ContactId>,
    ) -> Result<Vec<Peer>, ContactError> {
        let named = self.named_peers(account, ids).await?;
        self.stored_peers(account, named).await
    }

    /// Asks the network which of these ids exist; public ids that are not numbers are ignored.
    pub(super) async fn existing_ids(
        &self,
        account: &Account,
        ids: &[String],
        claim: Option<&Claim>,
    ) -> Result<HashSet<String>, ContactError> {
        let numbers = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let existing = self.existing(account.id, numbers, claim).await?;
        Ok(existing.iter().map(ToString::to_string).collect())
    }

    async fn named_peers(&self, account: &Account, ids: Vec<ContactId>) -> Result<NamedPeers, ContactError> {
        let connector =
            self.connector(&account.network).ok_or_else(|| NoSuchNetwork(account.network.clone()))?;
        let mut named = NamedPeers::default();
        let mut public_ids = Vec::new();
        for id in ids {
            match id {
                ContactId::Number(number) => {
                    let address = connector.address_of(&number).0;
                    named.numbers.push(NewPeer { address, number: Some(number) });
                }
                ContactId::PublicId(id) => public_ids.push(id),
            }
        }
        if !public_ids.is_empty() {
            named.by_public_id = self.store.peers_by_public_id(&account.directory, &public_ids).await?;
            let found: HashSet<&str> =
                named.by_public_id.iter().map(|peer| peer.public_id.as_str()).collect();
            named.unknown = public_ids.iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
        }
        Ok(named)
    }

    async fn stored_peers(&self, account: &Account, named: NamedPeers) -> Result<Vec<Peer>, ContactError> {
        let mut peers = named.by_public_id;
        if !named.numbers.is_empty() {
            peers.extend(self.store.peers(&account.directory, &named.numbers).await?);
        }
        Ok(peers)
    }
}

/// Whether a public id is a number; other ids come from the network itself.
pub(super) fn is_number(id: &str) -> bool {
    PhoneNumber::from_stored(id).is_some()
}
