//! Changes of other people's profiles, as accounts see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::locks::LockedJournals;
use crate::db::DbError;
use crate::domain::{
    AccountId, CounterId, Event, Lease, PeerId, PeerPresence, PhotoReference, ProfileNews, Visible,
};
use crate::store::{Peer, Tx};

/// The changes by account and person.
#[derive(Default)]
pub(super) struct ProfileUpdates<'a>(BTreeMap<(AccountId, PeerId), ProfileUpdate<'a>>);

/// The changes of one person's profile, in one batch.
struct ProfileUpdate<'a> {
    counter: CounterId,
    public_id: &'a str,
    /// The person has left the network: the stored profile is deleted first.
    removed: bool,
    nickname: Option<&'a str>,
    /// In order: each text that differs from the one before is a change.
    status_messages: Vec<&'a Visible<String>>,
    presence: PresenceUpdate,
    /// In order: a removal in between is a change.
    photos: Vec<&'a Visible<Option<PhotoReference>>>,
}

/// A change of a presence; `None` leaves a value as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PresenceUpdate {
    hidden: Option<bool>,
    /// Online or not, and the time at which the person was last online.
    seen: Option<(bool, Option<DateTime<Utc>>)>,
}

impl PresenceUpdate {
    fn add(&mut self, presence: PeerPresence) {
        self.hidden = Some(presence == PeerPresence::Hidden);
        match presence {
            PeerPresence::Hidden | PeerPresence::Shown => {}
            PeerPresence::Online => self.seen = Some((true, None)),
            PeerPresence::Offline { last_seen } => self.seen = Some((false, last_seen)),
        }
    }
}

impl<'a> ProfileUpdates<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, lease: &Lease, peer: &'a Peer, news: &'a ProfileNews) {
        let new = |removed| ProfileUpdate {
            counter: lease.counter,
            public_id: &peer.public_id,
            removed,
            nickname: None,
            status_messages: Vec::new(),
            presence: PresenceUpdate::default(),
            photos: Vec::new(),
        };
        let profile = self.0.entry((lease.account, peer.id)).or_insert_with(|| new(false));
        match news {
            ProfileNews::Nickname(nickname) => profile.nickname = Some(nickname),
            ProfileNews::StatusMessage(text) => profile.status_messages.push(text),
            ProfileNews::Presence(presence) => profile.presence.add(*presence),
            ProfileNews::Photo(photo) => profile.photos.push(photo),
            ProfileNews::Gone => *profile = new(true),
        }
    }
}

impl Tx {
    /// The caller has locked the counters, so no other transaction writes about these accounts.
    pub(super) async fn store_profiles(
        &mut self,
        profiles: ProfileUpdates<'_>,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        if profiles.0.is_empty() {
            return Ok(());
        }
        self.delete_profiles(&profiles).await?;
        self.store_names_and_presences(&profiles).await?;
        for ((account, peer), profile) in &profiles.0 {
            let mut changed = profile.removed;
            for text in &profile.status_messages {
                let Some(journal) = journals.of(profile.counter) else { continue };
                let at = journal.next_time();
                changed |= match text {
                    Visible::Hidden => self.hide_status_message(*account, *peer).await?,
                    Visible::Value(text) => self.store_status_message(*account, *peer, text, at).await?,
                };
            }
            if changed && let Some(journal) = journals.of(profile.counter) {
                journal.record(Event::ContactStatusChanged { contact: profile.public_id.to_owned() });
            }
            let mut changed = profile.removed;
            for photo in &profile.photos {
                let Some(journal) = journals.of(profile.counter) else { continue };
                let at = journal.next_time();
                changed |= match photo {
                    Visible::Hidden => self.hide_photo(*account, *peer).await?,
                    Visible::Value(None) => self.store_no_photo(*account, *peer, at).await?,
                    Visible::Value(Some(photo)) => self.store_photo_reference(*account, *peer, photo).await?,
                };
            }
            if changed && let Some(journal) = journals.of(profile.counter) {
                journal.record(Event::ContactPhotoChanged { contact: profile.public_id.to_owned() });
            }
        }
        Ok(())
    }

    async fn delete_profiles(&mut self, profiles: &ProfileUpdates<'_>) -> Result<(), DbError> {
        let removed = profiles.0.iter().filter(|(_, profile)| profile.removed);
        let (accounts, peers): (Vec<i64>, Vec<i64>) =
            removed.map(|((account, peer), _)| (account.0, peer.0)).unzip();
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH removed AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS removed (account_id, peer_id)
             ), deleted_profile AS (
                DELETE FROM peer_profile WHERE ctid = ANY(ARRAY(
                    SELECT f.place FROM removed r CROSS JOIN LATERAL (
                        SELECT ctid AS place FROM peer_profile
                        WHERE account_id = r.account_id AND peer_id = r.peer_id OFFSET 0) f))
             ), deleted_pending AS (
                DELETE FROM pending_photo WHERE ctid = ANY(ARRAY(
                    SELECT p.place FROM removed r CROSS JOIN LATERAL (
                        SELECT ctid AS place FROM pending_photo
                        WHERE account_id = r.account_id AND peer_id = r.peer_id OFFSET 0) p))
             ), deleted_photo AS (
                DELETE FROM photo_change WHERE ctid = ANY(ARRAY(
                    SELECT c.place FROM removed r CROSS JOIN LATERAL (
                        SELECT ctid AS place FROM photo_change
                        WHERE account_id = r.account_id AND peer_id = r.peer_id OFFSET 0) c)))
             DELETE FROM status_change WHERE ctid = ANY(ARRAY(
                SELECT c.place FROM removed r CROSS JOIN LATERAL (
                    SELECT ctid AS place FROM status_change
                    WHERE account_id = r.account_id AND peer_id = r.peer_id OFFSET 0) c))",
            &accounts,
            &peers
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    async fn store_names_and_presences(&mut self, profiles: &ProfileUpdates<'_>) -> Result<(), DbError> {
        let changed = profiles.0.iter().filter(|(_, profile)| {
            profile.nickname.is_some() || profile.presence != PresenceUpdate::default()
        });
        let (mut accounts, mut peers, mut nicknames) = (Vec::new(), Vec::new(), Vec::new());
        let (mut hidden, mut online, mut last_seen) = (Vec::new(), Vec::new(), Vec::new());
        for ((account, peer), profile) in changed {
            accounts.push(account.0);
            peers.push(peer.0);
            nicknames.push(profile.nickname);
            hidden.push(profile.presence.hidden);
            online.push(profile.presence.seen.map(|(online, _)| online));
            last_seen.push(profile.presence.seen.and_then(|(_, last_seen)| last_seen));
        }
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO peer_profile (account_id, peer_id)
             SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT DO NOTHING",
            &accounts,
            &peers
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "UPDATE peer_profile f
             SET nickname = coalesce(t.nickname, f.nickname), presence_hidden = coalesce(t.hidden, f.presence_hidden),
                 online = coalesce(t.online, f.online),
                 last_seen = CASE WHEN t.online IS NULL THEN f.last_seen ELSE t.last_seen END
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::boolean[], $6::timestamptz[])
                  AS t (account_id, peer_id, nickname, hidden, online, last_seen)
             CROSS JOIN LATERAL (
                 SELECT ctid AS place FROM peer_profile
                 WHERE account_id = t.account_id AND peer_id = t.peer_id LIMIT 1) old
             WHERE f.ctid = old.place",
            &accounts,
            &peers,
            &nicknames as &[Option<&str>],
            &hidden as &[Option<bool>],
            &online as &[Option<bool>],
            &last_seen as &[Option<DateTime<Utc>>]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// True: it was not hidden before.
    async fn hide_status_message(&mut self, account: AccountId, peer: PeerId) -> Result<bool, DbError> {
        let hidden = sqlx::query!(
            "INSERT INTO peer_profile (account_id, peer_id, status_hidden) VALUES ($1, $2, true)
             ON CONFLICT (account_id, peer_id) DO UPDATE SET status_hidden = true
             WHERE NOT peer_profile.status_hidden",
            account.0,
            peer.0
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(hidden.rows_affected() == 1)
    }

    /// True: the account saw another text, or none, before. A text that differs from the last visible one is a change.
    async fn store_status_message(
        &mut self,
        account: AccountId,
        peer: PeerId,
        text: &str,
        updated: DateTime<Utc>,
    ) -> Result<bool, DbError> {
        let stored = sqlx::query!(
            "WITH change AS (
                INSERT INTO status_change (account_id, peer_id, value, updated)
                SELECT $1, $2, $3, $4 WHERE $3 <> coalesce((
                    SELECT value FROM status_change WHERE account_id = $1 AND peer_id = $2
                    ORDER BY id DESC LIMIT 1), ''))
             INSERT INTO peer_profile (account_id, peer_id, status_message) VALUES ($1, $2, $3)
             ON CONFLICT (account_id, peer_id)
             DO UPDATE SET status_message = excluded.status_message, status_hidden = false
             WHERE peer_profile.status_message <> excluded.status_message OR peer_profile.status_hidden",
            account.0,
            peer.0,
            text,
            updated
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(stored.rows_affected() == 1)
    }

    /// True: it was not hidden before. The network reports a pending photo again when it is visible again.
    async fn hide_photo(&mut self, account: AccountId, peer: PeerId) -> Result<bool, DbError> {
        let hidden = sqlx::query!(
            "WITH deleted_pending AS (DELETE FROM pending_photo WHERE account_id = $1 AND peer_id = $2)
             INSERT INTO peer_profile (account_id, peer_id, photo_hidden) VALUES ($1, $2, true)
             ON CONFLICT (account_id, peer_id) DO UPDATE SET photo_hidden = true WHERE NOT peer_profile.photo_hidden",
            account.0,
            peer.0
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(hidden.rows_affected() == 1)
    }

    /// True: the account saw a photo, or the photo was hidden, before. The removal of a photo is a change.
    async fn store_no_photo(
        &mut self,
        account: AccountId,
        peer: PeerId,
        updated: DateTime<Utc>,
    ) -> Result<bool, DbError> {
        let stored = sqlx::query!(
            "WITH deleted_pending AS (DELETE FROM pending_photo WHERE account_id = $1 AND peer_id = $2
             ), new_change AS (
                INSERT INTO photo_change (account_id, peer_id, updated)
                SELECT $1, $2, $3 WHERE (
                    SELECT photo FROM photo_change WHERE account_id = $1 AND peer_id = $2
                    ORDER BY id DESC LIMIT 1) IS NOT NULL)
             INSERT INTO peer_profile (account_id, peer_id) VALUES ($1, $2)
             ON CONFLICT (account_id, peer_id)
             DO UPDATE SET photo_change_id = NULL, photo_reference = NULL, photo_hidden = false
             WHERE peer_profile.photo_change_id IS NOT NULL OR peer_profile.photo_hidden",
            account.0,
            peer.0,
            updated
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(stored.rows_affected() == 1)
    }

    /// Registers a photo to be fetched, unless it is the current one. True: the photo was hidden before.
    async fn store_photo_reference(
        &mut self,
        account: AccountId,
        peer: PeerId,
        photo: &PhotoReference,
    ) -> Result<bool, DbError> {
        let row = sqlx::query!(
            r#"WITH old_profile AS (
                SELECT photo_reference, photo_hidden FROM peer_profile WHERE account_id = $1 AND peer_id = $2
             ), deleted_pending AS (
                DELETE FROM pending_photo WHERE account_id = $1 AND peer_id = $2
                  AND EXISTS (SELECT 1 FROM old_profile WHERE photo_reference = $3)
             ), new_pending AS (
                INSERT INTO pending_photo (account_id, peer_id, photo, preview)
                SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM old_profile WHERE photo_reference = $3)
                ON CONFLICT (account_id, peer_id) DO UPDATE
                SET photo = excluded.photo, preview = excluded.preview, attempts = 0, retry_at = clock_timestamp()
             ), unhidden_profile AS (
                UPDATE peer_profile SET photo_hidden = false
                WHERE account_id = $1 AND peer_id = $2 AND photo_hidden RETURNING photo_change_id)
             SELECT EXISTS (SELECT 1 FROM unhidden_profile) AS "changed!""#,
            account.0,
            peer.0,
            photo.photo,
            photo.preview
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(row.changed)
    }
}
