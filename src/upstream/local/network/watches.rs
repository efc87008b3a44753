//! Telling those who watch a subscriber what is news to them.

use super::profile::Words;
use super::view::{PresenceRow, Relation, View, Watched};
use crate::db::DbError;
use crate::domain::PhoneNumber;
use crate::upstream::local::network::columns::{number_of, photo_of, privacy};
use crate::upstream::local::network::{Tx, mailbox_topic};

/// The watches that a change concerns.
#[derive(Clone, Copy)]
pub(super) struct Concerned<'a> {
    pub number: &'a PhoneNumber,
    /// Those of others who watch the subscriber.
    pub watched: bool,
    /// Its own.
    pub watching: bool,
}

/// A watch as it is, and what the watcher was told.
struct Watch {
    number: String,
    watcher: String,
    watched: Watched,
    relation: Relation,
    told: View,
}

impl Tx {
    /// Tells each watcher what is news to it.
    pub(super) async fn tell(&mut self, concerned: Concerned<'_>, words: Words) -> Result<(), DbError> {
        self.lock_watches(concerned).await?;
        let (mut watched, mut watchers, mut views) = (Vec::new(), Vec::new(), Vec::new());
        let (mut recipients, mut senders, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for watch in self.watches(concerned).await? {
            let now = watch.told.now(&watch.watched, watch.relation);
            let news = watch.told.news(&now);
            if now == watch.told {
                continue;
            }
            for news in news {
                recipients.push(watch.watcher.clone());
                senders.push(watch.number.clone());
                bodies.push(words(&news));
            }
            watched.push(watch.number);
            watchers.push(watch.watcher);
            let view = serde_json::to_value(&now);
            views.push(view.map_err(|error| DbError::Corrupt(format!("a view cannot be written: {error}")))?);
        }
        sqlx::query!(
            "WITH told AS (
                UPDATE localnet_watch w SET told = t.told
                FROM unnest($1::text[], $2::text[], $3::jsonb[]) AS t (watched, watcher, told)
                WHERE w.watched = t.watched AND w.watcher = t.watcher)
             INSERT INTO localnet_stanza (recipient, sender, stanza)
             SELECT n.recipient, n.sender, n.body FROM unnest($4::text[], $5::text[], $6::jsonb[])
                    WITH ORDINALITY AS n (recipient, sender, body, place)
             ORDER BY n.place",
            &watched,
            &watchers,
            &views,
            &recipients,
            &senders,
            &bodies
        )
        .execute(&mut *self.inner)
        .await?;
        recipients.sort_unstable();
        recipients.dedup();
        for recipient in recipients {
            self.notify_on_commit(mailbox_topic(&number_of(&recipient)?));
        }
        Ok(())
    }

    pub(super) async fn has_news(&mut self, concerned: Concerned<'_>) -> Result<bool, DbError> {
        let watches = self.watches(concerned).await?;
        Ok(watches.iter().any(|watch| watch.told.now(&watch.watched, watch.relation) != watch.told))
    }

    pub(super) async fn lock_watches(&mut self, concerned: Concerned<'_>) -> Result<(), DbError> {
        let Concerned { number, watched, watching } = concerned;
        if watched {
            sqlx::query!(
                "SELECT number FROM localnet_subscriber
                 WHERE number = ANY(ARRAY(SELECT watcher FROM localnet_watch WHERE watched = $1))
                 ORDER BY number FOR KEY SHARE",
                number.as_str()
            )
            .fetch_all(&mut *self.inner)
            .await?;
        }
        sqlx::query!(
            "SELECT watched FROM localnet_watch WHERE (watched = $1 AND $2) OR (watcher = $1 AND $3)
             ORDER BY watched, watcher FOR NO KEY UPDATE",
            number.as_str(),
            watched,
            watching
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The watches of those who exist. A watcher whose mailbox takes no more is left out, until it asks itself.
    async fn watches(&mut self, concerned: Concerned<'_>) -> Result<Vec<Watch>, DbError> {
        let Concerned { number, watched, watching } = concerned;
        let rows = sqlx::query!(
            r#"SELECT w.watched, w.watcher, w.told, o.nickname, o.status_message, o.photo, o.photo_preview, o.online,
                      o.last_seen, o.privacy_status_message, o.privacy_photo, o.privacy_last_seen, v.online AS "watcher_online",
                      EXISTS (SELECT 1 FROM localnet_contact c
                              WHERE c.owner = w.watched AND c.contact = w.watcher) AS "is_contact!",
                      EXISTS (SELECT 1 FROM localnet_block b
                              WHERE b.owner = w.watched AND b.blocked = w.watcher) AS "is_blocked!",
                      EXISTS (SELECT 1 FROM localnet_block b
                              WHERE b.owner = w.watcher AND b.blocked = w.watched) AS "has_blocked!"
               FROM localnet_watch w JOIN localnet_subscriber o ON o.number = w.watched
               JOIN localnet_subscriber v ON v.number = w.watcher
               WHERE w.active
                 AND ((w.watched = $1 AND $2 AND NOT EXISTS (
                          SELECT 1 FROM localnet_stanza s WHERE s.recipient = w.watcher OFFSET $4 LIMIT 1))
                      OR (w.watcher = $1 AND $3))
               ORDER BY w.watched, w.watcher"#,
            number.as_str(),
            watched,
            watching,
            super::MAILBOX_LIMIT - 1
        )
        .fetch_all(&mut *self.inner)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Watch {
                    relation: Relation {
                        is_self: row.watched == row.watcher,
                        is_contact: row.is_contact,
                        is_blocked: row.is_blocked,
                        has_blocked: row.has_blocked,
                        is_online: row.watcher_online,
                    },
                    watched: Watched {
                        nickname: row.nickname,
                        status_message: row.status_message,
                        photo: photo_of(row.photo, row.photo_preview)?,
                        seen: PresenceRow {
                            online: row.online,
                            last_seen: row.last_seen.filter(|_| !row.online),
                        },
                        privacy: privacy(
                            &row.privacy_status_message,
                            &row.privacy_photo,
                            &row.privacy_last_seen,
                        )?,
                    },
                    // What another version kept is told anew.
                    told: serde_json::from_value(row.told).unwrap_or_default(),
                    number: row.watched,
                    watcher: row.watcher,
                })
            })
            .collect()
    }
}
