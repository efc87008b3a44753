//! OAuth clients. A change that ends a client's access revokes the tokens in the same transaction.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::ClientId;
use crate::store::{Store, TokenHash};

/// A client that may use the server.
#[derive(Clone)]
pub struct ClientRecord {
    pub id: ClientId,
    /// The id in OAuth requests.
    pub client_id: String,
    /// SHA-256 of the secret; `None`: a public client.
    pub secret_hash: Option<Vec<u8>>,
    /// The scopes that its tokens may have, separated by blanks.
    pub scope: String,
}

/// A client as the command line shows it.
#[derive(Clone, Debug)]
pub struct ClientListing {
    /// The id in OAuth requests.
    pub client_id: String,
    /// The name in the command line.
    pub name: String,
    /// Whether it has a secret.
    pub confidential: bool,
    /// The scopes that its tokens may have, separated by blanks.
    pub scope: String,
    pub created_at: DateTime<Utc>,
    /// `None`: it may be used.
    pub disabled_at: Option<DateTime<Utc>>,
}

impl Store {
    /// The client of an id, unless it is disabled.
    pub async fn client(&self, client_id: &str) -> Result<Option<ClientRecord>, DbError> {
        let row = sqlx::query!(
            "SELECT id, client_id, secret_hash, scope FROM oauth_client
             WHERE client_id = $1 AND disabled_at IS NULL",
            client_id
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| ClientRecord {
            id: ClientId(row.id),
            client_id: row.client_id,
            secret_hash: row.secret_hash,
            scope: row.scope,
        }))
    }

    /// Makes a client; without a secret it is a public one. False when the name is taken.
    pub async fn create_client(
        &self,
        client_id: &str,
        name: &str,
        secret_hash: Option<&TokenHash>,
    ) -> Result<bool, DbError> {
        let done = sqlx::query!(
            "INSERT INTO oauth_client (client_id, name, secret_hash) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO NOTHING",
            client_id,
            name,
            secret_hash.map(<[u8; 32]>::as_slice)
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// All clients, by name.
    pub async fn clients(&self) -> Result<Vec<ClientListing>, DbError> {
        Ok(sqlx::query_as!(
            ClientListing,
            r#"SELECT client_id, name, secret_hash IS NOT NULL AS "confidential!", scope, created_at, disabled_at
               FROM oauth_client ORDER BY name"#
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The client of a name, else of a client id; disabled ones too.
    pub async fn find_client(&self, name_or_id: &str) -> Result<Option<ClientListing>, DbError> {
        Ok(sqlx::query_as!(
            ClientListing,
            r#"SELECT client_id, name, secret_hash IS NOT NULL AS "confidential!", scope, created_at, disabled_at
               FROM oauth_client WHERE name = $1 OR client_id = $1 ORDER BY name = $1 DESC LIMIT 1"#,
            name_or_id
        )
        .fetch_optional(self.db.pool())
        .await?)
    }

    /// Replaces the secret of a confidential client; its tokens stay. False when there is no such client.
    pub async fn rotate_client(&self, client_id: &str, secret_hash: &TokenHash) -> Result<bool, DbError> {
        let done = sqlx::query!(
            "UPDATE oauth_client SET secret_hash = $2 WHERE client_id = $1 AND secret_hash IS NOT NULL",
            client_id,
            secret_hash.as_slice()
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Disables a client and revokes its tokens. False when there is no such client.
    pub async fn disable_client(&self, client_id: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let client = sqlx::query_scalar!(
            "UPDATE oauth_client SET disabled_at = coalesce(disabled_at, now()) WHERE client_id = $1
             RETURNING id",
            client_id
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        // A statement of its own: it sees the grants of logins that the update had to wait for.
        sqlx::query!("DELETE FROM oauth_grant WHERE client_id = $1", client).execute(&mut *tx.inner).await?;
        tx.commit().await?;
        Ok(client.is_some())
    }

    /// Enables a disabled client. False when there is no such client.
    pub async fn enable_client(&self, client_id: &str) -> Result<bool, DbError> {
        let done = sqlx::query!("UPDATE oauth_client SET disabled_at = NULL WHERE client_id = $1", client_id)
            .execute(self.db.pool())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes a client and its tokens. False when there is no such client.
    pub async fn delete_client(&self, client_id: &str) -> Result<bool, DbError> {
        let done = sqlx::query!("DELETE FROM oauth_client WHERE client_id = $1", client_id)
            .execute(self.db.pool())
            .await?;
        Ok(done.rows_affected() == 1)
    }
}
