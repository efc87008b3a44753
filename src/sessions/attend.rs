//! What a session does connected or not: it answers commands, and lets messages expire.

use tokio::time::timeout;

use super::command::{Answer, Request};
use super::session::{Outcome, Session};
use crate::store::{StoreError, TakenCommand, Topic};
use crate::upstream::Failure;

impl Session {
    /// What goes on connected or not: commands (which numbers exist, leaving) are the connector's, and messages
    /// that nobody takes expire.
    pub(super) async fn attend(&self) -> Outcome {
        let mut work = self.store.wakes().subscribe(Topic::work(self.lease.account));
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
                Err(StoreError::Fenced) => return Outcome::Fenced,
                Err(error) => tracing::debug!(account = %self.lease.account, %error, "no commands now"),
            }
            match self.store.expire_outbox(&self.lease).await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(StoreError::Fenced) => return Outcome::Fenced,
                Err(error) => tracing::debug!(account = %self.lease.account, %error, "nothing expires now"),
            }
            work.woken().await;
        }
    }

    async fn answer_command(&self, command: &TakenCommand) -> Result<Option<Outcome>, StoreError> {
        let Ok(request) = serde_json::from_value::<Request>(command.request.clone()) else {
            let answer =
                Answer::Unsupported { what: "do what another version of this program asked".to_owned() };
            self.store.answer(&self.lease, command.id, &to_json(&answer)).await?;
            return Ok(None);
        };
        self.leaving.send_replace(request == Request::Unregister);
        let work = self.execute(&request);
        let answer = match timeout(command.remaining, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => Answer::failed(failure),
            Err(_) => Answer::OutcomeUnknown,
        };
        if answer == Answer::Unregistered {
            let mut tx = self.store.begin().await?;
            tx.assert_lease(&self.lease).await?;
            tx.store_answer(command.id, &to_json(&answer)).await?;
            tx.delete_account(self.lease.account, self.lease.counter).await?;
            tx.commit().await?;
            self.store.wakes().wake(Topic::answer(command.id));
            self.store.wakes().wake(Topic::journal(self.lease.counter));
            return Ok(Some(Outcome::Gone));
        }
        self.leaving.send_replace(false);
        self.store.answer(&self.lease, command.id, &to_json(&answer)).await?;
        Ok(None)
    }

    async fn execute(&self, request: &Request) -> Result<Answer, Failure> {
        match request {
            Request::Existing { numbers } => {
                let numbers = self.connector.existing(numbers).await?;
                Ok(Answer::Existing { numbers })
            }
            Request::Unregister => {
                let account = self.store.session_account(&self.lease).await;
                match account {
                    Ok(Some(account)) => {
                        self.connector.unregister(&account.number).await?;
                        Ok(Answer::Unregistered)
                    }
                    Ok(None) => Err(Failure::Retry("lease_lost")),
                    Err(_) => Err(Failure::Retry("database_unavailable")),
                }
            }
        }
    }
}

fn to_json(answer: &Answer) -> serde_json::Value {
    serde_json::to_value(answer).unwrap_or_default()
}
