//! Groups: what the API asks of them, done over the account's open connection, and what networks tell of them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Sessions;
use super::command::{AskError, CommandAnswer, CommandRequest};
use super::ingest::new_peer;
use super::session::Session;
use crate::db::DbError;
use crate::domain::{AccountId, CommandId, GroupId};
use crate::store::{Claim, NewGroup, NewMember, Store, TakenCommand};
use crate::upstream::{Address, Connection, Connector, Failure, Group, GroupEdit, GroupFailure};

/// How long what needs a connection waits for one.
const UNTIL_CONNECTED: Duration = Duration::from_secs(5);

/// Something asked of groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum GroupRequest {
    /// To make one.
    Create {
        /// Its subject.
        subject: String,
        /// Who is in it beside the account.
        members: Vec<Address>,
    },
    /// To change one.
    Change {
        /// Which.
        group: Address,
        /// How.
        wish: GroupEdit,
    },
}

/// Why a group was not made or changed, as it travels between processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum GroupRefusal {
    /// The account is in no such group.
    NotInGroup,
    /// Only admins may.
    NotAnAdmin,
    /// Whom it was about is not in the group.
    NotAMember,
    /// It would have too many members.
    TooLarge,
    /// The network does not let these be added.
    CannotAdd {
        /// By number or public id.
        who: Vec<String>,
    },
}

impl Sessions {
    /// Makes a group of these and the account; gives its id. A request with a key that asked before hears that answer.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn create_group(
        &self,
        account: AccountId,
        subject: String,
        members: Vec<Address>,
        claim: Option<&Claim>,
    ) -> Result<GroupId, AskError> {
        self.ask_about_group(account, GroupRequest::Create { subject, members }, claim).await
    }

    /// Does what an account wants of a group. A request with a key that asked before hears that answer.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn change_group(
        &self,
        account: AccountId,
        group: Address,
        wish: GroupEdit,
        claim: Option<&Claim>,
    ) -> Result<GroupId, AskError> {
        self.ask_about_group(account, GroupRequest::Change { group, wish }, claim).await
    }

    async fn ask_about_group(
        &self,
        account: AccountId,
        request: GroupRequest,
        claim: Option<&Claim>,
    ) -> Result<GroupId, AskError> {
        match self.ask(account, &CommandRequest::Group(request), claim).await? {
            CommandAnswer::Group { id } => id
                .parse()
                .map_err(|_| DbError::Corrupt(format!("{id} was answered as the id of a group")).into()),
            other => Err(super::command::unexpected(&other)),
        }
    }
}

impl Session {
    /// Does what is asked of a group and stores the answer, with the group as it is then.
    pub(super) async fn answer_about_group(
        &self,
        command: &TakenCommand,
        request: &GroupRequest,
    ) -> Result<(), DbError> {
        let work = self.do_to_group(command.id, request);
        let failure = match timeout(command.remaining, work).await {
            Ok(Ok(group)) => return self.store_group_answer(command.id, &group).await,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::OutcomeUnknown.into(),
        };
        let answer = match failure {
            GroupFailure::NotInGroup => refused(GroupRefusal::NotInGroup),
            GroupFailure::NotAnAdmin => refused(GroupRefusal::NotAnAdmin),
            GroupFailure::NotAMember => refused(GroupRefusal::NotAMember),
            GroupFailure::TooLarge => refused(GroupRefusal::TooLarge),
            GroupFailure::CannotAdd(who) => {
                let wanted: Vec<_> = who.iter().map(|who| new_peer(&self.connector, who)).collect();
                let peers = self.store.peers(self.connector.network(), &wanted).await?;
                let who = peers.into_iter().map(|peer| peer.public_id).collect();
                refused(GroupRefusal::CannotAdd { who })
            }
            GroupFailure::Failed(failure) => CommandAnswer::failed(failure),
        };
        let answer = super::attend::to_json(&answer);
        self.until_stored(|| self.store.answer(&self.lease, command.id, &answer)).await
    }

    async fn do_to_group(&self, command: CommandId, request: &GroupRequest) -> Result<Group, GroupFailure> {
        let connection = self.connection().await.ok_or(Failure::Retry("not_connected"))?;
        // The same command is the same operation, whichever process does it.
        let operation = command.to_string();
        match request {
            GroupRequest::Create { subject, members } => {
                connection.create_group(&operation, subject, members).await
            }
            GroupRequest::Change { group, wish } => connection.change_group(&operation, group, wish).await,
        }
    }

    /// The open connection; waits a while for one.
    async fn connection(&self) -> Option<Arc<dyn Connection>> {
        let mut connection = self.connection.subscribe();
        let open = timeout(UNTIL_CONNECTED, connection.wait_for(Option::is_some)).await.ok()?.ok()?;
        open.clone()
    }

    async fn store_group_answer(&self, command: CommandId, group: &Group) -> Result<(), DbError> {
        self.until_stored(|| async {
            learn(&self.store, &self.connector, group).await?;
            let address = [group.address.0.clone()];
            let peer = self.store.group_peers(self.connector.network(), &address).await?.remove(0);
            let answer = super::attend::to_json(&CommandAnswer::Group { id: peer.public_id });
            self.store.answer_about_group(&self.lease, command, &answer, peer.id, &group.subject).await
        })
        .await
    }
}

/// Stores what a network told of a group, for all accounts.
pub(super) async fn learn(
    store: &Store,
    connector: &Arc<dyn Connector>,
    group: &Group,
) -> Result<(), DbError> {
    if store.knows_group(connector.network(), &group.address.0, group.revision) {
        return Ok(());
    }
    let members = group.members.iter().map(|member| NewMember {
        peer: new_peer(connector, &member.address),
        admin: member.admin,
        since: member.since,
    });
    let learned = NewGroup {
        network: connector.network().to_owned(),
        address: group.address.0.clone(),
        subject: group.subject.clone(),
        creator: group.creator.as_ref().map(|creator| new_peer(connector, creator)),
        created_at: group.created_at,
        revision: group.revision,
        photo: group.photo,
        members: members.collect(),
    };
    store.learn_group(Arc::new(learned)).await
}

fn refused(why: GroupRefusal) -> CommandAnswer {
    CommandAnswer::GroupRefused(why)
}
