//! The state of groups as networks report it, stored once for all accounts.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{PeerId, Photo};
use crate::secrets;
use crate::store::{NewPeer, Peer, Store};

/// Attempts to find a free id for a new group.
const ID_ATTEMPTS: usize = 100;
/// The first part of a group's id when the network does not report the creator's number.
const UNKNOWN_CREATOR: &str = "00000";

/// The state of a group as a network reported it.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// The name of the directory, see [`crate::store::Store::peers`].
    pub directory: String,
    /// The address on the network.
    pub address: String,
    pub subject: String,
    /// `None`: the network did not report the creator.
    pub creator: Option<NewPeer>,
    pub created_at: DateTime<Utc>,
    /// Grows with each change.
    pub revision: i64,
    pub photo: Option<Photo>,
    /// In the order in which they joined.
    pub members: Vec<ReportedMember>,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct ReportedMember {
    pub peer: NewPeer,
    /// May add, remove, promote and demote.
    pub admin: bool,
    /// The time of joining, by the network's clock.
    pub since: DateTime<Utc>,
}

impl Store {
    /// Whether a group was stored in the last seconds at this revision or a later one. False: unknown.
    #[must_use]
    pub fn has_group_revision(&self, directory: &str, address: &str, revision: i64) -> bool {
        let stored = self.caches.groups.get(&(directory.to_owned(), address.to_owned()));
        stored.is_some_and(|stored| stored >= revision)
    }

    /// Stores a group, unless it is stored at this revision or a later one.
    pub async fn save_group(&self, group: Arc<GroupReport>) -> Result<(), DbError> {
        self.batchers.group_reports.submit((self.clone(), group)).await
    }

    /// The peers of these groups, in the same order, made where they are new.
    pub async fn group_peers(&self, directory: &str, addresses: &[String]) -> Result<Vec<Peer>, DbError> {
        let mut peers = Vec::with_capacity(addresses.len());
        for address in addresses {
            peers.push(self.group_peer(directory, address, None, crate::clock::now()).await?);
        }
        Ok(peers)
    }

    /// The peer of a group. The id of a new one is the creator's number, a dash, and the Unix time of its creation.
    async fn group_peer(
        &self,
        directory: &str,
        address: &str,
        creator: Option<&Peer>,
        created_at: DateTime<Utc>,
    ) -> Result<Peer, DbError> {
        let cache = &self.caches.peers;
        let key = (directory.to_owned(), address.to_owned());
        if let Some(peer) = cache.get(&key) {
            return Ok(peer);
        }
        let creator = creator.map_or(UNKNOWN_CREATOR, |creator| creator.public_id.trim_start_matches('x'));
        let creator = if (5..=15).contains(&creator.len()) { creator } else { UNKNOWN_CREATOR };
        let mut number = created_at.timestamp();
        let addresses = [address.to_owned()];
        for _ in 0..ID_ATTEMPTS {
            if let Some(peer) = self.find_peers(directory, &addresses).await?.pop() {
                cache.insert(key, peer.clone());
                return Ok(peer);
            }
            sqlx::query!(
                "INSERT INTO peer (network, address, kind, public_id) VALUES ($1, $2, 'group', $3)
                 ON CONFLICT DO NOTHING",
                directory,
                address,
                format!("{creator}-{:010}", number.rem_euclid(10_000_000_000))
            )
            .execute(self.db.pool())
            .await?;
            // The creator made another group in the same second.
            number += 1 + i64::try_from(secrets::random_below(60)).unwrap_or(0);
        }
        Err(DbError::Corrupt("no id is free for a group".to_owned()))
    }

    /// The revision at which a group is stored.
    async fn group_revision(&self, directory: &str, address: &str) -> Result<Option<i64>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT g.revision FROM peer p JOIN chat_group g ON g.peer_id = p.id
             WHERE p.network = $1 AND p.address = $2",
            directory,
            address
        )
        .fetch_optional(self.db.pool())
        .await?)
    }

    async fn save_once(&self, group: &GroupReport) -> Result<(), DbError> {
        if self.has_group_revision(&group.directory, &group.address, group.revision) {
            return Ok(());
        }
        // Read without a lock first: the sessions of all members report the same, and only the first has to write it.
        let stored = self.group_revision(&group.directory, &group.address).await?;
        let stored = match stored {
            Some(stored) if stored >= group.revision => stored,
            _ => self.write_group(group).await?,
        };
        let key = (group.directory.clone(), group.address.clone());
        self.caches.groups.insert(key, stored);
        Ok(())
    }

    /// Writes a group unless it is stored at this revision or a later one; returns the revision that is stored then.
    async fn write_group(&self, group: &GroupReport) -> Result<i64, DbError> {
        let people: Vec<NewPeer> =
            group.members.iter().map(|member| member.peer.clone()).chain(group.creator.clone()).collect();
        let mut people = self.peers(&group.directory, &people).await?;
        let creator = if group.creator.is_some() { people.pop() } else { None };
        let peer =
            self.group_peer(&group.directory, &group.address, creator.as_ref(), group.created_at).await?;
        let members: Vec<i64> = people.iter().map(|peer| peer.id.0).collect();
        let admins: Vec<bool> = group.members.iter().map(|member| member.admin).collect();
        let since: Vec<DateTime<Utc>> = group.members.iter().map(|member| member.since).collect();

        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO chat_group (peer_id, subject, creator_peer_id, created_at, revision)
             VALUES ($1, $2, $3, $4, -1) ON CONFLICT DO NOTHING",
            peer.id.0,
            group.subject,
            creator.map(|Peer { id: PeerId(id), .. }| id),
            group.created_at
        )
        .execute(&mut *tx.inner)
        .await?;
        let stored = sqlx::query_scalar!(
            "SELECT revision FROM chat_group WHERE peer_id = $1 FOR NO KEY UPDATE",
            peer.id.0
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        if stored >= group.revision {
            return Ok(stored);
        }
        let (photo, preview) = Photo::hashes(group.photo);
        sqlx::query!(
            "UPDATE chat_group SET subject = $2, revision = $3, photo = $4, photo_preview = $5 WHERE peer_id = $1",
            peer.id.0,
            group.subject,
            group.revision,
            photo,
            preview
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "DELETE FROM group_member
             WHERE group_peer_id = $1 AND member_peer_id NOT IN (SELECT unnest($2::bigint[]))",
            peer.id.0,
            &members
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO group_member AS old (group_peer_id, member_peer_id, admin, since, position)
             SELECT $1, member.peer_id, member.admin, member.since, member.position::integer
             FROM unnest($2::bigint[], $3::boolean[], $4::timestamptz[])
                  WITH ORDINALITY AS member (peer_id, admin, since, position)
             ORDER BY member.position
             ON CONFLICT (group_peer_id, member_peer_id)
             DO UPDATE SET admin = excluded.admin, since = excluded.since, position = excluded.position
             WHERE (old.admin, old.since, old.position) <> (excluded.admin, excluded.since, excluded.position)",
            peer.id.0,
            &members,
            &admins,
            &since
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(group.revision)
    }
}

/// Many calls of [`Store::save_group`]: the newest revision of each group, one group after the other.
pub(in crate::store) async fn save_groups(groups: &[&(Store, Arc<GroupReport>)]) -> Result<Vec<()>, DbError> {
    let mut newest: BTreeMap<(&str, &str), (&Store, &GroupReport)> = BTreeMap::new();
    for (store, group) in groups {
        let entry = newest.entry((&group.directory, &group.address)).or_insert((store, group));
        if entry.1.revision < group.revision {
            *entry = (store, group);
        }
    }
    for (store, group) in newest.into_values() {
        store.save_once(group).await?;
    }
    Ok(vec![(); groups.len()])
}
