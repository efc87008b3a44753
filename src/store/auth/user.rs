//! Users: the logins of this server. A change that ends a user's access revokes the tokens in the same transaction.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{UserId, UserName};
use crate::store::{Store, Tx, topic};

/// The data that a login is checked against.
#[derive(Clone)]
pub struct UserRecord {
    pub id: UserId,
    /// The argon2id hash in PHC format.
    pub password_hash: String,
    /// Whether the user may not sign in.
    pub disabled: bool,
}

/// A user as the command line shows it.
#[derive(Clone, Debug)]
pub struct UserListing {
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// `None`: the user may sign in.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// How much belongs to a user.
#[derive(Clone, Copy, Debug)]
pub struct UserCounts {
    pub accounts: i64,
    pub messages: i64,
}

impl Store {
    /// Makes a user; `None` when the name is taken.
    pub async fn create_user(&self, name: &UserName, password_hash: &str) -> Result<Option<UserId>, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO windu_user (name, password_hash) VALUES ($1, $2)
             ON CONFLICT (name) DO NOTHING RETURNING id",
            name.as_str(),
            password_hash
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(id.map(UserId))
    }

    pub async fn has_users(&self) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM windu_user) AS "any!""#)
            .fetch_one(self.db.pool())
            .await?)
    }

    /// The user of a name, disabled ones too.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<UserRecord>, DbError> {
        let row = sqlx::query!("SELECT id, password_hash, disabled_at FROM windu_user WHERE name = $1", name)
            .fetch_optional(self.db.pool())
            .await?;
        Ok(row.map(|row| UserRecord {
            id: UserId(row.id),
            password_hash: row.password_hash,
            disabled: row.disabled_at.is_some(),
        }))
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserListing>, DbError> {
        Ok(sqlx::query_as!(UserListing, "SELECT name, created_at, disabled_at FROM windu_user ORDER BY name")
            .fetch_all(self.db.pool())
            .await?)
    }

    /// Whether there are users; false in a database without tables.
    pub async fn is_in_use(&self) -> Result<bool, DbError> {
        let has_table = sqlx::query_scalar!(r#"SELECT to_regclass('windu_user') IS NOT NULL AS "present!""#);
        if !has_table.fetch_one(self.db.pool()).await? {
            return Ok(false);
        }
        let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM windu_user) AS "any!""#);
        Ok(any.fetch_one(self.db.pool()).await?)
    }

    /// Replaces the hash of an unchanged password. False when the hash is no longer `old`.
    pub async fn replace_password_hash(&self, user: UserId, old: &str, new: &str) -> Result<bool, DbError> {
        let done = sqlx::query!(
            "UPDATE windu_user SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
            user.0,
            old,
            new
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Sets another password and revokes the user's tokens. False when there is no such user.
    pub async fn set_password(&self, name: &str, password_hash: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let user = sqlx::query_scalar!(
            "UPDATE windu_user SET password_hash = $2 WHERE name = $1 RETURNING id",
            name,
            password_hash
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        // A statement of its own: it sees the grants of logins that the update had to wait for.
        sqlx::query!("DELETE FROM oauth_grant WHERE user_id = $1", user).execute(&mut *tx.inner).await?;
        tx.commit().await?;
        Ok(user.is_some())
    }

    /// Ends a user's right to sign in and revokes the tokens. False when there is no such user.
    pub async fn disable_user(&self, name: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let user = sqlx::query_scalar!(
            "UPDATE windu_user SET disabled_at = coalesce(disabled_at, now()) WHERE name = $1 RETURNING id",
            name
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        sqlx::query!("DELETE FROM oauth_grant WHERE user_id = $1", user).execute(&mut *tx.inner).await?;
        tx.commit().await?;
        Ok(user.is_some())
    }

    /// Lets a user sign in again. False when there is no such user.
    pub async fn enable_user(&self, name: &str) -> Result<bool, DbError> {
        let done = sqlx::query!("UPDATE windu_user SET disabled_at = NULL WHERE name = $1", name)
            .execute(self.db.pool())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// How much belongs to a user.
    pub async fn counts_of(&self, user: UserId) -> Result<UserCounts, DbError> {
        Ok(sqlx::query_as!(
            UserCounts,
            r#"SELECT count(*) AS "accounts!", coalesce(sum((SELECT count(*) FROM message m WHERE m.account_id = a.id)), 0)::bigint
                      AS "messages!" FROM account a WHERE a.user_id = $1"#,
            user.0
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Takes the journals and the webhooks from a user whose accounts were removed: they may be long, and are deleted in
    /// slices ([`Store::delete_all_removed`]). The user stays until then, so that a deletion that was not finished can be
    /// repeated.
    pub async fn disown(&self, user: UserId) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.disown(user).await?;
        tx.notify_on_commit(topic::slices());
        tx.commit().await
    }

    /// Deletes a user whose accounts were removed, the tokens, and everything else that the user owns, and records that. False
    /// when there is no such user.
    pub async fn delete_user(&self, name: &str, actor: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let user = sqlx::query_scalar!("SELECT id FROM windu_user WHERE name = $1 FOR UPDATE", name)
            .fetch_optional(&mut *tx.inner)
            .await?;
        if let Some(user) = user {
            // What the user's last requests have made since.
            tx.disown(UserId(user)).await?;
        }
        let deleted = sqlx::query_scalar!("DELETE FROM windu_user WHERE name = $1 RETURNING id", name)
            .fetch_optional(&mut *tx.inner)
            .await?;
        if let Some(id) = deleted {
            tx.forget_name(name, id).await?;
            tx.record_act_of(actor, "user.delete", &format!("user-{id}"), true).await?;
        }
        tx.notify_on_commit(topic::slices());
        tx.commit().await?;
        Ok(deleted.is_some())
    }
}

impl Tx {
    async fn disown(&mut self, user: UserId) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE account_counter SET user_id = NULL, removed_seq = seq WHERE user_id = $1",
            user.0
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!("UPDATE webhook SET user_id = NULL WHERE user_id = $1", user.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
