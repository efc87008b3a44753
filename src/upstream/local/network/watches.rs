//! Watches: the subscribers whose profiles a subscriber follows, and the stanzas that its changes cause.
//!
//! A change is committed together with a record of it. Then the watches that it may affect are taken slice by slice: they
//! are locked, each watcher's view is computed again, and the differences go into its mailbox. Of two changes that affect one
//! watch, the later one to lock it sees both. A watch that is added meanwhile has either seen the change, or is in a slice.

use super::columns::{number_of, photo_of};
use super::view::{PresenceState, Relation, View, WatchedProfile};
use super::{ATTEMPTS, LocalNet, MAILBOX_LIMIT, NetTx, SLICE, mailbox_topic};
use crate::db::DbError;
use crate::domain::{PhoneNumber, Privacy};

/// The watches of a subscriber on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those of others on it.
    Watchers,
    /// Its own ones on others.
    Own,
}

/// Watches that follow one another in the order of their keys.
#[derive(Clone, Copy)]
struct Slice<'a> {
    number: &'a PhoneNumber,
    side: Side,
    /// The other subscriber of the last watch before the slice.
    after: &'a str,
    /// The other subscriber of its last watch.
    last: &'a str,
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

impl LocalNet {
    /// Notifies the watchers of the changes that are recorded for a subscriber, in slices. When that is interrupted, the
    /// subscriber's next change goes on.
    pub(super) async fn notify_watchers(&self, number: &PhoneNumber) -> Result<(), DbError> {
        let recorded = sqlx::query!(
            "SELECT own, version FROM localnet_notification WHERE number = $1 ORDER BY own",
            number.as_str()
        )
        .fetch_all(self.db.pool())
        .await?;
        for record in recorded {
            let side = if record.own { Side::Own } else { Side::Watchers };
            let mut after = String::new();
            while let Some(last) = self.last_of_slice(number, side, &after).await? {
                self.notify_slice(Slice { number, side, after: &after, last: &last }).await?;
                after = last;
            }
            sqlx::query!(
                "DELETE FROM localnet_notification WHERE number = $1 AND own = $2 AND version = $3",
                number.as_str(),
                record.own,
                record.version
            )
            .execute(self.db.pool())
            .await?;
        }
        Ok(())
    }

    /// The other subscriber of the last watch of the slice after `after`; `None`: there is none.
    async fn last_of_slice(
        &self,
        number: &PhoneNumber,
        side: Side,
        after: &str,
    ) -> Result<Option<String>, DbError> {
        let slice = sqlx::query_scalar!(
            // In the order of an index, which no other one has.
            r#"SELECT w.other AS "other!" FROM (
                   (SELECT watched AS one, watcher AS other FROM localnet_watch
                    WHERE NOT $4 AND (watched, watcher) > ($1, $2) AND watched <= $1
                    ORDER BY watched, watcher LIMIT $3)
                   UNION ALL
                   (SELECT watcher, watched FROM localnet_watch
                    WHERE $4 AND (watcher, watched) > ($1, $2) AND watcher <= $1
                    ORDER BY watcher, watched LIMIT $3)) w
               WHERE w.one = $1 ORDER BY w.other"#,
            number.as_str(),
            after,
            SLICE,
            side == Side::Own
        );
        Ok(slice.fetch_all(self.db.pool()).await?.pop())
    }

    async fn notify_slice(&self, slice: Slice<'_>) -> Result<(), DbError> {
        let mut attempt = 1;
        loop {
            match self.try_to_notify_slice(slice).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_to_notify_slice(&self, slice: Slice<'_>) -> Result<(), DbError> {
        let mut tx = NetTx::begin(&self.db).await?;
        if tx.outdated_watches(slice).await?.is_empty() {
            return Ok(());
        }
        tx.lock_watches(slice).await?;
        let watches = tx.outdated_watches(slice).await?;
        tx.update_watches(watches).await?;
        tx.commit().await
    }
}

impl NetTx {
    /// Records that the watches of these sides have not seen a change, before it is committed.
    pub(super) async fn record_change(
        &mut self,
        number: &PhoneNumber,
        sides: &[Side],
    ) -> Result<(), DbError> {
        let own: Vec<bool> = sides.iter().map(|side| *side == Side::Own).collect();
        sqlx::query!(
            "INSERT INTO localnet_notification AS n (number, own) SELECT $1, own FROM unnest($2::boolean[]) AS own
             ORDER BY own ON CONFLICT (number, own) DO UPDATE SET version = n.version + 1",
            number.as_str(),
            &own
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Stores what each watcher may see now, and puts a stanza for each difference into its mailbox.
    async fn update_watches(&mut self, outdated: Vec<Watch>) -> Result<(), DbError> {
        let (mut watched, mut watchers, mut views) = (Vec::new(), Vec::new(), Vec::new());
        let (mut recipients, mut senders, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for watch in outdated {
            let now = watch.view_now();
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

    /// Locks the watchers of a slice, then the watches, each in the order of its key. The subscribers come first, because a
    /// stanza refers to its recipient and would lock it later, in no order.
    async fn lock_watches(&mut self, slice: Slice<'_>) -> Result<(), DbError> {
        let Slice { number, side, after, last } = slice;
        let own = side == Side::Own;
        sqlx::query!(
            "SELECT number FROM localnet_subscriber
             WHERE number = ANY(ARRAY(
                 SELECT watcher FROM localnet_watch
                 WHERE NOT $4 AND (watched, watcher) > ($1, $2) AND (watched, watcher) <= ($1, $3)
                 UNION ALL SELECT $1 WHERE $4))
             ORDER BY number FOR KEY SHARE",
            number.as_str(),
            after,
            last,
            own
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!(
            // By their places, because rows of a union cannot be locked.
            "SELECT FROM (
                SELECT ctid AS place, watched, watcher FROM localnet_watch
                WHERE NOT $4 AND (watched, watcher) > ($1, $2) AND (watched, watcher) <= ($1, $3)
                UNION ALL SELECT ctid, watched, watcher FROM localnet_watch
                WHERE $4 AND (watcher, watched) > ($1, $2) AND (watcher, watched) <= ($1, $3)
                ORDER BY watched, watcher OFFSET 0) w
             CROSS JOIN LATERAL (SELECT FROM localnet_watch WHERE ctid = w.place FOR NO KEY UPDATE) locked",
            number.as_str(),
            after,
            last,
            own
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The active watches of a slice whose subscribers exist and whose views are out of date. Another watcher whose mailbox
    /// is full is skipped; it gets its updates when it sets its watches again. The subscriber itself is never skipped.
    async fn outdated_watches(&mut self, slice: Slice<'_>) -> Result<Vec<Watch>, DbError> {
        let Slice { number, side, after, last } = slice;
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
                     WHERE NOT $4 AND (watched, watcher) > ($1, $2) AND (watched, watcher) <= ($1, $3) AND active
                       AND (watcher = $1 OR NOT
                         CASE WHEN (SELECT max(id) - min(id) FROM localnet_stanza WHERE recipient = w.watcher) >= $5
                         THEN EXISTS (SELECT 1 FROM localnet_stanza s WHERE s.recipient = w.watcher OFFSET $5 LIMIT 1)
                         ELSE false END)
                     UNION ALL
                     SELECT w.watched, w.watcher, w.told FROM localnet_watch w
                     WHERE $4 AND (watcher, watched) > ($1, $2) AND (watcher, watched) <= ($1, $3) AND active) w
               CROSS JOIN LATERAL (SELECT * FROM localnet_subscriber WHERE number = w.watched LIMIT 1) o
               CROSS JOIN LATERAL (SELECT online FROM localnet_subscriber WHERE number = w.watcher LIMIT 1) v
               ORDER BY w.watched, w.watcher"#,
            number.as_str(),
            after,
            last,
            side == Side::Own,
            MAILBOX_LIMIT - 1
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let watches = rows.into_iter().map(|row| {
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
        });
        let watches = watches.collect::<Result<Vec<Watch>, DbError>>()?;
        Ok(watches.into_iter().filter(|watch| watch.view_now() != watch.view).collect())
    }
}
