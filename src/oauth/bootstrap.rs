//! The creation of the first user.

use super::{OAuthError, hash_password};
use crate::config::{Bootstrap, ConfigError};
use crate::db::DbError;
use crate::domain::{NewPassword, UserName};
use crate::secrets;
use crate::store::Store;

const FIRST_USER: &str = "admin";

/// The first user with a generated password, to be shown once on the terminal and nowhere else.
pub struct FirstPassword {
    pub user: UserName,
    pub password: NewPassword,
}

/// Why the first user could not be created.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] DbError),
    #[error(transparent)]
    Hashing(#[from] OAuthError),
}

/// Creates the user of the settings if it is missing, or `admin` when they name none and there is no user at all. An
/// existing user keeps the password. Returns the password if it was generated here: of several programs that start at
/// once, only the one that created the user has it. The audit gets it as an act of `actor`.
pub async fn bootstrap(
    store: &Store,
    settings: &Bootstrap,
    actor: &str,
) -> Result<Option<FirstPassword>, BootstrapError> {
    let nothing_set = settings.user.is_none() && settings.password.is_none();
    if nothing_set && store.has_users().await? {
        return Ok(None);
    }
    let user = UserName::parse(settings.user.as_deref().unwrap_or(FIRST_USER))
        .map_err(|error| ConfigError::new("WINDU_BOOTSTRAP_USER", error.to_string()))?;
    if store.user_by_name(user.as_str()).await?.is_some() {
        return Ok(None);
    }
    let generated = settings.password.is_none();
    let password = NewPassword::parse(&settings.password.clone().unwrap_or_else(secrets::random_id))
        .map_err(|error| ConfigError::new("WINDU_BOOTSTRAP_PASSWORD", error.to_string()))?;
    let created = store.create_user(&user, &hash_password(&password).await?).await?;
    if created.is_some() {
        store.record_act(actor, "user.create", user.as_str(), true).await?;
        tracing::info!(generated, "the first user was created");
    }
    Ok((created.is_some() && generated).then_some(FirstPassword { user, password }))
}
