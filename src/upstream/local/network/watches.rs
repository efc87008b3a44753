//! Watches: the subscribers whose profiles a subscriber follows, and the stanzas that its changes cause.

use super::columns::{number_of, photo_of};
use super::view::{PresenceState, Relation, View, WatchedProfile};
use super::{MAILBOX_LIMIT, NetTx, mailbox_topic};
use crate::db::DbError;
use crate::domain::{PhoneNumber, Privacy};

/// The watches that a change may affect.
#[derive(Clone, Copy)]
pub(super) struct AffectedWatches<'a> {
    /// The subscriber that changed.
    pub number: &'a PhoneNumber,
    /// Whether the watches of others on it are affected.
    pub watched: bool,
    /// Whether its watches on others are affected.
    pub watching: bool,
}

/// One watch, with the view that its watcher had last.
struct Watch {
    /// The subscriber that is watched.
    number: String,
    watcher: String,
    watched: WatchedProfile,
    relation: Relation,
    view: View,
}

impl Watch {
    fn view_now(&self) -> View {
        self.view.now(&self.watched, self.relation)
    }
}

impl NetTx {
    /// Stores what each watcher may see now, and puts a stanza for each difference into its mailbox.
    pub(super) async fn notify_watchers(&mut self, affected: AffectedWatches<'_>) -> Result<(), DbError> {
        self.lock_watches(affected).await?;
        let (mut watched, mut watchers, mut views) = (Vec::new(), Vec::new(), Vec::new());
        let (mut recipients, mut senders, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for watch in self.watches(affected).await? {
            let now = watch.view_now();
            if now == watch.view {
                continue;
            }
            for update in watch.view.updates(&now) {
                recipients.push(watch.watcher.clone());
                senders.push(watch.number.clone());
                bodies.push(update.to_json());
            }
            watched.push(watch.number);
            watchers.push(watch.watcher);
            let view = serde_json::to_value(&now);
            views.push(view.map_err(|error| DbError::Corrupt(format!("a view cannot be written: {error}")))?);
        }
        sqlx::query!(
            "WITH updated AS (
                UPDATE localnet_watch w SET told = n.view
                FROM (SELECT old.ctid AS place, new.view
                      FROM unnest($1::text[], $2::text[], $3::jsonb[]) AS new (watched, watcher, view)
                      -- In the order of the primary key, which no other index has.
                      CROSS JOIN LATERAL (
                          SELECT ctid, watched, watcher FROM localnet_watch
                          WHERE (watched, watcher) >= (new.watched, new.watcher)
                          ORDER BY watched, watcher LIMIT 1) old
                      WHERE old.watched = new.watched AND old.watcher = new.watcher) n
                WHERE w.ctid = n.place)
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

    /// Whether a watcher's view is out of date.
    pub(super) async fn has_updates(&mut self, affected: AffectedWatches<'_>) -> Result<bool, DbError> {
        Ok(self.watches(affected).await?.iter().any(|watch| watch.view_now() != watch.view))
    }

    /// Locks the watchers' subscribers, then the watches, each in the order of its key. The subscribers come first, because a
    /// stanza refers to its recipient and would lock it later, in no order.
    pub(super) async fn lock_watches(&mut self, affected: AffectedWatches<'_>) -> Result<(), DbError> {
        let AffectedWatches { number, watched, watching } = affected;
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
            // By their places: looked up by both keys, the planner could take all watches of a watcher for each of them.
            "SELECT FROM (
                SELECT ctid AS place, watched, watcher FROM localnet_watch WHERE watched = $1 AND $2
                UNION SELECT ctid, watched, watcher FROM localnet_watch WHERE watcher = $1 AND $3
                ORDER BY watched, watcher OFFSET 0) w
             CROSS JOIN LATERAL (SELECT FROM localnet_watch WHERE ctid = w.place FOR NO KEY UPDATE) locked",
            number.as_str(),
            watched,
            watching
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The active watches whose subscribers exist. Another watcher whose mailbox is full is skipped; it gets its updates when
    /// it sets its watches again. The subscriber's own watches are never skipped.
    async fn watches(&mut self, affected: AffectedWatches<'_>) -> Result<Vec<Watch>, DbError> {
        let AffectedWatches { number, watched, watching } = affected;
        let rows = sqlx::query!(
            r#"SELECT w.watched AS "watched!", w.watcher AS "watcher!", w.told AS "view!", o.nickname, o.status_message,
                      o.photo, o.photo_preview, o.online, o.last_seen, o.privacy_status_message, o.privacy_photo,
                      o.privacy_last_seen, v.online AS "watcher_online",
                      EXISTS (SELECT 1 FROM localnet_contact c
                              WHERE c.owner = w.watched AND c.contact = w.watcher OFFSET 0) AS "is_contact!",
                      EXISTS (SELECT 1 FROM localnet_block b
                              WHERE b.owner = w.watched AND b.blocked = w.watcher OFFSET 0) AS "is_blocked!",
                      EXISTS (SELECT 1 FROM localnet_block b
                              WHERE b.owner = w.watcher AND b.blocked = w.watched OFFSET 0) AS "has_blocked!"
               FROM (SELECT w.watched, w.watcher, w.told FROM localnet_watch w
                     WHERE watched = $1 AND $2 AND active AND (watcher = $1 AND $3 OR NOT
                         CASE WHEN (SELECT max(id) - min(id) FROM localnet_stanza WHERE recipient = w.watcher) >= $4
                         THEN EXISTS (SELECT 1 FROM localnet_stanza s WHERE s.recipient = w.watcher OFFSET $4 LIMIT 1)
                         ELSE false END)
                     UNION ALL
                     SELECT w.watched, w.watcher, w.told FROM localnet_watch w
                     WHERE watcher = $1 AND $3 AND active AND NOT (watched = $1 AND $2)) w
               CROSS JOIN LATERAL (SELECT * FROM localnet_subscriber WHERE number = w.watched LIMIT 1) o
               CROSS JOIN LATERAL (SELECT online FROM localnet_subscriber WHERE number = w.watcher LIMIT 1) v
               ORDER BY w.watched, w.watcher"#,
            number.as_str(),
            watched,
            watching,
            MAILBOX_LIMIT - 1
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
                    watched: WatchedProfile {
                        nickname: row.nickname,
                        status_message: row.status_message,
                        photo: photo_of(row.photo, row.photo_preview)?,
                        presence: PresenceState {
                            online: row.online,
                            last_seen: row.last_seen.filter(|_| !row.online),
                        },
                        privacy: Privacy::from_names(
                            &row.privacy_status_message,
                            &row.privacy_photo,
                            &row.privacy_last_seen,
                        ),
                    },
                    // A view that another version wrote and this one cannot read starts again from nothing.
                    view: serde_json::from_value(row.view).unwrap_or_default(),
                    number: row.watched,
                    watcher: row.watcher,
                })
            })
            .collect()
    }
}
