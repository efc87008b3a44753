//! Commands about groups, done over the account's open connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{CommandAnswer, GroupRefusal, GroupRequest};
use crate::db::DbError;
use crate::domain::CommandId;
use crate::sessions::peers::{directory, learn, new_peer};
use crate::sessions::session::Session;
use crate::store::{Directory, TakenCommand};
use crate::upstream::{Address, Connection, Failure, Group, GroupFailure};

/// How long a command about a group waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// What the network did or answered.
enum GroupOutcome {
    /// The group after it was created or changed.
    Group(Group),
    /// The persons that cannot be added to a group, of those that were named.
    NotAddable(Vec<Address>),
}

impl Session {
    /// Does what is asked about a group and stores the answer, together with the group as it is then.
    pub(super) async fn answer_about_group(
        &self,
        command: &TakenCommand,
        request: &GroupRequest,
    ) -> Result<(), DbError> {
        let work = self.ask_network(command.id, request);
        let failure = match timeout(command.remaining, work).await {
            Ok(Ok(GroupOutcome::Group(group))) => {
                return self.store_group_answer(command.id, &group).await;
            }
            Ok(Ok(GroupOutcome::NotAddable(who))) => GroupFailure::CannotAdd(who),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::OutcomeUnknown.into(),
        };
        let answer = match failure {
            GroupFailure::NotInGroup => CommandAnswer::GroupRefused(GroupRefusal::NotInGroup),
            GroupFailure::NotAnAdmin => CommandAnswer::GroupRefused(GroupRefusal::NotAnAdmin),
            GroupFailure::NotAMember => CommandAnswer::GroupRefused(GroupRefusal::NotAMember),
            GroupFailure::TooLarge => CommandAnswer::GroupRefused(GroupRefusal::TooLarge),
            GroupFailure::CannotAdd(who) => self.cannot_add(&who).await?,
            GroupFailure::Failed(failure) => CommandAnswer::failed(failure),
        };
        let answer = answer.to_json();
        self.until_stored(|| self.store.answer(&self.lease, command.id, &answer)).await
    }

    pub(super) fn directory(&self) -> Directory {
        directory(&self.connector, self.lease.account)
    }

    async fn cannot_add(&self, who: &[Address]) -> Result<CommandAnswer, DbError> {
        let wanted: Vec<_> = who.iter().map(|who| new_peer(&self.connector, who)).collect();
        let peers = self.store.peers(&self.directory().name, &wanted).await?;
        let who = peers.into_iter().map(|peer| peer.public_id).collect();
        Ok(CommandAnswer::GroupRefused(GroupRefusal::CannotAdd { who }))
    }

    async fn ask_network(
        &self,
        command: CommandId,
        request: &GroupRequest,
    ) -> Result<GroupOutcome, GroupFailure> {
        let connection = self.open_connection().await.ok_or(Failure::Retry("not_connected"))?;
        // The same command is the same operation, whichever process does it.
        let operation = command.to_string();
        Ok(match request {
            GroupRequest::Create { subject, members } => {
                GroupOutcome::Group(connection.create_group(&operation, subject, members).await?)
            }
            GroupRequest::Change { group, edit } => {
                GroupOutcome::Group(connection.change_group(&operation, group, edit).await?)
            }
            GroupRequest::Check { members } => {
                GroupOutcome::NotAddable(connection.not_addable(members).await?)
            }
        })
    }

    /// The open connection; `None` when there is none within [`CONNECTION_TIMEOUT`].
    pub(super) async fn open_connection(&self) -> Option<Arc<dyn Connection>> {
        let mut connection = self.connection.subscribe();
        let open = timeout(CONNECTION_TIMEOUT, connection.wait_for(Option::is_some)).await.ok()?.ok()?;
        open.clone()
    }

    async fn store_group_answer(&self, command: CommandId, group: &Group) -> Result<(), DbError> {
        let directory = self.directory().name;
        self.until_stored(|| async {
            learn(&self.store, &self.connector, &directory, group).await?;
            let address = [group.address.0.clone()];
            let peer = self.store.group_peers(&directory, &address).await?.remove(0);
            let answer = CommandAnswer::Group { id: peer.public_id }.to_json();
            self.store.answer_about_group(&self.lease, command, &answer, peer.id, &group.subject).await
        })
        .await
    }
}
