//! Which process sends the events of a webhook: a lease, which ends with the heartbeat of the process.

use super::{Webhook, read};
use crate::db::DbError;
use crate::domain::{ProcessId, UserId, WebhookId};
use crate::store::{LEASE_SECONDS, LeaseShare, Store, Tx, topic};

/// The right of one process to send the events of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookLease {
    pub webhook: WebhookId,
    pub public_id: String,
    pub user: UserId,
    pub process: ProcessId,
    /// Grows by one with each claim.
    pub fence: i64,
}

impl Store {
    /// The numbers of active webhooks and of processes that share them.
    pub async fn webhook_share(&self) -> Result<LeaseShare, DbError> {
        Ok(sqlx::query_as!(
            LeaseShare,
            r#"SELECT (SELECT count(*) FROM webhook WHERE active AND user_id IS NOT NULL) AS "accounts!",
                      (SELECT count(*) FROM process
                       WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $1)) AS "processes!""#,
            LEASE_SECONDS
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Claims up to `limit` active webhooks that no living process holds.
    pub async fn claim_webhooks(&self, process: ProcessId, limit: i64) -> Result<Vec<WebhookLease>, DbError> {
        let rows = sqlx::query!(
            r#"WITH living_process AS MATERIALIZED (
                SELECT id FROM process WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $3)
             ), free AS (
                SELECT unheld.id FROM (
                    SELECT id FROM webhook WHERE active AND user_id IS NOT NULL AND owner IS NULL
                    ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) unheld
                UNION ALL
                SELECT left_over.id FROM (
                    SELECT id FROM webhook WHERE active AND user_id IS NOT NULL
                      AND owner = ANY(ARRAY(SELECT id FROM process EXCEPT SELECT id FROM living_process))
                    LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) left_over
             )
             UPDATE webhook w SET owner = $1, fence = w.fence + 1
             FROM (SELECT id FROM free LIMIT $2) free
             WHERE w.id = free.id AND $1 IN (SELECT id FROM living_process)
             RETURNING w.id, w.public_id, w.user_id AS "user_id!", w.fence"#,
            process.0,
            limit,
            LEASE_SECONDS
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| WebhookLease {
                webhook: WebhookId(row.id),
                public_id: row.public_id,
                user: UserId(row.user_id),
                process,
                fence: row.fence,
            })
            .collect())
    }

    /// The webhook of a lease; `None`: the lease has ended, or the webhook was deleted.
    pub async fn leased_webhook(&self, lease: &WebhookLease) -> Result<Option<Webhook>, DbError> {
        let webhook = read(self.db.pool(), lease.user, Some(&lease.public_id)).await?.pop();
        Ok(webhook.filter(|webhook| webhook.holder == Some((lease.process, lease.fence))))
    }

    /// Whether a user may use this server.
    pub async fn is_enabled(&self, user: UserId) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM windu_user WHERE id = $1 AND disabled_at IS NULL) AS "is!""#,
            user.0
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Frees the webhooks of a process but `running`: a task may have ended in disorder.
    pub async fn release_other_webhooks(
        &self,
        process: ProcessId,
        running: &[WebhookId],
    ) -> Result<(), DbError> {
        let running: Vec<i64> = running.iter().map(|webhook| webhook.0).collect();
        sqlx::query!(
            "UPDATE webhook SET owner = NULL WHERE id = ANY(ARRAY(
                 SELECT id FROM webhook WHERE owner = $1 AND id <> ALL($2) ORDER BY owner, id FOR NO KEY UPDATE))",
            process.0,
            &running
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Frees the webhooks of processes that are not in the list any more: one that has left finishes its requests, and may
    /// be killed meanwhile.
    pub async fn free_orphaned_webhooks(&self) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE webhook SET owner = NULL WHERE id = ANY(ARRAY(
                 SELECT id FROM webhook w WHERE active AND user_id IS NOT NULL AND owner IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM process p WHERE p.id = w.owner)
                 ORDER BY id FOR NO KEY UPDATE))"
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Gives a lease back. One that has ended is no error.
    pub async fn release_webhook(&self, lease: &WebhookLease) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE webhook SET owner = NULL WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3",
            lease.webhook.0,
            lease.process.0,
            lease.fence
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.notify_on_commit(topic::webhooks());
        tx.commit().await
    }
}

impl Tx {
    /// Frees the webhooks of processes that have ended, the inactive ones too: they may become active again.
    pub(in crate::store) async fn free_webhooks(&mut self, processes: &[i64]) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE webhook SET owner = NULL WHERE id = ANY(ARRAY(
                 SELECT id FROM webhook WHERE owner = ANY($1) ORDER BY id FOR NO KEY UPDATE))",
            processes
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
