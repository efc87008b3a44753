//! Registration of numbers by codes that their networks send and check ([`NetworkCode`]).
//!
//! Requests for one number come one after the other, whichever process and account they are for: each holds a lease, and
//! writes under it. Between them no process holds anything, so that a code may be entered anywhere. The account keeps its
//! login, if it has one, until the new login and what the adapter kept of the registration replace it in one transaction.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::adapter_state::{LEASE_LOST, RegistrationState};
use super::peers::directory;
use super::registration::{Leaving, is_taken};
use super::{RegisterError, Sessions};
use crate::db::DbError;
use crate::domain::{Account, AccountId, PhoneNumber, SessionState};
use crate::lifecycle::Deadline;
use crate::store::{NewDeparture, RegistrationLease, StoredLogin};
use crate::upstream::{CodeMethod, Credentials, Failure, NetworkCode, Proof, SentCode, Submitted};

/// How long a lease is held at most; a request that takes longer writes nothing any more once another one has it.
const LEASE_LIMIT: Duration = Duration::from_mins(1);
/// How long a network may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// What a request needs of its time after the network's answer.
const NEEDED_AFTERWARDS: Duration = Duration::from_secs(4);
/// How long a request waits until its process, which has just started, has joined the others.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before a login is stored again that the database did not take.
const STORE_AGAIN: Duration = Duration::from_millis(500);
/// How often two users who prove one number at the same moment may take it from each other before one gives up.
const ROUNDS: usize = 5;

/// What a user enters to prove a number: one of the two, or both. Its `Debug` does not show it.
#[derive(Clone, Default)]
pub struct Entered {
    /// Without what people type between the digits.
    pub code: Option<String>,
    /// Of the account on its network.
    pub password: Option<String>,
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Entered(..)")
    }
}

/// Why a network sent no code.
#[derive(Debug, thiserror::Error)]
pub enum CodeRequestError {
    /// The network sends no code to this number for some time.
    #[error("rate limited by the network")]
    TooSoon {
        /// Seconds to wait, at least 1.
        retry_after: u64,
    },
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// Why a number was not registered with what its user entered.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("the code is wrong")]
    WrongCode,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("the code has expired")]
    Expired,
    #[error("no code was requested")]
    NoneAsked,
    /// The network has accepted the code, and asks for the password of the account.
    #[error("the account has a password")]
    NeedsPassword,
    /// A password alone, before the network has accepted a code.
    #[error("the code is missing")]
    NeedsCode,
    #[error("the number has no account on the network")]
    NoSuchAccount,
    /// The network accepts no more guesses for some time.
    #[error("too many guesses")]
    TooMany {
        /// Seconds to wait, at least 1.
        retry_after: u64,
    },
    #[error(transparent)]
    Register(#[from] RegisterError),
}

impl Sessions {
    /// Asks the network for a code: the first one, or another one if it has sent one. To be run to its end, so in a task of
    /// its own.
    ///
    /// # Errors
    /// The network has sent no code, except that after [`Failure::OutcomeUnknown`] nobody knows.
    pub async fn request_network_code(
        &self,
        account: AccountId,
        network: &str,
        number: &PhoneNumber,
        codes: &dyn NetworkCode,
        method: CodeMethod,
    ) -> Result<SentCode, CodeRequestError> {
        let lease = self.claim_registration(account, network, number).await?;
        let sent = self.request_under_lease(&lease, number, codes, method).await;
        self.release_registration(&lease).await;
        sent.map_err(|error| match error {
            RegisterError::Network(Failure::RateLimited(pause)) => {
                CodeRequestError::TooSoon { retry_after: pause.as_secs().max(1) }
            }
            other => CodeRequestError::Register(other),
        })
    }

    async fn request_under_lease(
        &self,
        lease: &RegistrationLease,
        number: &PhoneNumber,
        codes: &dyn NetworkCode,
        method: CodeMethod,
    ) -> Result<SentCode, RegisterError> {
        let pending = self.store.pending_registration(lease.account).await?;
        let state = self.registration_state(lease);
        let sent = if pending.is_some_and(|pending| pending.code_length.is_some()) {
            in_time(codes.again(number, method, state)).await?
        } else {
            self.store.start_registration(lease).await.map_err(lost)?;
            in_time(codes.start(number, method, state)).await?
        };
        self.store.network_code_sent(lease, sent.length, sent.again_after).await.map_err(lost)?;
        Ok(sent)
    }

    /// The digits of the code that the network has sent.
    pub async fn network_code_length(&self, account: AccountId) -> Result<Option<usize>, DbError> {
        let pending = self.store.pending_registration(account).await?;
        Ok(pending.and_then(|pending| pending.code_length))
    }

    /// Registers the account's number with what its user has entered: the network proves it, a former owner loses it, and a
    /// session starts with the new login. To be run to its end, so in a task of its own: a network gives a login once.
    ///
    /// # Errors
    /// Nothing was registered. A login that the network gave is kept, and the next call registers it.
    pub async fn submit_to_network(
        &self,
        account: &Account,
        codes: &dyn NetworkCode,
        entered: &Entered,
    ) -> Result<(), SubmitError> {
        let lease = self.claim_registration(account.id, &account.network, &account.number).await?;
        let submitted = self.submit_under_lease(&lease, account, codes, entered).await;
        self.release_registration(&lease).await;
        submitted
    }

    async fn submit_under_lease(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        codes: &dyn NetworkCode,
        entered: &Entered,
    ) -> Result<(), SubmitError> {
        let pending = self.store.pending_registration(account.id).await.map_err(RegisterError::from)?;
        let pending = pending.ok_or(SubmitError::NoneAsked)?;
        let sealed = match pending.credentials {
            Some(sealed) => sealed,
            None if pending.code_length.is_none() => return Err(SubmitError::NoneAsked),
            None => {
                let credentials = self.log_in(lease, account, codes, entered, pending.needs_password).await?;
                let sealed = self.seal(&account.number, &credentials);
                self.keep_login(lease, account, &sealed).await?;
                sealed
            }
        };
        Ok(self.store_login(lease, account, &sealed).await?)
    }

    /// Submits the code, the password, or one after the other.
    async fn log_in(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        codes: &dyn NetworkCode,
        entered: &Entered,
        needs_password: bool,
    ) -> Result<Credentials, SubmitError> {
        let Entered { code, password } = entered;
        if !needs_password || password.is_none() {
            let code = code.clone().ok_or(SubmitError::NeedsCode)?;
            match self.submit_proof(lease, account, codes, Proof::Code(code)).await? {
                Submitted::Done(credentials) => return Ok(credentials),
                Submitted::Wrong => return Err(SubmitError::WrongCode),
                Submitted::Expired => return Err(SubmitError::Expired),
                Submitted::NoSuchAccount => return Err(SubmitError::NoSuchAccount),
                Submitted::NeedsPassword => {}
            }
            self.store.network_needs_password(lease).await.map_err(lost)?;
        }
        let password = password.clone().ok_or(SubmitError::NeedsPassword)?;
        match self.submit_proof(lease, account, codes, Proof::Password(password)).await? {
            Submitted::Done(credentials) => Ok(credentials),
            Submitted::Wrong => Err(SubmitError::WrongPassword),
            Submitted::Expired => Err(SubmitError::Expired),
            Submitted::NoSuchAccount => Err(SubmitError::NoSuchAccount),
            Submitted::NeedsPassword => Err(SubmitError::NeedsPassword),
        }
    }

    async fn submit_proof(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        codes: &dyn NetworkCode,
        proof: Proof,
    ) -> Result<Submitted, SubmitError> {
        let submitting = codes.submit(&account.number, &proof, self.registration_state(lease));
        in_time(submitting).await.map_err(|error| match error {
            RegisterError::Network(Failure::RateLimited(pause)) => {
                SubmitError::TooMany { retry_after: pause.as_secs().max(1) }
            }
            other => SubmitError::Register(other),
        })
    }

    /// Stores a new login, as long as the lease lasts.
    async fn keep_login(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        sealed: &[u8],
    ) -> Result<(), RegisterError> {
        let began = Instant::now();
        loop {
            match self.store.keep_login(lease, sealed).await {
                Err(DbError::Unavailable(error)) if began.elapsed() < LEASE_LIMIT => {
                    tracing::warn!(account = %account.id, %error, "a new login waits to be stored");
                    sleep(STORE_AGAIN).await;
                }
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.discard(account, sealed).await?;
                    return Err(RegisterError::Removed);
                }
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Gives the account its new login.
    async fn store_login(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        sealed: &[u8],
    ) -> Result<(), RegisterError> {
        let network = self.connector_of(&account.network)?;
        let replaced = self.working_login(account).await?;
        let mut round = 0;
        let departure = loop {
            self.retire_former(account).await?;
            match self.store_network_registration(lease, account, sealed, replaced.as_ref()).await {
                Err(RegisterError::Store(error)) if is_taken(&error) && round < ROUNDS => round += 1,
                Err(RegisterError::Removed) => {
                    self.discard(account, sealed).await?;
                    return Err(RegisterError::Removed);
                }
                stored => break stored?,
            }
        };
        self.registered(account);
        if let Some((departure, login)) = departure.zip(replaced) {
            let (account, number) = (account.id, &account.number);
            let leaving = Leaving { network, account, number, login: Some(login) };
            if let Err(error) = self.leave(departure, leaving).await {
                tracing::debug!(%account, %error, "the former login is logged out later");
            }
        }
        Ok(())
    }

    /// The login that a new one replaces although it works.
    async fn working_login(&self, account: &Account) -> Result<Option<StoredLogin>, DbError> {
        if !account.is_registered() || matches!(account.session.state, SessionState::NeedsUser(_)) {
            return Ok(None);
        }
        self.store.stored_login(account.id).await
    }

    /// Returns the departure of the login that it replaces, held by the caller.
    async fn store_network_registration(
        &self,
        lease: &RegistrationLease,
        account: &Account,
        sealed: &[u8],
        replaced: Option<&StoredLogin>,
    ) -> Result<Option<i64>, RegisterError> {
        self.store.forget_registration(account.id).await?;
        let mut tx = self.store.begin().await?;
        tx.assert_registration(lease).await.map_err(lost)?;
        let mut journal = tx.open_journal(account.counter).await?;
        if !tx.has_login(lease, sealed).await? {
            return Err(RegisterError::UnderWay);
        }
        let directory = directory(self.connector_of(&account.network)?, account.id).name;
        if !tx.register_account(account, &directory, sealed, &mut journal).await? {
            return Err(RegisterError::Removed);
        }
        tx.finish_registration(account.id).await?;
        tx.close_journal(journal).await?;
        let mut departure = None;
        if let Some(login) = replaced {
            let (network, number) = (account.network.as_str(), &account.number);
            let new = NewDeparture { network, number, account: account.id, login: Some(login) };
            departure = Some(tx.note_departure(new).await?);
        }
        tx.commit().await?;
        Ok(departure)
    }

    /// Logs out a new login whose account was removed meanwhile.
    async fn discard(&self, account: &Account, sealed: &[u8]) -> Result<(), RegisterError> {
        let network = self.connector_of(&account.network)?;
        let state = self.store.list_registration_state(account.id, "").await?;
        let login = StoredLogin { credentials: sealed.to_vec(), resume_point: None, state };
        Ok(self.log_out_in_passing(network, account.id, &account.number, login).await?)
    }

    async fn claim_registration(
        &self,
        account: AccountId,
        network: &str,
        number: &PhoneNumber,
    ) -> Result<RegistrationLease, RegisterError> {
        let process = self.process(JOIN_TIMEOUT).await.ok_or(RegisterError::UnderWay)?;
        let claimed = self.store.claim_registration(process, account, network, number, LEASE_LIMIT).await?;
        claimed.ok_or(RegisterError::UnderWay)
    }

    async fn release_registration(&self, lease: &RegistrationLease) {
        if let Err(error) = self.store.release_registration(lease).await {
            tracing::debug!(account = %lease.account, %error, "the registration ends by itself in a minute");
        }
    }

    fn registration_state(&self, lease: &RegistrationLease) -> Arc<RegistrationState> {
        Arc::new(RegistrationState::new(self.store.clone(), lease.clone(), self.keys.clone()))
    }
}

/// A network's answer, if it comes in time.
async fn in_time<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, RegisterError> {
    let limit = Deadline::shorten(CALL_TIMEOUT, NEEDED_AFTERWARDS);
    match timeout(limit, Deadline::elsewhere(call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(LEASE_LOST)) => Err(RegisterError::UnderWay),
        Ok(Err(failure)) => Err(RegisterError::Network(failure)),
        Err(_) => Err(RegisterError::Network(Failure::OutcomeUnknown)),
    }
}

/// The error of a write under a lease: another request has the number by now.
fn lost(error: DbError) -> RegisterError {
    match error {
        DbError::Fenced => RegisterError::UnderWay,
        other => RegisterError::Store(other),
    }
}
