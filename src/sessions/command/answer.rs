//! The answering side of commands: a task of the session, whether it is connected or not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{CommandAnswer, CommandRequest};
use crate::db::DbError;
use crate::domain::{CommandId, PhoneNumber};
use crate::sessions::adapter_state::{LEASE_LOST, LeasedState, failure};
use crate::sessions::fault::SessionEnd;
use crate::sessions::registration::undecipherable;
use crate::sessions::session::Session;
use crate::store::{TakenCommand, topic};
use crate::upstream::{Failure, People};

/// Seconds after which a command is worth repeating that only a newer version of this program can read.
const UNREADABLE_RETRY: u64 = 10;

impl Session {
    /// Answers commands as long as the session lives. Commands about numbers go to the connector, those about groups wait
    /// for a connection. While there is none, overdue messages expire here.
    pub(in crate::sessions) async fn answer_commands(&self) -> SessionEnd {
        let mut work = self.store.notifications().subscribe(topic::commands(self.lease.account));
        loop {
            match self.store.take_command(&self.lease).await {
                Ok(Some(command)) => match Box::pin(self.answer_command(&command)).await {
                    Ok(None) => continue,
                    Ok(Some(end)) => return end,
                    Err(error) => {
                        self.unregistering.send_replace(false);
                        let error = crate::telemetry::chain(&error);
                        tracing::warn!(account = %self.lease.account, error, "a command was not answered");
                    }
                },
                Ok(None) => {}
                Err(DbError::Fenced) => return SessionEnd::Fenced,
                Err(error) => {
                    tracing::debug!(account = %self.lease.account, %error, "no command could be taken");
                }
            }
            if self.connection.borrow().is_none() {
                match self.store.expire_outbox(&self.lease).await {
                    Ok(0) => {}
                    Ok(_) => continue,
                    Err(DbError::Fenced) => return SessionEnd::Fenced,
                    Err(error) => {
                        tracing::debug!(account = %self.lease.account, %error, "no message could be expired");
                    }
                }
            }
            work.woken().await;
        }
    }

    async fn answer_command(&self, command: &TakenCommand) -> Result<Option<SessionEnd>, DbError> {
        let Ok(request) = serde_json::from_value::<CommandRequest>(command.request.clone()) else {
            // Of a newer version, which may have the lease soon.
            tracing::warn!(account = %self.lease.account, "a command of another version cannot be done now");
            let answer = CommandAnswer::Later { retry_after: UNREADABLE_RETRY };
            self.store.answer(&self.lease, command.id, &answer.to_json()).await?;
            return Ok(None);
        };
        self.unregistering.send_replace(request == CommandRequest::Unregister);
        let answer = match &request {
            CommandRequest::Existing { numbers } => in_time(command.remaining, self.existing(numbers)).await,
            CommandRequest::Unregister => in_time(command.remaining, self.unregister()).await,
            CommandRequest::Group(request) => {
                return self.answer_about_group(command, request).await.map(|()| None);
            }
        };
        self.until_stored(|| self.store_answer(command.id, &answer)).await
    }

    /// Stores the answer; when the number has left its network, or was logged out of it, the account is removed in the same transaction.
    async fn store_answer(
        &self,
        command: CommandId,
        answer: &CommandAnswer,
    ) -> Result<Option<SessionEnd>, DbError> {
        if *answer != CommandAnswer::Unregistered {
            self.unregistering.send_replace(false);
            self.store.answer(&self.lease, command, &answer.to_json()).await?;
            return Ok(None);
        }
        let mut tx = self.store.begin().await?;
        tx.assert_lease(&self.lease).await?;
        tx.store_answer(command, &answer.to_json()).await?;
        tx.record_act("account.remove", self.lease.account).await?;
        tx.remove_account(self.lease.account, self.lease.counter).await?;
        tx.commit().await?;
        self.store.notifications().wake(topic::answer(command));
        Ok(Some(SessionEnd::Removed))
    }

    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<CommandAnswer, Failure> {
        let numbers = match self.connector.people() {
            People::Shared => self.connector.existing(numbers).await?,
            People::PerAccount => {
                let connection = self.open_connection().await.ok_or(Failure::Retry("not_connected"))?;
                let found = connection.existing(numbers).await?;
                let found: Vec<_> = found.into_iter().map(|(number, address)| (number, address.0)).collect();
                let stored = self.store.resolve(&self.lease, &self.directory(), &found).await;
                stored.map_err(|error| failure(&error))?;
                found.into_iter().map(|(number, _)| number).collect()
            }
        };
        Ok(CommandAnswer::Existing { numbers })
    }

    async fn unregister(&self) -> Result<CommandAnswer, Failure> {
        match self.store.session_account(&self.lease).await {
            Ok(Some(account)) => {
                if self.connector.registration().is_persons() {
                    let login = self.login(&account).map_err(|_| undecipherable())?;
                    let state = Arc::new(LeasedState::new(self.store.clone(), self.lease, self.keys.clone()));
                    self.connector.log_out(login, state).await?;
                } else {
                    self.connector.unregister(&account.number).await?;
                }
                Ok(CommandAnswer::Unregistered)
            }
            Ok(None) => Err(LEASE_LOST),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// The network's answer, if it comes while the asker still waits.
async fn in_time(
    remaining: Duration,
    work: impl Future<Output = Result<CommandAnswer, Failure>>,
) -> CommandAnswer {
    match timeout(remaining, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => CommandAnswer::failed(failure),
        Err(_) => CommandAnswer::OutcomeUnknown,
    }
}
