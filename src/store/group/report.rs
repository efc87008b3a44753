//! What a network tells of a group, written once for all accounts.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{PeerId, Photo};
use crate::secrets;
use crate::store::{NewPeer, Peer, Store};

/// How often another number is tried for a group's id that is taken.
const TRIES: usize = 100;
/// What stands for the number of a creator of whom the network does not tell.
const NOBODY: &str = "00000";

/// A group as a network told of it.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// The network's name.
    pub network: String,
    /// Where the network reaches it.
    pub address: String,
    /// Its subject.
    pub subject: String,
    /// Who made it, where that is told.
    pub creator: Option<NewPeer>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Grows with each change.
    pub revision: i64,
    /// Its photo.
    pub photo: Option<Photo>,
    /// Who is in it, in the order in which they came.
    pub members: Vec<ReportedMember>,
}

/// Somebody in a group.
#[derive(Clone, Debug)]
pub struct ReportedMember {
    /// Who.
    pub peer: NewPeer,
    /// May add, remove, promote and demote.
    pub admin: bool,
    /// Since when, by the network's clock.
    pub since: DateTime<Utc>,
}

impl Store {
    /// Whether a group was stored lately at this revision or a later one. False says nothing.
    #[must_use]
    pub fn has_group_revision(&self, network: &str, address: &str, revision: i64) -> bool {
        let known = self.caches.groups.get(&(network.to_owned(), address.to_owned()));
        known.is_some_and(|known| known >= revision)
    }

    /// Stores a group, unless it is known at this revision or a later one.
    pub async fn save_group(&self, group: Arc<GroupReport>) -> Result<(), DbError> {
        self.batchers.group_reports.submit((self.clone(), group)).await
    }

    /// The peers of these groups, in the same order, made where they are new.
    pub async fn group_peers(&self, network: &str, addresses: &[String]) -> Result<Vec<Peer>, DbError> {
        let mut peers = Vec::with_capacity(addresses.len());
        for address in addresses {
            peers.push(self.group_peer(network, address, None, crate::clock::now()).await?);
        }
        Ok(peers)
    }

    /// The peer of a group; a new one gets its id: the creator's number, a dash, and when it was made in seconds.
    async fn group_peer(
        &self,
        network: &str,
        address: &str,
        creator: Option<&Peer>,
        created_at: DateTime<Utc>,
    ) -> Result<Peer, DbError> {
        let cache = &self.caches.peers;
        let key = (network.to_owned(), address.to_owned());
        if let Some(peer) = cache.get(&key) {
            return Ok(peer);
        }
        let creator = creator.map_or(NOBODY, |creator| creator.public_id.trim_start_matches('x'));
        let creator = if (5..=15).contains(&creator.len()) { creator } else { NOBODY };
        let mut number = created_at.timestamp();
        let wanted = [address.to_owned()];
        for _ in 0..TRIES {
            if let Some(peer) = self.find_peers(network, &wanted).await?.pop() {
                cache.insert(key, peer.clone());
                return Ok(peer);
            }
            sqlx::query!(
                "INSERT INTO peer (network, address, kind, public_id) VALUES ($1, $2, 'group', $3)
                 ON CONFLICT DO NOTHING",
                network,
                address,
                format!("{creator}-{:010}", number.rem_euclid(10_000_000_000))
            )
            .execute(self.db.pool())
            .await?;
            // Another group of the creator's was made in the same second.
            number += 1 + i64::try_from(secrets::random_below(60)).unwrap_or(0);
        }
        Err(DbError::Corrupt("no id was left for a group".to_owned()))
    }

    /// The revision at which a group is stored.
    async fn group_revision(&self, network: &str, address: &str) -> Result<Option<i64>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT g.revision FROM peer p JOIN chat_group g ON g.peer_id = p.id
             WHERE p.network = $1 AND p.address = $2",
            network,
            address
        )
        .fetch_optional(self.db.pool())
        .await?)
    }

    async fn save_once(&self, group: &GroupReport) -> Result<(), DbError> {
        if self.has_group_revision(&group.network, &group.address, group.revision) {
            return Ok(());
        }
        // Looked at without a lock first: of the many who are told the same all but one find it done.
        let known = self.group_revision(&group.network, &group.address).await?;
        let stored = match known {
            Some(known) if known >= group.revision => known,
            _ => self.write_group(group).await?,
        };
        let key = (group.network.clone(), group.address.clone());
        self.caches.groups.insert(key, stored);
        Ok(())
    }

    /// Writes a group unless it is there at this revision or a later one; gives the revision that is there then.
    async fn write_group(&self, group: &GroupReport) -> Result<i64, DbError> {
        let people: Vec<NewPeer> =
            group.members.iter().map(|member| member.peer.clone()).chain(group.creator.clone()).collect();
        let mut people = self.peers(&group.network, &people).await?;
        let creator = if group.creator.is_some() { people.pop() } else { None };
        let peer =
            self.group_peer(&group.network, &group.address, creator.as_ref(), group.created_at).await?;
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
        let known = sqlx::query_scalar!(
            "SELECT revision FROM chat_group WHERE peer_id = $1 FOR NO KEY UPDATE",
            peer.id.0
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        if known >= group.revision {
            return Ok(known);
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
            "DELETE FROM group_member WHERE group_peer_id = $1 AND NOT member_peer_id = ANY($2)",
            peer.id.0,
            &members
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO group_member AS old (group_peer_id, member_peer_id, admin, since, position)
             SELECT $1, m.peer_id, m.admin, m.since, m.place::integer
             FROM unnest($2::bigint[], $3::boolean[], $4::timestamptz[])
                  WITH ORDINALITY AS m (peer_id, admin, since, place)
             ORDER BY m.place
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

/// Many calls of [`Store::save_group`]: of each group the newest revision, one group after the other.
pub(in crate::store) async fn save_groups(groups: &[&(Store, Arc<GroupReport>)]) -> Result<Vec<()>, DbError> {
    let mut newest: BTreeMap<(&str, &str), (&Store, &GroupReport)> = BTreeMap::new();
    for (store, group) in groups {
        let known = newest.entry((&group.network, &group.address)).or_insert((store, group));
        if known.1.revision < group.revision {
            *known = (store, group);
        }
    }
    for (store, group) in newest.into_values() {
        store.save_once(group).await?;
    }
    Ok(vec![(); groups.len()])
}
