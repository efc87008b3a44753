//! Facts about the whole deployment: the version of PostgreSQL and the fingerprint of the master key.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgConnection;

use super::{LEASE_SECONDS, Store};
use crate::db::DbError;
use crate::domain::SessionState;
use crate::metrics::Deployment;
use crate::secrets::MasterKey;

/// The key in the table `deployment` of the fingerprint of the master key.
pub const KEY_FINGERPRINT: &str = "key_fingerprint";

/// That of the backup of a restoration that has not ended.
const RESTORATION: &str = "restoration";

/// The reason why the master key does not fit the database.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The data in the database was encrypted with another key. The program must not start.
    #[error(
        "WINDU_SECRET_KEY is not the key that this database was used with: put that key back (without DATABASE_URL \
         it is secret.key in the data folder), or give it as WINDU_SECRET_KEY_OLD to change keys"
    )]
    Other,
    #[error(transparent)]
    Store(#[from] DbError),
}

/// The database server's version.
#[derive(Clone, Debug)]
pub struct ServerVersion {
    /// Such as `15.18`.
    pub name: String,
    /// Such as 150018.
    pub number: i32,
}

impl Store {
    pub async fn server_version(&self) -> Result<ServerVersion, DbError> {
        Ok(sqlx::query_as!(
            ServerVersion,
            r#"SELECT split_part(current_setting('server_version'), ' ', 1) AS "name!",
                      current_setting('server_version_num')::int AS "number!""#
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// The sessions and outboxes of all networks; of these also an empty outbox. With `has_broker` also what waits for it.
    pub async fn figures(&self, networks: &[String], has_broker: bool) -> Result<Deployment, DbError> {
        let sessions = sqlx::query!(
            r#"SELECT a.network, CASE WHEN p.id IS NULL THEN 'unheld' ELSE a.session_state END AS "state!",
                      count(*) AS "count!"
               FROM account a
               JOIN account_counter c ON c.id = a.counter_id
               LEFT JOIN process p ON p.id = c.owner
                    AND p.heartbeat_at > clock_timestamp() - make_interval(secs => $1)
               WHERE a.registered_at IS NOT NULL
               GROUP BY 1, 2"#,
            LEASE_SECONDS
        )
        .fetch_all(self.db.pool())
        .await?;
        let outboxes = sqlx::query!(
            r#"SELECT network, count AS "count!",
                      extract(epoch FROM clock_timestamp()
                              - (SELECT stored_at FROM message WHERE id = oldest))::float8 AS "oldest!"
               FROM (SELECT a.network, count(*) AS count, min(o.message_id) AS oldest
                     FROM outbox o JOIN account a ON a.id = o.account_id
                     GROUP BY 1) waiting"#
        )
        .fetch_all(self.db.pool())
        .await?;
        let webhooks = sqlx::query!(
            r#"SELECT CASE WHEN disabled IS NOT NULL THEN 'disabled' WHEN NOT active THEN 'paused'
                           WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'ok' END AS "state!",
                      count(*) AS "count!"
               FROM webhook WHERE user_id IS NOT NULL GROUP BY 1"#
        )
        .fetch_all(self.db.pool())
        .await?;
        let webhook_events = sqlx::query!(
            r#"SELECT coalesce(sum(greatest(s.place - w.place, 0)
                          + (SELECT coalesce(sum(greatest(c.seq - a.seq, 0)), 0) FROM webhook_account a
                             CROSS JOIN LATERAL (SELECT seq FROM account_counter WHERE id = a.counter_id LIMIT 1) c
                             WHERE a.webhook_id = w.id AND a.skips = w.skips)
                          + (SELECT count(*) FROM webhook_redelivery WHERE webhook_id = w.id)), 0)::bigint AS "waiting!",
                      extract(epoch FROM clock_timestamp() - min(least(
                          (SELECT numbered_at FROM event_span WHERE user_id = w.user_id AND place > w.place
                           ORDER BY user_id, place LIMIT 1),
                          (SELECT min(e.at) FROM webhook_account a CROSS JOIN LATERAL (
                               SELECT at FROM event WHERE counter_id = a.counter_id AND seq > a.seq ORDER BY seq LIMIT 1) e
                           WHERE a.webhook_id = w.id AND a.skips = w.skips))))::float8 AS oldest
               FROM webhook w
               CROSS JOIN LATERAL (SELECT place FROM event_sequence WHERE user_id = w.user_id LIMIT 1) s
               WHERE w.active AND w.user_id IS NOT NULL"#
        )
        .fetch_one(self.db.pool())
        .await?;
        let broker = if has_broker { Some(self.broker_lag().await?) } else { None };
        let mut waiting: BTreeMap<String, (i64, Duration)> =
            networks.iter().map(|network| (network.clone(), Default::default())).collect();
        for row in outboxes {
            waiting.insert(row.network, (row.count, Duration::from_secs_f64(row.oldest.max(0.0))));
        }
        Ok(Deployment {
            broker,
            webhooks: webhooks.into_iter().map(|row| (webhook_state(&row.state), row.count)).collect(),
            webhook_waiting: webhook_events.waiting,
            webhook_oldest: Duration::from_secs_f64(webhook_events.oldest.unwrap_or_default().max(0.0)),
            sessions: sessions.into_iter().map(|row| (row.network, state(&row.state), row.count)).collect(),
            outboxes: waiting
                .into_iter()
                .map(|(network, (count, oldest))| (network, count, oldest))
                .collect(),
        })
    }

    /// Whether the master key, or the old one of a rotation, is the one that the database was used with; also when it was
    /// used with none yet. Changes nothing.
    pub async fn key_fits(&self, key: &MasterKey) -> Result<bool, DbError> {
        let stored = sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", KEY_FINGERPRINT)
            .fetch_optional(self.db.pool())
            .await?;
        Ok(stored.is_none_or(|stored| {
            stored == key.fingerprint() || key.old_fingerprint().is_some_and(|old| stored == old)
        }))
    }

    /// Compares the fingerprint of the master key with the stored one; the first key of a database is stored. When the
    /// stored one is the old key of a rotation, the new key replaces it; then the result is true.
    ///
    /// # Errors
    /// [`KeyError::Other`] when neither key is the stored one.
    pub async fn check_key_fingerprint(&self, key: &MasterKey) -> Result<bool, KeyError> {
        let fingerprint = key.fingerprint();
        let replaced = sqlx::query_scalar!(
            // A row that was there before has an xmax.
            r#"INSERT INTO deployment (key, value) VALUES ($1, $2)
               ON CONFLICT (key) DO UPDATE SET value = $2 WHERE deployment.value = $3
               RETURNING xmax <> 0 AS "replaced!""#,
            KEY_FINGERPRINT,
            fingerprint,
            key.old_fingerprint(),
        )
        .fetch_optional(self.db.pool())
        .await
        .map_err(DbError::from)?;
        let stored = sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", KEY_FINGERPRINT)
            .fetch_optional(self.db.pool())
            .await
            .map_err(DbError::from)?;
        if stored.as_ref() == Some(&fingerprint) { Ok(replaced == Some(true)) } else { Err(KeyError::Other) }
    }

    /// The backup that the database was filled with, as long as its restoration has not ended and no server has started since.
    pub async fn restoration(&self) -> Result<Option<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", RESTORATION)
            .fetch_optional(self.db.pool())
            .await?)
    }

    /// Notes the backup that the database is filled with, in the transaction that fills it.
    pub async fn note_restoration(&self, filled: &mut PgConnection, backup: &str) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO deployment (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2",
            RESTORATION,
            backup
        )
        .execute(filled)
        .await?;
        Ok(())
    }

    /// The restoration has ended, or the database is used anyway.
    pub async fn forget_restoration(&self) -> Result<(), DbError> {
        sqlx::query!("DELETE FROM deployment WHERE key = $1", RESTORATION).execute(self.db.pool()).await?;
        Ok(())
    }

    /// Where the accounts of a network have their addresses. The first one stays: a differing one is not stored. Returns the
    /// stored one.
    pub async fn keep_network_domain(&self, network: &str, domain: &str) -> Result<String, DbError> {
        sqlx::query!(
            "INSERT INTO deployment (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
            domain_key(network),
            domain
        )
        .execute(self.db.pool())
        .await?;
        let stored = self.network_domain(network).await?;
        stored.ok_or_else(|| DbError::Corrupt("a value that was just stored is missing".to_owned()))
    }

    /// See [`Self::keep_network_domain`]; `None` before the first start with this network.
    pub async fn network_domain(&self, network: &str) -> Result<Option<String>, DbError> {
        let key = domain_key(network);
        Ok(sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", key)
            .fetch_optional(self.db.pool())
            .await?)
    }
}

fn domain_key(network: &str) -> String {
    format!("network.{network}.domain")
}

/// A state as a label: of a fixed list, whatever a newer version has written.
fn state(name: &str) -> &'static str {
    let at = chrono::DateTime::UNIX_EPOCH;
    match SessionState::from_parts(name, Some(0), Some(at)) {
        Some(state) => state.name(),
        None if name == "unheld" => "unheld",
        None => "other",
    }
}

/// A label of the figures.
fn webhook_state(state: &str) -> &'static str {
    ["disabled", "paused", "failing"].into_iter().find(|known| *known == state).unwrap_or("ok")
}
