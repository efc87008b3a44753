//! Commands: asking the session of an account, in whichever process it runs, and answering.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Sessions;
use super::groups::{GroupRefusal, GroupRequest};
use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber};
use crate::store::{Claim, CommandProgress, topic};
use crate::upstream::Failure;

/// How long a command waits for a session to take it.
const UNTIL_TAKEN: Duration = Duration::from_secs(5);
/// How long it waits for the answer, from when it was asked.
const UNTIL_ANSWERED: Duration = Duration::from_secs(20);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum CommandRequest {
    /// Which of these numbers the network knows.
    Existing {
        /// The numbers.
        numbers: Vec<PhoneNumber>,
    },
    /// Leave the network; then the account and its data are deleted.
    Unregister,
    /// Make or change a group.
    Group(GroupRequest),
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum CommandAnswer {
    /// Those that the network knows.
    Existing {
        /// The numbers.
        numbers: Vec<PhoneNumber>,
    },
    /// The number has left the network and the account is gone.
    Unregistered,
    /// The group was made or changed.
    Group {
        /// Its id.
        id: String,
    },
    /// The group was not made or changed.
    GroupRefused(GroupRefusal),
    /// The network said no, for good.
    Refused {
        /// Its words.
        reason: String,
    },
    /// Not now.
    Later {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// The network did not answer in time.
    OutcomeUnknown,
    /// The network has no such thing.
    Unsupported {
        /// What it lacks.
        what: String,
    },
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No session took the command, or the network cannot be reached now.
    #[error("the session is not ready")]
    NotNow {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// The network did not answer in time.
    #[error("no answer in time")]
    OutcomeUnknown,
    /// The network said no.
    #[error("the network refused: {0}")]
    Refused(String),
    /// The network has no such thing.
    #[error("this network cannot {0}")]
    Unsupported(String),
    /// The network did not make or change a group.
    #[error("the network did not do that to a group: {0:?}")]
    Group(GroupRefusal),
    /// A query failed.
    #[error(transparent)]
    Store(#[from] DbError),
}

impl CommandAnswer {
    /// A failure of the network as an answer.
    pub(super) fn failed(failure: Failure) -> Self {
        match failure {
            Failure::Retry(_) => Self::Later { retry_after: 5 },
            Failure::RateLimited(pause) => Self::Later { retry_after: pause.as_secs().max(1) },
            Failure::Refused(reason) => Self::Refused { reason },
            Failure::OutcomeUnknown => Self::OutcomeUnknown,
            Failure::Unsupported(what) => Self::Unsupported { what: what.to_owned() },
        }
    }
}

impl Sessions {
    /// Which of these numbers the account's network knows. A request with a key that asked before hears that answer.
    ///
    /// # Errors
    /// When there is no good answer.
    pub async fn existing(
        &self,
        account: AccountId,
        numbers: Vec<PhoneNumber>,
        claim: Option<&Claim>,
    ) -> Result<Vec<PhoneNumber>, AskError> {
        match self.ask(account, &CommandRequest::Existing { numbers }, claim).await? {
            CommandAnswer::Existing { numbers } => Ok(numbers),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes a registered number off its network and deletes the account with its data. A request with a key that asked
    /// before hears that answer.
    ///
    /// # Errors
    /// When there is no good answer; then nothing was removed, or with `OutcomeUnknown` nobody knows.
    pub async fn unregister(&self, account: AccountId, claim: Option<&Claim>) -> Result<(), AskError> {
        match self.ask(account, &CommandRequest::Unregister, claim).await? {
            CommandAnswer::Unregistered => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the request under this claim has unregistered its number already, so that the account is gone.
    pub async fn has_unregistered(&self, claim: Option<&Claim>) -> Result<bool, DbError> {
        Ok(matches!(self.answered(claim).await?, Some(Ok(CommandAnswer::Unregistered))))
    }

    /// The answer to what was asked under this claim before.
    async fn answered(
        &self,
        claim: Option<&Claim>,
    ) -> Result<Option<Result<CommandAnswer, AskError>>, DbError> {
        let Some(command) = claim.and_then(|claim| claim.command) else { return Ok(None) };
        match self.store.command_progress(command).await? {
            CommandProgress::Done(answer) => Ok(Some(read(answer))),
            CommandProgress::Waiting | CommandProgress::Taken => Ok(None),
        }
    }

    /// Whether the request under this claim asked something of the session before it was cut off: what it wants may be
    /// done by now.
    #[must_use]
    pub fn has_asked(claim: Option<&Claim>) -> bool {
        claim.is_some_and(|claim| claim.command.is_some())
    }

    pub(super) async fn ask(
        &self,
        account: AccountId,
        request: &CommandRequest,
        claim: Option<&Claim>,
    ) -> Result<CommandAnswer, AskError> {
        let request = serde_json::to_value(request)
            .map_err(|error| DbError::Corrupt(format!("a command cannot be written: {error}")))?;
        let failed = matches!(self.answered(claim).await?, Some(Err(_)));
        let mut claim = claim.cloned();
        if let Some(claim) = claim.as_mut().filter(|_| failed) {
            // It is asked anew.
            claim.command = None;
        }
        let asked = Instant::now();
        let command = self.store.ask(account, &request, UNTIL_ANSWERED, claim.as_ref()).await?;
        let mut answers = self.store.notifications().subscribe(topic::answer(command));
        loop {
            let progress = self.store.command_progress(command).await?;
            let deadline = match progress {
                CommandProgress::Done(answer) => return read(answer),
                CommandProgress::Taken => asked + UNTIL_ANSWERED,
                CommandProgress::Waiting => asked + UNTIL_TAKEN,
            };
            if Instant::now() >= deadline {
                match progress {
                    CommandProgress::Waiting if self.store.abandon(command).await? => {
                        return Err(AskError::NotNow { retry_after: 5 });
                    }
                    // Taken at the last moment.
                    CommandProgress::Waiting => continue,
                    CommandProgress::Taken | CommandProgress::Done(_) => {
                        return Err(AskError::OutcomeUnknown);
                    }
                }
            }
            tokio::select! {
                () = answers.woken() => {}
                // A wake-up may be lost; the row still tells.
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

fn read(answer: serde_json::Value) -> Result<CommandAnswer, AskError> {
    let answer = serde_json::from_value(answer)
        .map_err(|error| DbError::Corrupt(format!("an answer cannot be read: {error}")))?;
    match answer {
        CommandAnswer::Existing { .. } | CommandAnswer::Unregistered | CommandAnswer::Group { .. } => {
            Ok(answer)
        }
        CommandAnswer::GroupRefused(why) => Err(AskError::Group(why)),
        CommandAnswer::Refused { reason } => Err(AskError::Refused(reason)),
        CommandAnswer::Later { retry_after } => Err(AskError::NotNow { retry_after }),
        CommandAnswer::OutcomeUnknown => Err(AskError::OutcomeUnknown),
        CommandAnswer::Unsupported { what } => Err(AskError::Unsupported(what)),
    }
}

pub(super) fn unexpected(answer: &CommandAnswer) -> AskError {
    DbError::Corrupt(format!("an answer to another question: {answer:?}")).into()
}
