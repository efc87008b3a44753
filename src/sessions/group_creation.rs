//! Creation of a group from contacts.

use std::collections::{HashMap, HashSet};

use super::GroupRefusal;
use super::command::AskError;
use super::{NoSuchNetwork, Sessions};
use crate::db::DbError;
use crate::domain::{Account, ContactId, GroupId};
use crate::store::{Candidate, Claim};
use crate::upstream::{Address, Feature, Support};

/// Why a group was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateGroupError {
    /// The network has no groups.
    #[error("the account's network has no groups")]
    Unsupported,
    /// These cannot be added, and at least one of them is neither a contact that exists nor wrote first.
    #[error("these cannot be added to a group: {0:?}")]
    NotContacts(Vec<String>),
    #[error(transparent)]
    NoSuchNetwork(#[from] NoSuchNetwork),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] DbError),
}

impl Sessions {
    /// Creates a group of contacts whose admin is the account. The account's own number and repeated ones are ignored.
    /// A request with a key that asked the session before gets that answer.
    ///
    /// # Errors
    /// When it has too many participants, or one who cannot be added, no group is created.
    pub async fn create_group_of_contacts(
        &self,
        account: &Account,
        subject: String,
        participants: &[ContactId],
        claim: Option<&Claim>,
    ) -> Result<GroupId, CreateGroupError> {
        let capabilities = self.capabilities(account)?;
        if capabilities.support(Feature::Groups) == Support::None {
            return Err(CreateGroupError::Unsupported);
        }
        let largest = capabilities.group_size;
        let mut seen = HashSet::from([account.number.to_string()]);
        let ids: Vec<String> =
            participants.iter().map(ToString::to_string).filter(|id| seen.insert(id.clone())).collect();
        // The account is a member too.
        if ids.len() >= largest {
            return Err(AskError::Group(GroupRefusal::TooLarge).into());
        }
        let members = self.members(account, &ids, claim).await?;
        Ok(self.create_group(account.id, subject, members, claim).await?)
    }

    /// The addresses of all, unless one of them cannot be added. A request that has asked its session before is not
    /// refused again: the contacts may have changed since.
    async fn members(
        &self,
        account: &Account,
        ids: &[String],
        claim: Option<&Claim>,
    ) -> Result<Vec<Address>, CreateGroupError> {
        let candidates = self.store.candidates(account, None, ids).await?;
        let candidates: HashMap<&str, &Candidate> =
            candidates.iter().map(|candidate| (candidate.peer.public_id.as_str(), candidate)).collect();
        let asked = Self::has_asked(claim);
        let (mut members, mut refused) = (Vec::with_capacity(ids.len()), HashSet::new());
        for id in ids {
            match candidates.get(id.as_str()) {
                Some(candidate) if candidate.reachable || asked => {
                    members.push(Address(candidate.peer.address.clone()));
                }
                Some(_) | None => {
                    refused.insert(id.clone());
                }
            }
        }
        if refused.is_empty() {
            return Ok(members);
        }
        // The error names all, also those whom only the network refuses.
        if !members.is_empty() {
            refused.extend(self.not_addable(account.id, members).await?);
        }
        let named = ids.iter().filter(|id| refused.contains(*id)).cloned().collect();
        Err(CreateGroupError::NotContacts(named))
    }
}
