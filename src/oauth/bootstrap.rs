//! The first user.

use super::{OAuthError, hash_password};
use crate::config::{Bootstrap, ConfigError};
use crate::db::DbError;
use crate::domain::{NewPassword, UserName};
use crate::secrets;
use crate::store::Store;

const FIRST_USER: &str = "admin";

/// A password that was made up, to be shown once on the terminal and nowhere else.
pub struct FirstPassword {
    /// The user.
    pub user: UserName,
    /// The password.
    pub password: NewPassword,
}

/// Why the first user could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] DbError),
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] OAuthError),
}

/// Makes the user of the settings if missing, or `admin` when they name none and there is no user at all. A user
/// who exists keeps the password. Gives the password if it was made up here: of several programs that start at
/// once, only the one that made the user has one.
///
/// # Errors
/// When a setting is wrong or the database is away.
pub async fn bootstrap(store: &Store, settings: &Bootstrap) -> Result<Option<FirstPassword>, BootstrapError> {
    let nothing_set = settings.user.is_none() && settings.password.is_none();
    if nothing_set && store.has_users().await? {
        return Ok(None);
    }
    let user = UserName::parse(settings.user.as_deref().unwrap_or(FIRST_USER))
        .map_err(|error| ConfigError::new("WINDU_BOOTSTRAP_USER", error.to_string()))?;
    let made_up = settings.password.is_none();
    let password = NewPassword::parse(settings.password.clone().unwrap_or_else(secrets::random_id))
        .map_err(|error| ConfigError::new("WINDU_BOOTSTRAP_PASSWORD", error.to_string()))?;
    if store.user_by_name(user.as_str()).await?.is_some() {
        return Ok(None);
    }
    let made = store.create_user(&user, &hash_password(&password).await?).await?;
    if made.is_some() {
        tracing::info!(made_up, "the first user was made");
    }
    Ok((made.is_some() && made_up).then_some(FirstPassword { user, password }))
}
