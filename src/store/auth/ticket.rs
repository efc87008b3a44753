//! Tickets: each lets one request act with the token of its caller. By hash, as tokens.

use std::time::Duration;

use super::token::{TokenHash, token_hash};
use crate::db::DbError;
use crate::store::Store;

impl Store {
    pub async fn add_ticket(
        &self,
        ticket: &TokenHash,
        access_hash: &TokenHash,
        lifetime: Duration,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO event_ticket (hash, access_hash, expires_at)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))",
            ticket.as_slice(),
            access_hash.as_slice(),
            lifetime.as_secs_f64()
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Uses up a ticket. Returns the access token of its caller, which may have ended; `None`: the ticket is unknown, late, or
    /// was used before.
    pub async fn take_ticket(&self, ticket: &TokenHash) -> Result<Option<TokenHash>, DbError> {
        let taken = sqlx::query_scalar!(
            "DELETE FROM event_ticket WHERE hash = $1 AND expires_at > clock_timestamp() RETURNING access_hash",
            ticket.as_slice()
        )
        .fetch_optional(self.db.pool())
        .await?;
        taken.map(token_hash).transpose()
    }

    /// Deletes at most `limit` late tickets; returns how many.
    pub async fn prune_tickets(&self, limit: i64) -> Result<u64, DbError> {
        let pruned = sqlx::query!(
            "DELETE FROM event_ticket WHERE hash = ANY(ARRAY(
                 SELECT hash FROM event_ticket WHERE expires_at < now() ORDER BY expires_at LIMIT $1))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(pruned.rows_affected())
    }

    /// Those of these access tokens that have not ended. One that was refreshed ends `grace` later.
    pub async fn live_access_tokens(
        &self,
        access_hashes: &[TokenHash],
        grace: Duration,
    ) -> Result<Vec<TokenHash>, DbError> {
        let hashes: Vec<Vec<u8>> = access_hashes.iter().map(|hash| hash.to_vec()).collect();
        let live = sqlx::query_scalar!(
            r#"SELECT t.access_hash FROM unnest($1::bytea[]) AS watched (hash)
               CROSS JOIN LATERAL (SELECT * FROM oauth_token WHERE access_hash = watched.hash LIMIT 1) t
               CROSS JOIN LATERAL (SELECT * FROM oauth_grant WHERE id = t.grant_id LIMIT 1) g
               CROSS JOIN LATERAL (
                   SELECT * FROM windu_user WHERE id = g.user_id AND disabled_at IS NULL LIMIT 1) u
               CROSS JOIN LATERAL (
                   SELECT * FROM oauth_client WHERE id = g.client_id AND disabled_at IS NULL LIMIT 1) c
               WHERE t.access_expires_at > now()
                 AND (t.used_at IS NULL OR t.used_at > now() - make_interval(secs => $2))"#,
            &hashes,
            grace.as_secs_f64()
        )
        .fetch_all(self.db.pool())
        .await?;
        live.into_iter().map(token_hash).collect()
    }
}
