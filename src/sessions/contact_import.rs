//! Import of a whole contact list.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Sessions;
use super::roster::{ContactError, is_number};
use crate::domain::{Account, ContactId};
use crate::store::{Claim, Contact, Imported, ImportedContact, LIST_LIMIT, Tx};

/// An entry of the new list, as the caller wrote it.
#[derive(Clone, Debug)]
pub struct ImportEntry {
    pub id: ContactId,
    pub first_name: String,
    pub last_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOutcome {
    pub change: ImportChange,
    /// Entries that were dropped because nobody on the network has their public id.
    pub unknown: usize,
}

/// What an import changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportChange {
    None,
    /// The list has the same people, so the network was not asked.
    Renamed {
        updated: usize,
    },
    Replaced {
        changed: Imported,
        existing: usize,
        non_existing: usize,
    },
}

impl Sessions {
    /// Replaces the contact list in one step. Of two entries with the same id the last counts; an entry whose public id
    /// nobody on the network has is dropped. The caller commits the transaction.
    ///
    /// # Errors
    /// Notably [`ContactError::NoValidEntry`] when no entry remains.
    pub async fn import_contacts(
        &self,
        account: &Account,
        entries: Vec<ImportEntry>,
        claim: Option<&Claim>,
    ) -> Result<(Tx, ImportOutcome), ContactError> {
        let entries: BTreeMap<String, ImportEntry> =
            entries.into_iter().map(|entry| (entry.id.to_string(), entry)).collect();
        if entries.len() > usize::from(LIST_LIMIT) {
            return Err(ContactError::TooMany);
        }
        let ids = entries.values().map(|entry| entry.id.clone()).collect();
        let peers = self.known_peers(account, ids).await?;
        let unknown = entries.len().saturating_sub(peers.len());
        if peers.is_empty() {
            return Err(ContactError::NoValidEntry);
        }
        let current = self.store.contacts(account).await?;
        let before: BTreeSet<&str> = current.iter().map(|contact| contact.public_id.as_str()).collect();
        let after: BTreeSet<&str> = peers.iter().map(|peer| peer.public_id.as_str()).collect();
        let same_people = before == after;
        let existing = if same_people {
            existing_before(&current)
        } else {
            let ids: Vec<String> = after.into_iter().map(str::to_owned).collect();
            let mut existing = self.existing_ids(account, &ids, claim).await?;
            // A peer without a number was seen on the network itself.
            existing.extend(ids.into_iter().filter(|id| !is_number(id)));
            existing
        };
        let contacts: Vec<ImportedContact> = peers
            .into_iter()
            .map(|peer| {
                let (first_name, last_name) = entries
                    .get(&peer.public_id)
                    .map(|entry| (entry.first_name.clone(), entry.last_name.clone()))
                    .unwrap_or_default();
                ImportedContact { exists: existing.contains(&peer.public_id), first_name, last_name, peer }
            })
            .collect();
        let mut tx = self.store.begin().await?;
        let changed = tx.replace_contacts(account, &contacts).await?;
        let change = match (same_people, changed.updated) {
            (true, 0) => ImportChange::None,
            (true, updated) => ImportChange::Renamed { updated },
            (false, _) => ImportChange::Replaced {
                changed,
                existing: existing.len(),
                non_existing: contacts.len() - existing.len(),
            },
        };
        Ok((tx, ImportOutcome { change, unknown }))
    }
}

fn existing_before(contacts: &[Contact]) -> HashSet<String> {
    contacts.iter().filter(|contact| contact.exists).map(|contact| contact.public_id.clone()).collect()
}
