//! The registration of a proved number on its network, and its removal.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::adapter_state::{CopiedState, Seal};
use super::peers::directory;
use super::{NoSuchNetwork, Sessions};
use crate::db::DbError;
use crate::domain::{Account, AccountId, PhoneNumber, SessionState, UserId};
use crate::store::{NewDeparture, StoredLogin, topic};
use crate::telemetry::chain;
use crate::upstream::{Connector, Credentials, Failure, Login, ResumePoint};

/// How often two users who prove one number at the same moment may undo each other's registration before one gives up.
const ROUNDS: usize = 5;
/// How long a registration waits until what it replaces has left its network.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a proved number was not registered. The code stays valid, so the user may try again.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Network(#[from] Failure),
    /// Another request registers the number now, or has just done so.
    #[error("a registration of this number is under way")]
    UnderWay,
    /// The account was removed while its number was being registered.
    #[error("the account was removed")]
    Removed,
    #[error(transparent)]
    NoSuchNetwork(#[from] NoSuchNetwork),
    #[error(transparent)]
    Store(#[from] DbError),
}

/// What leaves its network.
pub(super) struct Leaving<'a> {
    pub network: &'a Arc<dyn Connector>,
    pub account: AccountId,
    pub number: &'a PhoneNumber,
    /// `None` on a network whose accounts are ours.
    pub login: Option<StoredLogin>,
}

impl Sessions {
    /// Registers a number that its user has just proved: a former owner loses it, the network creates a new account for
    /// it, and a session starts. For a number that is registered already, only broken credentials are renewed.
    ///
    /// # Errors
    /// The code is not consumed.
    pub async fn register(&self, account: &Account) -> Result<(), RegisterError> {
        let connector = self.connector_of(&account.network)?;
        if connector.registration().is_persons() {
            return Err(Failure::Unsupported("register a number by a code of this server").into());
        }
        if !self.store.begin_registration(account.id).await? {
            return Err(RegisterError::UnderWay);
        }
        let registered = self.register_claimed(account, connector).await;
        if let Err(error) = self.store.end_registration(account.id).await {
            tracing::debug!(account = %account.id, %error, "the registration ends by itself in a minute");
        }
        registered
    }

    async fn register_claimed(
        &self,
        account: &Account,
        connector: &Arc<dyn Connector>,
    ) -> Result<(), RegisterError> {
        let broken = matches!(account.session.state, SessionState::NeedsUser(_));
        if account.is_registered() && !broken {
            let mut tx = self.store.begin().await?;
            tx.consume_code(account.id).await?;
            return Ok(tx.commit().await?);
        }
        if !self.store.hold_departures(&account.network, &account.number).await? {
            return Err(RegisterError::UnderWay);
        }
        let registered = self.register_at(account, connector).await;
        if registered.is_err() {
            self.store.release_departures(&account.network, &account.number).await?;
        }
        registered?;
        self.registered(account);
        Ok(())
    }

    async fn register_at(
        &self,
        account: &Account,
        connector: &Arc<dyn Connector>,
    ) -> Result<(), RegisterError> {
        let mut round = 0;
        loop {
            self.retire_former(account).await?;
            let credentials = connector.register(&account.number).await?;
            let sealed = self.seal(&account.number, &credentials);
            let directory = directory(connector, account.id).name;
            match self.store_registration(account, &directory, &sealed).await {
                Err(RegisterError::Store(error)) if is_taken(&error) && round < ROUNDS => round += 1,
                stored => return stored,
            }
        }
    }

    /// Wakes what waits for the account, which has a new login.
    pub(super) fn registered(&self, account: &Account) {
        self.store.notifications().wake(topic::commands(account.id));
        self.store.notifications().wake(topic::accounts());
        self.store.notifications().wake(topic::journal(account.counter));
    }

    /// Takes a proved number from the user who had it before, and from that user's network: an account of ours is deleted
    /// there, a person's only logged out. Another network than the new one may do that later: the new owner must not have to
    /// wait for it.
    pub(super) async fn retire_former(&self, account: &Account) -> Result<(), RegisterError> {
        let Some(former) = self.store.former_account(&account.number, account.user).await? else {
            return Ok(());
        };
        let network = self.connector_of(&former.network)?;
        let login = self.store.stored_login(former.id).await?;
        let login = login.filter(|_| network.registration().is_persons());
        let departure = self.store.unregister_former(&former, &account.number, login.as_ref()).await?;
        let leaving = Leaving { network, account: former.id, number: &account.number, login };
        if former.network == account.network && leaving.login.is_none() {
            // The new account comes after this one: a deletion that took effect later would be that of the new one.
            network.unregister(&account.number).await?;
            return Ok(self.store.forget_departure(departure).await?);
        }
        Ok(self.leave(departure, leaving).await?)
    }

    /// Lets an account or a login leave its network, now or in the background, and forgets the departure when it has left.
    pub(super) async fn leave(&self, departure: i64, leaving: Leaving<'_>) -> Result<(), DbError> {
        let account = leaving.account;
        let failed = match timeout(LEAVE_TIMEOUT, self.try_to_leave(leaving)).await {
            Ok(Ok(())) => return self.store.forget_departure(departure).await,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::OutcomeUnknown,
        };
        tracing::warn!(%account, error = %failed, "an account or a login could not leave its network yet");
        self.store.release_departure(departure).await
    }

    /// An account of ours is deleted on its network, a person's only logged out.
    pub(super) async fn try_to_leave(&self, leaving: Leaving<'_>) -> Result<(), Failure> {
        let Leaving { network, account, number, login } = leaving;
        if network.registration().is_persons() {
            self.log_out(network, account, number, login).await
        } else {
            network.unregister(number).await
        }
    }

    /// Logs out a login that this server does not use any more, now or in the background.
    pub(super) async fn log_out_in_passing(
        &self,
        network: &Arc<dyn Connector>,
        account: AccountId,
        number: &PhoneNumber,
        login: StoredLogin,
    ) -> Result<(), DbError> {
        let new = NewDeparture { network: network.network(), number, account, login: Some(&login) };
        let departure = self.store.note_departure(new).await?;
        self.leave(departure, Leaving { network, account, number, login: Some(login) }).await
    }

    /// Logs out without the account's session. Without a login there is nothing to do.
    async fn log_out(
        &self,
        network: &Arc<dyn Connector>,
        account: AccountId,
        number: &PhoneNumber,
        login: Option<StoredLogin>,
    ) -> Result<(), Failure> {
        let Some(StoredLogin { credentials, resume_point, state }) = login else { return Ok(()) };
        let credentials = self
            .keys
            .open("credentials", number.as_str().as_bytes(), &credentials)
            .map_err(|_| undecipherable())?;
        let login = Login {
            number: number.clone(),
            credentials: Credentials(credentials),
            resume_point: resume_point.map(ResumePoint),
        };
        let seal = Seal { keys: self.keys.clone(), account };
        network.log_out(login, Arc::new(CopiedState::new(&seal, state)?)).await
    }

    pub(super) fn seal(&self, number: &PhoneNumber, credentials: &Credentials) -> Vec<u8> {
        self.keys.seal("credentials", number.as_str().as_bytes(), &credentials.0)
    }

    pub(super) fn connector_of(&self, network: &str) -> Result<&Arc<dyn Connector>, NoSuchNetwork> {
        self.connectors.get(network).ok_or_else(|| NoSuchNetwork(network.to_owned()))
    }

    /// Unregisters or logs out, and deletes every account of a user, before the user is deleted. The user should be disabled, so that no
    /// account is created meanwhile.
    ///
    /// # Errors
    /// Some accounts may be deleted already; the call can be repeated.
    pub async fn remove_all(&self, user: UserId) -> Result<(), RegisterError> {
        for account in self.store.accounts(user).await? {
            self.remove(&account, false).await?;
        }
        Ok(())
    }

    /// Unregisters an account from its network, or logs it out, if it is registered, and deletes it, without its session. With `force` it is
    /// deleted even if the network fails or is not among WINDU_NETWORKS any more.
    ///
    /// # Errors
    /// The account is not deleted; the call can be repeated.
    pub async fn remove(&self, account: &Account, force: bool) -> Result<(), RegisterError> {
        if account.is_registered() {
            match self.leave_network(account).await {
                Err(error) if force => tracing::warn!(account = %account.id, error = chain(&error),
                    "the account is deleted although it could not leave its network"),
                left => left?,
            }
        }
        let mut tx = self.store.begin().await?;
        tx.remove_account(account.id, account.counter).await?;
        tx.commit().await?;
        self.store.notifications().wake(topic::accounts());
        Ok(())
    }

    async fn leave_network(&self, account: &Account) -> Result<(), RegisterError> {
        let network = self.connector_of(&account.network)?;
        if network.registration().is_persons() {
            let login = self.store.stored_login(account.id).await?;
            return Ok(self.log_out(network, account.id, &account.number, login).await?);
        }
        Ok(network.unregister(&account.number).await?)
    }

    async fn store_registration(
        &self,
        account: &Account,
        directory: &str,
        credentials: &[u8],
    ) -> Result<(), RegisterError> {
        self.store.forget_registration(account.id).await?;
        let mut tx = self.store.begin().await?;
        let mut journal = tx.open_journal(account.counter).await?;
        if !tx.consume_code(account.id).await? {
            // The code was consumed or replaced meanwhile.
            return Err(RegisterError::UnderWay);
        }
        if !tx.register_account(account, directory, credentials, &mut journal).await? {
            return Err(RegisterError::Removed);
        }
        tx.close_journal(journal).await?;
        Ok(tx.commit().await?)
    }
}

/// Whether a registration was not stored because another user has registered the number.
pub(super) fn is_taken(error: &DbError) -> bool {
    error.constraint() == Some("account_registered_number_key")
}

/// The failure of a log-out whose credentials were encrypted with another key.
pub(super) fn undecipherable() -> Failure {
    Failure::Refused("the stored credentials cannot be decrypted".to_owned())
}
