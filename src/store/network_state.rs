//! The state that an adapter stores for its network as a whole, by key.

use super::{Store, Tx};
use crate::db::DbError;

impl Store {
    /// The values of these keys, in the same order.
    pub async fn network_state(&self, network: &str, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT state.key AS "key!", state.value AS "value!" FROM unnest($2::text[]) AS wanted (key)
               CROSS JOIN LATERAL (
                   SELECT key, value FROM network_state
                   WHERE network = $1 AND key = wanted.key LIMIT 1) state"#,
            network,
            keys as &[&str]
        )
        .fetch_all(self.db.pool())
        .await?;
        let value = |key: &str| rows.iter().find(|row| row.key == key).map(|row| row.value.clone());
        Ok(keys.iter().map(|key| value(key)).collect())
    }

    /// Writes `after` under `key` if the value is still `before`, and with it the others, of which `None` deletes. False:
    /// nothing was written, because the value is another one.
    pub async fn replace_network_state(
        &self,
        network: &str,
        key: &str,
        before: Option<&[u8]>,
        after: &[u8],
        others: &[(String, Option<Vec<u8>>)],
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        // The row of the key is locked first, so that two writers of one key follow each other.
        let written = match before {
            None => sqlx::query!(
                "INSERT INTO network_state (network, key, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                network,
                key,
                after
            )
            .execute(&mut *tx.inner)
            .await?,
            Some(before) => {
                sqlx::query!(
                    "UPDATE network_state SET value = $4 WHERE network = $1 AND key = $2 AND value = $3",
                    network,
                    key,
                    before,
                    after
                )
                .execute(&mut *tx.inner)
                .await?
            }
        };
        if written.rows_affected() == 0 {
            return Ok(false);
        }
        let deleted: Vec<&str> =
            others.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
        let mut kept: Vec<(&str, &[u8])> =
            others.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))).collect();
        kept.sort_unstable();
        let (keys, values): (Vec<&str>, Vec<&[u8]>) = kept.into_iter().unzip();
        tx.delete_network_state(network, &deleted).await?;
        if !keys.is_empty() {
            sqlx::query!(
                "INSERT INTO network_state (network, key, value)
                 SELECT $1, * FROM unnest($2::text[], $3::bytea[])
                 ON CONFLICT (network, key) DO UPDATE SET value = excluded.value",
                network,
                &keys as &[&str],
                &values as &[&[u8]]
            )
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes `key` if its value is still `before`, and with it the others. False: nothing was deleted, because the value is
    /// another one.
    pub async fn remove_network_state(
        &self,
        network: &str,
        key: &str,
        before: &[u8],
        others: &[String],
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!(
            "DELETE FROM network_state WHERE network = $1 AND key = $2 AND value = $3",
            network,
            key,
            before
        )
        .execute(&mut *tx.inner)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        tx.delete_network_state(network, &others.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The first keys behind `after` that begin with `prefix`, which ends with a slash, in order, with their values.
    pub async fn network_state_page(
        &self,
        network: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        // The sign behind the slash ends the range.
        let end = format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix));
        let rows = sqlx::query!(
            "SELECT key, value FROM network_state
             WHERE network = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5",
            network,
            prefix,
            end,
            after,
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
    }
}

impl Tx {
    async fn delete_network_state(&mut self, network: &str, keys: &[&str]) -> Result<(), DbError> {
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "DELETE FROM network_state WHERE ctid = ANY(ARRAY(
                 SELECT state.place FROM unnest($2::text[]) AS wanted (key)
                 CROSS JOIN LATERAL (
                     SELECT ctid AS place FROM network_state
                     WHERE network = $1 AND key = wanted.key LIMIT 1) state))",
            network,
            keys as &[&str]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
