//! Grants and their token pairs, by hash. The grant is locked before its tokens, so that there is no deadlock.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{ClientId, UserId};
use crate::store::{Store, Tx, seconds};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// How long a used refresh token returns its successor again, in seconds.
const GRACE: f64 = 10.0;

/// A pair to be written.
#[derive(Clone)]
pub struct NewPair {
    pub access_hash: TokenHash,
    /// At most the grant's scope.
    pub access_scope: String,
    pub access_lifetime: Duration,
    pub refresh_hash: TokenHash,
    pub refresh_lifetime: Duration,
}

/// A verified login, which is granted only if user, password and client are still valid.
#[derive(Clone)]
pub struct NewGrant {
    pub user: UserId,
    /// The password hash that the login was verified against.
    pub password_hash: String,
    pub client: ClientId,
    /// Separated by blanks.
    pub scope: String,
}

/// The user and client of an access token.
#[derive(Clone, Debug)]
pub struct BearerRecord {
    pub user: UserId,
    pub client: ClientId,
    /// Separated by blanks.
    pub scope: String,
    /// The remaining lifetime of the token.
    pub remaining: Duration,
}

/// The grant of a refresh token, which may have been used.
#[derive(Clone, Debug)]
pub struct RefreshRecord {
    pub user: UserId,
    /// The client's id in OAuth requests.
    pub client_id: String,
    /// The grant's whole scope.
    pub scope: String,
    /// The remaining lifetime of the refresh token.
    pub remaining: Duration,
}

/// A refresh token that was used before.
#[derive(Clone)]
pub struct UsedToken {
    pub grant: i64,
    pub user: UserId,
    /// The pair that replaced it, while that may be returned again.
    pub successor: Option<SealedPair>,
}

/// A pair of tokens, encrypted with a key that is derived from the refresh token before it.
#[derive(Clone)]
pub struct SealedPair {
    pub sealed: Vec<u8>,
    /// The access token's scope.
    pub scope: String,
    /// The remaining lifetime of the access token.
    pub remaining: Duration,
}

/// A live token, as introspection shows it.
#[derive(Clone, Debug)]
pub struct LiveToken {
    /// Whether it is an access token; else a refresh token.
    pub access: bool,
    pub user: UserId,
    pub username: String,
    /// The client's id in OAuth requests.
    pub client_id: String,
    /// Separated by blanks.
    pub scope: String,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// The user and client of a live access token.
    pub async fn bearer(&self, access_hash: &TokenHash) -> Result<Option<BearerRecord>, DbError> {
        let row = sqlx::query!(
            r#"SELECT g.user_id, g.client_id, t.access_scope,
                      extract(epoch FROM t.access_expires_at - now())::float8 AS "remaining!"
               FROM oauth_token t
               CROSS JOIN LATERAL (SELECT * FROM oauth_grant WHERE id = t.grant_id LIMIT 1) g
               CROSS JOIN LATERAL (
                   SELECT * FROM windu_user WHERE id = g.user_id AND disabled_at IS NULL LIMIT 1) u
               CROSS JOIN LATERAL (
                   SELECT * FROM oauth_client WHERE id = g.client_id AND disabled_at IS NULL LIMIT 1) c
               WHERE t.access_hash = $1 AND t.used_at IS NULL AND t.access_expires_at > now()"#,
            access_hash.as_slice()
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| BearerRecord {
            user: UserId(row.user_id),
            client: ClientId(row.client_id),
            scope: row.access_scope,
            remaining: seconds(row.remaining),
        }))
    }

    /// The grant of a refresh token that has not expired.
    pub async fn refresh_grant(&self, refresh_hash: &TokenHash) -> Result<Option<RefreshRecord>, DbError> {
        let row = sqlx::query!(
            r#"SELECT g.user_id, c.client_id, g.scope,
                      extract(epoch FROM t.refresh_expires_at - now())::float8 AS "remaining!"
               FROM oauth_token t
               CROSS JOIN LATERAL (SELECT * FROM oauth_grant WHERE id = t.grant_id LIMIT 1) g
               CROSS JOIN LATERAL (
                   SELECT * FROM windu_user WHERE id = g.user_id AND disabled_at IS NULL LIMIT 1) u
               CROSS JOIN LATERAL (
                   SELECT * FROM oauth_client WHERE id = g.client_id AND disabled_at IS NULL LIMIT 1) c
               WHERE t.refresh_hash = $1 AND t.refresh_expires_at > now()"#,
            refresh_hash.as_slice()
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| RefreshRecord {
            user: UserId(row.user_id),
            client_id: row.client_id,
            scope: row.scope,
            remaining: seconds(row.remaining),
        }))
    }

    /// Uses up a refresh token and writes its successor, in one statement. Returns the hash of the access token that was
    /// revoked with it; `None` when the token is unknown, expired, or was used before: then nothing is written.
    pub async fn rotate(
        &self,
        refresh_hash: &TokenHash,
        sealed_successor: &[u8],
        pair: &NewPair,
    ) -> Result<Option<TokenHash>, DbError> {
        let row = sqlx::query_scalar!(
            r#"WITH locked_grant AS (
                   SELECT id FROM oauth_grant
                   WHERE id = (SELECT grant_id FROM oauth_token WHERE refresh_hash = $1)
                   FOR KEY SHARE
               ), used_token AS (
                   UPDATE oauth_token token SET used_at = now(), sealed_successor = $2
                   FROM locked_grant
                   WHERE token.refresh_hash = $1 AND token.grant_id = locked_grant.id
                     AND token.used_at IS NULL AND token.refresh_expires_at > now()
                   RETURNING token.id, token.grant_id, token.parent_id, token.access_hash
               ), updated_parent AS (
                   UPDATE oauth_token parent SET sealed_successor = NULL
                   FROM used_token
                   WHERE parent.id = used_token.parent_id AND parent.sealed_successor IS NOT NULL
               ), new_token AS (
                   INSERT INTO oauth_token (grant_id, parent_id, access_hash, access_scope, access_expires_at,
                                            refresh_hash, refresh_expires_at)
                   SELECT grant_id, id, $3, $4, now() + make_interval(secs => $5),
                          $6, now() + make_interval(secs => $7)
                   FROM used_token
               )
               SELECT access_hash FROM used_token"#,
            refresh_hash.as_slice(),
            sealed_successor,
            pair.access_hash.as_slice(),
            pair.access_scope,
            pair.access_lifetime.as_secs_f64(),
            pair.refresh_hash.as_slice(),
            pair.refresh_lifetime.as_secs_f64()
        )
        .fetch_optional(self.db.pool())
        .await?;
        row.map(token_hash).transpose()
    }

    /// A refresh token that was used before.
    pub async fn used_token(&self, refresh_hash: &TokenHash) -> Result<Option<UsedToken>, DbError> {
        let row = sqlx::query!(
            r#"SELECT t.grant_id, g.user_id, t.sealed_successor, s.access_scope AS "scope?",
                      extract(epoch FROM s.access_expires_at - now())::float8 AS remaining
               FROM oauth_token t
               CROSS JOIN LATERAL (SELECT user_id FROM oauth_grant WHERE id = t.grant_id LIMIT 1) g
               LEFT JOIN LATERAL (
                   SELECT access_scope, access_expires_at FROM oauth_token
                   WHERE parent_id = t.id AND used_at IS NULL AND t.used_at > now() - make_interval(secs => $2)
                   OFFSET 0) s ON true
               WHERE t.refresh_hash = $1 AND t.used_at IS NOT NULL"#,
            refresh_hash.as_slice(),
            GRACE
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| UsedToken {
            grant: row.grant_id,
            user: UserId(row.user_id),
            successor: match (row.sealed_successor, row.scope, row.remaining) {
                (Some(sealed), Some(scope), Some(remaining)) => {
                    Some(SealedPair { sealed, scope, remaining: seconds(remaining) })
                }
                _ => None,
            },
        }))
    }

    /// Revokes the grant of a token of either kind, if it is this client's. Returns the revoked access tokens.
    pub async fn revoke_token(&self, client: ClientId, hash: &TokenHash) -> Result<Vec<TokenHash>, DbError> {
        let grant = sqlx::query_scalar!(
            r#"SELECT g.id FROM (
                   SELECT grant_id FROM oauth_token WHERE access_hash = $2
                   UNION ALL SELECT grant_id FROM oauth_token WHERE refresh_hash = $2) t
               CROSS JOIN LATERAL (SELECT id FROM oauth_grant WHERE id = t.grant_id AND client_id = $1 LIMIT 1) g"#,
            client.0,
            hash.as_slice()
        )
        .fetch_optional(self.db.pool())
        .await?;
        match grant {
            Some(grant) => self.revoke_grant(grant).await,
            None => Ok(Vec::new()),
        }
    }

    /// Revokes all tokens of a grant. Returns the revoked access tokens.
    pub async fn revoke_grant(&self, grant: i64) -> Result<Vec<TokenHash>, DbError> {
        let mut tx = self.begin().await?;
        // Waits for a refresh under way, so that the next statement sees its new pair.
        sqlx::query!("SELECT id FROM oauth_grant WHERE id = $1 FOR UPDATE", grant)
            .fetch_optional(&mut *tx.inner)
            .await?;
        let revoked = sqlx::query_scalar!(
            "DELETE FROM oauth_token WHERE grant_id = $1 RETURNING CASE WHEN used_at IS NULL THEN access_hash END",
            grant
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        sqlx::query!("DELETE FROM oauth_grant WHERE id = $1", grant).execute(&mut *tx.inner).await?;
        tx.commit().await?;
        revoked.into_iter().flatten().map(token_hash).collect()
    }

    /// A live token of either kind.
    pub async fn live_token(&self, hash: &TokenHash) -> Result<Option<LiveToken>, DbError> {
        let row = sqlx::query!(
            r#"SELECT t.access_hash = $1 AS "access!", g.user_id, u.name, c.client_id, t.created_at AS "created_at!",
                      CASE WHEN t.access_hash = $1 THEN t.access_scope ELSE g.scope END AS "scope!",
                      CASE WHEN t.access_hash = $1 THEN t.access_expires_at
                           ELSE t.refresh_expires_at END AS "expires_at!"
               FROM (SELECT * FROM oauth_token WHERE access_hash = $1
                     UNION ALL SELECT * FROM oauth_token WHERE refresh_hash = $1) t
               CROSS JOIN LATERAL (SELECT * FROM oauth_grant WHERE id = t.grant_id LIMIT 1) g
               CROSS JOIN LATERAL (
                   SELECT * FROM windu_user WHERE id = g.user_id AND disabled_at IS NULL LIMIT 1) u
               CROSS JOIN LATERAL (
                   SELECT * FROM oauth_client WHERE id = g.client_id AND disabled_at IS NULL LIMIT 1) c
               WHERE t.used_at IS NULL AND ((t.access_hash = $1 AND t.access_expires_at > now())
                                         OR (t.refresh_hash = $1 AND t.refresh_expires_at > now()))"#,
            hash.as_slice()
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| LiveToken {
            access: row.access,
            user: UserId(row.user_id),
            username: row.name,
            client_id: row.client_id,
            scope: row.scope,
            issued_at: row.created_at,
            expires_at: row.expires_at,
        }))
    }

    /// Deletes the sealed pairs that are past their grace, at most `limit` expired pairs, and as many grants without
    /// other pairs; returns how many rows changed.
    pub async fn prune_tokens(&self, limit: i64) -> Result<u64, DbError> {
        let sealed = sqlx::query!(
            "UPDATE oauth_token SET sealed_successor = NULL
             WHERE sealed_successor IS NOT NULL AND used_at < now() - make_interval(secs => $1)",
            GRACE
        )
        .execute(self.db.pool())
        .await?;
        let grants = sqlx::query!(
            "DELETE FROM oauth_grant WHERE id = ANY(ARRAY(
                 SELECT g.id FROM (SELECT DISTINCT grant_id FROM (
                     SELECT grant_id FROM oauth_token WHERE refresh_expires_at <= now()
                     ORDER BY refresh_expires_at LIMIT $1) pairs) expired
                 CROSS JOIN LATERAL (
                     SELECT id FROM oauth_grant WHERE id = expired.grant_id FOR UPDATE SKIP LOCKED) g
                 WHERE NOT EXISTS (SELECT FROM oauth_token t
                                   WHERE t.grant_id = g.id
                                     AND greatest(t.refresh_expires_at, t.access_expires_at) > now() OFFSET 0)))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        let tokens = sqlx::query!(
            "DELETE FROM oauth_token WHERE id = ANY(ARRAY(
                 SELECT expired.id FROM (
                     SELECT id, grant_id FROM oauth_token
                     WHERE refresh_expires_at <= now() AND (access_expires_at <= now() OR used_at IS NOT NULL)
                     ORDER BY refresh_expires_at LIMIT $1) expired
                 CROSS JOIN LATERAL (
                     SELECT FROM oauth_grant WHERE id = expired.grant_id FOR UPDATE SKIP LOCKED) locked_grant))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(sealed.rows_affected() + grants.rows_affected() + tokens.rows_affected())
    }
}

impl Tx {
    /// Writes a grant and its first pair, if the user's password is still the verified one and neither user nor client was
    /// disabled meanwhile. False: nothing was written.
    pub async fn grant(&mut self, grant: &NewGrant, pair: &NewPair) -> Result<bool, DbError> {
        let done = sqlx::query!(
            "WITH locked_user AS (
                 SELECT id FROM windu_user WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL FOR SHARE
             ), locked_client AS (
                 SELECT id FROM oauth_client WHERE id = $3 AND disabled_at IS NULL FOR SHARE
             ), new_grant AS (
                 INSERT INTO oauth_grant (user_id, client_id, scope)
                 SELECT locked_user.id, locked_client.id, $4 FROM locked_user, locked_client
                 RETURNING id
             )
             INSERT INTO oauth_token (grant_id, access_hash, access_scope, access_expires_at,
                                      refresh_hash, refresh_expires_at)
             SELECT id, $5, $6, now() + make_interval(secs => $7), $8, now() + make_interval(secs => $9)
             FROM new_grant",
            grant.user.0,
            grant.password_hash,
            grant.client.0,
            grant.scope,
            pair.access_hash.as_slice(),
            pair.access_scope,
            pair.access_lifetime.as_secs_f64(),
            pair.refresh_hash.as_slice(),
            pair.refresh_lifetime.as_secs_f64()
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

pub(super) fn token_hash(bytes: Vec<u8>) -> Result<TokenHash, DbError> {
    bytes.try_into().map_err(|_| DbError::Corrupt("the hash of a token is not 32 bytes long".to_owned()))
}
