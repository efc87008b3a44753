//! Administrative acts: recorded, listed, and deleted after their time.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Store, Tx};
use crate::db::DbError;
use crate::domain::{AccountId, UserId};

/// Characters that are stored of a target: a caller may have typed anything.
const LONGEST_TARGET: usize = 150;

/// An administrative act.
#[derive(Clone, Debug)]
pub struct Act {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// `cli:USER` or `api:NAME`.
    pub actor: String,
    /// Such as `user.create`.
    pub action: String,
    /// A user's or client's name, or an account's id; never a number.
    pub target: String,
    /// `ok` or `failed`.
    pub outcome: String,
}

impl Store {
    pub async fn record_act(
        &self,
        actor: &str,
        action: &str,
        target: &str,
        done: bool,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.record_act_of(actor, action, target, done).await?;
        tx.commit().await
    }

    /// The oldest acts after `after` that are not older than `since`, at most `limit`.
    pub async fn acts(&self, since: DateTime<Utc>, after: i64, limit: i64) -> Result<Vec<Act>, DbError> {
        Ok(sqlx::query_as!(
            Act,
            "SELECT id, at, actor, action, target, outcome FROM audit
             WHERE id > $2 AND at >= $1 ORDER BY id LIMIT $3",
            since,
            after,
            limit
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// Deletes acts that are older than `retention`, at most `limit`; returns how many.
    pub async fn prune_acts(&self, retention: Duration, limit: i64) -> Result<u64, DbError> {
        let done = sqlx::query!(
            "DELETE FROM audit WHERE id = ANY(ARRAY(
                 SELECT id FROM audit WHERE at < now() - make_interval(secs => $1) ORDER BY at LIMIT $2))",
            retention.as_secs_f64(),
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected())
    }
}

impl Tx {
    pub async fn record_act_of(
        &mut self,
        actor: &str,
        action: &str,
        target: &str,
        done: bool,
    ) -> Result<(), DbError> {
        let target = word(target);
        sqlx::query!(
            "INSERT INTO audit (actor, action, target, outcome)
             VALUES ($1, $2, $3, CASE WHEN $4 THEN 'ok' ELSE 'failed' END)",
            actor,
            action,
            target,
            done
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Records what its user did to an account through the API.
    pub async fn record_act(&mut self, action: &str, account: AccountId) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO audit (actor, action, target, outcome)
             SELECT 'api:' || regexp_replace(u.name, '[[:space:]]', '_', 'g'), $2, a.id::text, 'ok'
             FROM account a JOIN windu_user u ON u.id = a.user_id WHERE a.id = $1",
            account.0,
            action
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Records what its user did to a webhook through the API.
    pub async fn record_webhook_act(
        &mut self,
        action: &str,
        user: UserId,
        public_id: &str,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO audit (actor, action, target, outcome)
             SELECT 'api:' || regexp_replace(u.name, '[[:space:]]', '_', 'g'), $2, $3, 'ok'
             FROM windu_user u WHERE u.id = $1",
            user.0,
            action,
            public_id
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Replaces the name of a deleted user.
    pub async fn forget_name(&mut self, name: &str, id: i64) -> Result<(), DbError> {
        let (old, new) = (format!("api:{}", word(name)), format!("api:user-{id}"));
        sqlx::query!("UPDATE audit SET actor = $2 WHERE actor = $1", old, new)
            .execute(&mut *self.inner)
            .await?;
        let new = format!("user-{id}");
        sqlx::query!(
            "UPDATE audit SET target = $2 WHERE target = $1 AND action LIKE 'user.%'",
            word(name),
            new
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

/// A name as one word: lines have a fixed number of them.
fn word(name: &str) -> String {
    let visible = |sign: char| if sign.is_control() || sign.is_whitespace() { '_' } else { sign };
    let word: String = name.chars().take(LONGEST_TARGET).map(visible).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}
