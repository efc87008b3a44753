//! Deletion of what deleted webhooks leave, in slices.

use crate::db::DbError;
use crate::store::{More, SLICE, Tx};

impl Tx {
    /// Deletes a slice of what one deleted webhook has left. False: there is none, or other processes are at it.
    pub(in crate::store) async fn delete_slice_of_webhook(&mut self) -> Result<More, DbError> {
        let webhook = sqlx::query_scalar!(
            "SELECT id FROM webhook WHERE user_id IS NULL ORDER BY user_id, id LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(webhook) = webhook else { return Ok(false) };
        for statement in [
            sqlx::query!(
                "DELETE FROM webhook_attempt WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM webhook_attempt WHERE webhook_id = $1 ORDER BY webhook_id, id LIMIT $2))",
                webhook,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM webhook_dead WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM webhook_dead WHERE webhook_id = $1 ORDER BY webhook_id, id LIMIT $2))",
                webhook,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM webhook_redelivery WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM webhook_redelivery WHERE webhook_id = $1 ORDER BY webhook_id, place LIMIT $2))",
                webhook,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM webhook_account WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM webhook_account WHERE webhook_id = $1 ORDER BY webhook_id, counter_id LIMIT $2))",
                webhook,
                SLICE
            ),
        ] {
            if statement.execute(&mut *self.inner).await?.rows_affected() > 0 {
                return Ok(true);
            }
        }
        sqlx::query!("DELETE FROM webhook WHERE id = $1", webhook).execute(&mut *self.inner).await?;
        Ok(true)
    }
}
