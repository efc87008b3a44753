//! The registration of a proved number on its network, and its removal.

use std::sync::Arc;

use super::peers::directory;
use super::{NoSuchNetwork, Sessions};
use crate::db::DbError;
use crate::domain::{Account, SessionState, UserId};
use crate::store::topic;
use crate::telemetry::chain;
use crate::upstream::{Connector, Failure};

/// How often two users who prove one number at the same moment may undo each other's registration before one gives up.
const ROUNDS: usize = 5;

/// Why a proved number was not registered. The code stays valid, so the user may try again.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Network(#[from] Failure),
    /// Another request registers the number now, or has just done so.
    #[error("a registration of this number is under way")]
    UnderWay,
    #[error(transparent)]
    NoSuchNetwork(#[from] NoSuchNetwork),
    #[error(transparent)]
    Store(#[from] DbError),
}

impl Sessions {
    /// Registers a number that its user has just proved: a former owner loses it, the network creates a new account for
    /// it, and a session starts. For a number that is registered already, only broken credentials are renewed.
    ///
    /// # Errors
    /// The code is not consumed.
    pub async fn register(&self, account: &Account) -> Result<(), RegisterError> {
        let connector =
            self.connectors.get(&account.network).ok_or_else(|| NoSuchNetwork(account.network.clone()))?;
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
        let mut round = 0;
        loop {
            if let Some(former) = self.store.former_account(&account.number, account.user).await? {
                let network = self
                    .connectors
                    .get(&former.network)
                    .ok_or_else(|| NoSuchNetwork(former.network.clone()))?;
                self.store.unregister_former(&former).await?;
                network.unregister(&account.number).await?;
            }
            let credentials = connector.register(&account.number).await?;
            let sealed = self.keys.seal("credentials", account.number.as_str().as_bytes(), &credentials.0);
            match self.store_registration(account, &directory(connector, account.id).name, &sealed).await {
                Ok(true) => break,
                Ok(false) => return Err(RegisterError::UnderWay),
                Err(error)
                    if error.constraint() == Some("account_registered_number_key") && round < ROUNDS =>
                {
                    round += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.store.notifications().wake(topic::commands(account.id));
        self.store.notifications().wake(topic::accounts());
        self.store.notifications().wake(topic::journal(account.counter));
        Ok(())
    }

    /// Unregisters and deletes every account of a user, before the user is deleted. The user should be disabled, so that no
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

    /// Unregisters an account from its network, if it is registered, and deletes it, without its session. With `force` it is
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
        let connector =
            self.connectors.get(&account.network).ok_or_else(|| NoSuchNetwork(account.network.clone()))?;
        Ok(connector.unregister(&account.number).await?)
    }

    /// Stores the registration. False: the code was consumed or replaced meanwhile, so nothing was stored.
    async fn store_registration(
        &self,
        account: &Account,
        directory: &str,
        credentials: &[u8],
    ) -> Result<bool, DbError> {
        self.store.forget_registration(account.id).await?;
        let mut tx = self.store.begin().await?;
        let mut journal = tx.open_journal(account.counter).await?;
        if !tx.consume_code(account.id).await? {
            return Ok(false);
        }
        tx.register_account(account, directory, credentials, &mut journal).await?;
        tx.close_journal(journal).await?;
        tx.commit().await?;
        Ok(true)
    }
}
