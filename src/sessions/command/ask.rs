//! The asking side of commands: written to the store, and the answer awaited.

use std::time::Duration;

use serde::Deserialize as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::{CommandAnswer, CommandRequest, GroupRefusal, GroupRequest};
use crate::db::DbError;
use crate::domain::{AccountId, GroupId, PhoneNumber};
use crate::lifecycle::Deadline;
use crate::sessions::Sessions;
use crate::store::{Claim, CommandProgress, topic};
use crate::upstream::{Address, GroupEdit};

/// How long a command waits for a session to take it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the asker waits for the answer, counted from the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// What a request needs of its time after the answer.
const NEEDED_AFTERWARDS: Duration = Duration::from_secs(2);
/// The pause between two looks at a command: a wake-up may be lost.
const POLL: Duration = Duration::from_millis(500);

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No session took the command, or the network cannot be reached now.
    #[error("the session is not ready")]
    NotNow {
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error("the network did not answer in time")]
    OutcomeUnknown,
    #[error("the network refused: {0}")]
    Refused(String),
    #[error("this network cannot {0}")]
    Unsupported(String),
    #[error("the group was not created or changed: {0:?}")]
    Group(GroupRefusal),
    #[error(transparent)]
    Store(#[from] DbError),
}

impl Sessions {
    /// Those of the numbers that the account's network knows. A repeated request with the same idempotency key gets the
    /// first one's answer.
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

    /// Takes a registered number off its network and deletes the account with its data. A repeated request with the same
    /// idempotency key gets the first one's answer.
    ///
    /// # Errors
    /// Nothing was removed, or with [`AskError::OutcomeUnknown`] nobody knows.
    pub async fn unregister(&self, account: AccountId, claim: Option<&Claim>) -> Result<(), AskError> {
        match self.ask(account, &CommandRequest::Unregister, claim).await? {
            CommandAnswer::Unregistered => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates a group of the account and these members; returns its id. A repeated request with the same idempotency key
    /// gets the first one's answer.
    pub async fn create_group(
        &self,
        account: AccountId,
        subject: String,
        members: Vec<Address>,
        claim: Option<&Claim>,
    ) -> Result<GroupId, AskError> {
        self.ask_about_group(account, GroupRequest::Create { subject, members }, claim).await
    }

    /// Changes a group. A repeated request with the same idempotency key gets the first one's answer.
    pub async fn change_group(
        &self,
        account: AccountId,
        group: Address,
        edit: GroupEdit,
        claim: Option<&Claim>,
    ) -> Result<GroupId, AskError> {
        self.ask_about_group(account, GroupRequest::Change { group, edit }, claim).await
    }

    /// The members that cannot be added to a group, of these: numbers or public ids. None when the session does not answer,
    /// or one of an older version does.
    pub(in crate::sessions) async fn not_addable(
        &self,
        account: AccountId,
        members: Vec<Address>,
    ) -> Result<Vec<String>, DbError> {
        let request = CommandRequest::Group(GroupRequest::Check { members });
        match self.ask(account, &request, None).await {
            Err(AskError::Group(GroupRefusal::CannotAdd { who })) => Ok(who),
            Err(AskError::Store(error)) => Err(error),
            Ok(_)
            | Err(
                AskError::Group(_)
                | AskError::NotNow { .. }
                | AskError::OutcomeUnknown
                | AskError::Refused(_)
                | AskError::Unsupported(_),
            ) => Ok(Vec::new()),
        }
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
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the request under this claim has unregistered its number already, so that the account is deleted.
    pub async fn has_unregistered(&self, claim: Option<&Claim>) -> Result<bool, DbError> {
        Ok(matches!(self.earlier_answer(claim).await?, Some(Ok(CommandAnswer::Unregistered))))
    }

    /// Whether the request under this claim sent a command to the session before it was interrupted: the command may be
    /// done by now.
    #[must_use]
    pub fn has_asked(claim: Option<&Claim>) -> bool {
        claim.is_some_and(|claim| claim.command.is_some())
    }

    /// The answer to the command that an earlier request under this claim sent.
    async fn earlier_answer(
        &self,
        claim: Option<&Claim>,
    ) -> Result<Option<Result<CommandAnswer, AskError>>, DbError> {
        let Some(command) = claim.and_then(|claim| claim.command) else { return Ok(None) };
        match self.store.command_progress(command).await? {
            CommandProgress::Done(answer) => Ok(Some(parse(&answer))),
            CommandProgress::Waiting | CommandProgress::Taken => Ok(None),
        }
    }

    async fn ask(
        &self,
        account: AccountId,
        request: &CommandRequest,
        claim: Option<&Claim>,
    ) -> Result<CommandAnswer, AskError> {
        let request = serde_json::to_value(request)
            .map_err(|error| DbError::Corrupt(format!("a command cannot be written: {error}")))?;
        let failed = matches!(self.earlier_answer(claim).await?, Some(Err(_)));
        let mut claim = claim.cloned();
        if let Some(claim) = claim.as_mut().filter(|_| failed) {
            // It is asked anew.
            claim.command = None;
        }
        let answer_timeout = Deadline::shorten(ANSWER_TIMEOUT, NEEDED_AFTERWARDS);
        let (asked, take_timeout) = (Instant::now(), TAKE_TIMEOUT.min(answer_timeout));
        let command = self.store.ask(account, &request, answer_timeout, claim.as_ref()).await?;
        let mut answers = self.store.notifications().subscribe(topic::answer(command));
        loop {
            let progress = self.store.command_progress(command).await?;
            let deadline = match progress {
                CommandProgress::Done(answer) => return parse(&answer),
                CommandProgress::Taken => asked + answer_timeout,
                CommandProgress::Waiting => asked + take_timeout,
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
                () = sleep(POLL) => {}
                () = sleep_until(deadline) => {}
            }
        }
    }
}

fn parse(answer: &serde_json::Value) -> Result<CommandAnswer, AskError> {
    let Ok(answer) = CommandAnswer::deserialize(answer) else {
        // Of a newer version, which did something that this one has no word for.
        tracing::warn!("the answer to a command is one of another version");
        return Err(match answer.get("answer").and_then(serde_json::Value::as_str) {
            Some("group_refused" | "refused") => {
                AskError::Refused("for a reason that only a newer version of this server knows".to_owned())
            }
            _ => AskError::OutcomeUnknown,
        });
    };
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

fn unexpected(answer: &CommandAnswer) -> AskError {
    DbError::Corrupt(format!("an answer to another command: {answer:?}")).into()
}
