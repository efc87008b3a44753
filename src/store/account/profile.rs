//! The profile of an account: status message, presence and privacy.

use crate::db::DbError;
use crate::domain::{Account, Aspect, Audience, Event, PrivacyNames};
use crate::store::{Store, Tx};

/// An account's own profile without nickname and photo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProfile {
    /// Empty when it was never set.
    pub status_message: String,
    /// Whether the account is shown as online.
    pub connected: bool,
    pub privacy: PrivacyNames,
}

/// A change of privacy settings; `None` leaves a setting as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrivacyChange {
    pub status_message: Option<Audience>,
    pub photo: Option<Audience>,
    /// Of the presence: the time at which the account was last online, and whether it is online now.
    pub last_seen: Option<Audience>,
}

impl Store {
    pub async fn own_profile(&self, account: &Account) -> Result<Option<OwnProfile>, DbError> {
        let row = sqlx::query!(
            "SELECT status_message, connected, privacy_status_message, privacy_photo, privacy_last_seen
             FROM account WHERE user_id = $1 AND id = $2",
            account.user.0,
            account.id.0
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| OwnProfile {
            status_message: row.status_message,
            connected: row.connected,
            privacy: PrivacyNames {
                status_message: row.privacy_status_message,
                photo: row.privacy_photo,
                last_seen: row.privacy_last_seen,
            },
        }))
    }
}

impl Tx {
    /// Changes the status message; the session applies that on the network.
    pub async fn set_status_message(&mut self, account: &Account, text: &str) -> Result<(), DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let changed = sqlx::query!(
            "UPDATE account SET status_message = $3 WHERE user_id = $1 AND id = $2 AND status_message <> $3",
            account.user.0,
            account.id.0,
            text
        )
        .execute(&mut *self.inner)
        .await?;
        if changed.rows_affected() == 1 {
            self.set_desired(account.id, Aspect::StatusMessage, &text.into()).await?;
            journal.record(Event::StatusMessageChanged);
        }
        self.close_journal_for_session(account, journal).await
    }

    /// Shows the account as online or offline from now on; the session applies that on the network.
    pub async fn set_connected(&mut self, account: &Account, connected: bool) -> Result<(), DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let changed = sqlx::query!(
            "UPDATE account SET connected = $3 WHERE user_id = $1 AND id = $2 AND connected <> $3",
            account.user.0,
            account.id.0,
            connected
        )
        .execute(&mut *self.inner)
        .await?;
        if changed.rows_affected() == 1 {
            self.set_desired(account.id, Aspect::Presence, &connected.into()).await?;
            journal.record(Event::ConnectedStatusChanged);
        }
        self.close_journal_for_session(account, journal).await
    }

    /// Changes privacy settings; the session applies that on the network.
    pub async fn set_privacy(&mut self, account: &Account, change: PrivacyChange) -> Result<(), DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let row = sqlx::query!(
            "UPDATE account SET privacy_status_message = coalesce($3, privacy_status_message),
                    privacy_photo = coalesce($4, privacy_photo),
                    privacy_last_seen = coalesce($5, privacy_last_seen)
             WHERE user_id = $1 AND id = $2
               AND (privacy_status_message, privacy_photo, privacy_last_seen)
                   <> (coalesce($3, privacy_status_message), coalesce($4, privacy_photo),
                       coalesce($5, privacy_last_seen))
             RETURNING privacy_status_message, privacy_photo, privacy_last_seen",
            account.user.0,
            account.id.0,
            change.status_message.map(Audience::name),
            change.photo.map(Audience::name),
            change.last_seen.map(Audience::name)
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if let Some(row) = row {
            let names = PrivacyNames {
                status_message: row.privacy_status_message,
                photo: row.privacy_photo,
                last_seen: row.privacy_last_seen,
            };
            let value = serde_json::to_value(names)
                .map_err(|error| DbError::Corrupt(format!("privacy settings cannot be written: {error}")))?;
            self.set_desired(account.id, Aspect::Privacy, &value).await?;
            journal.record(Event::PrivacyChanged);
        }
        self.close_journal_for_session(account, journal).await
    }
}
