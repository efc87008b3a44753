//! What a session does connected or not: it answers commands, and lets messages expire that nobody takes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::command::{CommandAnswer, CommandRequest};
use super::session::{Outcome, Session};
use crate::db::DbError;
use crate::domain::{CommandId, PhoneNumber};
use crate::store::{TakenCommand, topic};
use crate::upstream::Failure;

/// How soon an answer is stored again that the database did not take.
const STORE_AGAIN: Duration = Duration::from_millis(500);

impl Session {
    /// What goes on connected or not: commands (which numbers exist, leaving) are the connector's, but for those about
    /// groups, which wait for a connection; and messages that nobody takes expire.
    pub(super) async fn attend(&self) -> Outcome {
        let mut work = self.store.notifications().subscribe(topic::commands(self.lease.account));
        loop {
            match self.store.take_command(&self.lease).await {
                Ok(Some(command)) => match self.answer_command(&command).await {
                    Ok(None) => continue,
                    Ok(Some(outcome)) => return outcome,
                    Err(error) => {
                        self.leaving.send_replace(false);
                        let error = crate::telemetry::chain(&error);
                        tracing::warn!(account = %self.lease.account, error, "a command was not answered");
                    }
                },
                Ok(None) => {}
                Err(DbError::Fenced) => return Outcome::Fenced,
                Err(error) => tracing::debug!(account = %self.lease.account, %error, "no commands now"),
            }
            if self.connection.borrow().is_none() {
                match self.store.expire_outbox(&self.lease).await {
                    Ok(0) => {}
                    Ok(_) => continue,
                    Err(DbError::Fenced) => return Outcome::Fenced,
                    Err(error) => {
                        tracing::debug!(account = %self.lease.account, %error, "nothing expires now");
                    }
                }
            }
            work.woken().await;
        }
    }

    async fn answer_command(&self, command: &TakenCommand) -> Result<Option<Outcome>, DbError> {
        let Ok(request) = serde_json::from_value::<CommandRequest>(command.request.clone()) else {
            let answer = CommandAnswer::Unsupported {
                what: "do what another version of this program asked".to_owned(),
            };
            self.store.answer(&self.lease, command.id, &to_json(&answer)).await?;
            return Ok(None);
        };
        self.leaving.send_replace(request == CommandRequest::Unregister);
        let answer = match &request {
            CommandRequest::Existing { numbers } => in_time(command.remaining, self.existing(numbers)).await,
            CommandRequest::Unregister => in_time(command.remaining, self.unregister()).await,
            CommandRequest::Group(request) => {
                return self.answer_about_group(command, request).await.map(|()| None);
            }
        };
        self.until_stored(|| self.store_answer(command.id, &answer)).await
    }

    /// Stores an answer, however long the database is away: what the network did is done, and the asker must not believe
    /// otherwise.
    pub(super) async fn until_stored<T, F>(&self, store: impl Fn() -> F) -> Result<T, DbError>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        loop {
            match store().await {
                Err(DbError::Unavailable(error)) => {
                    tracing::debug!(account = %self.lease.account, %error, "an answer waits to be stored");
                    sleep(STORE_AGAIN).await;
                }
                stored => return stored,
            }
        }
    }

    /// Stores the answer; of a number that left its network, together with the end of its account.
    async fn store_answer(
        &self,
        command: CommandId,
        answer: &CommandAnswer,
    ) -> Result<Option<Outcome>, DbError> {
        if *answer != CommandAnswer::Unregistered {
            self.leaving.send_replace(false);
            self.store.answer(&self.lease, command, &to_json(answer)).await?;
            return Ok(None);
        }
        let mut tx = self.store.begin().await?;
        tx.lock_chats(self.lease.account).await?;
        tx.assert_lease(&self.lease).await?;
        tx.store_answer(command, &to_json(answer)).await?;
        tx.delete_account(self.lease.account, self.lease.counter).await?;
        tx.commit().await?;
        self.store.notifications().wake(topic::answer(command));
        self.store.notifications().wake(topic::journal(self.lease.counter));
        Ok(Some(Outcome::Gone))
    }

    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<CommandAnswer, Failure> {
        let numbers = self.connector.existing(numbers).await?;
        Ok(CommandAnswer::Existing { numbers })
    }

    async fn unregister(&self) -> Result<CommandAnswer, Failure> {
        match self.store.session_account(&self.lease).await {
            Ok(Some(account)) => {
                self.connector.unregister(&account.number).await?;
                Ok(CommandAnswer::Unregistered)
            }
            Ok(None) => Err(Failure::Retry("lease_lost")),
            Err(_) => Err(Failure::Retry("database_unavailable")),
        }
    }
}

/// What the network answers as long as somebody waits for it.
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

pub(super) fn to_json(answer: &CommandAnswer) -> serde_json::Value {
    serde_json::to_value(answer).unwrap_or_default()
}
