//! Peers: people and groups, one row per directory and address. A directory has the name of its network (the column
//! `network`), or one of its own for an account that sees other people than others do, see [`super::directory`].

use std::collections::{BTreeMap, HashMap};

use crate::db::DbError;
use crate::domain::{PeerId, PhoneNumber};
use crate::store::Store;

/// A stored person or group of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: PeerId,
    /// The address on the network.
    pub address: String,
    /// The number, or the public id of a person without a number, or the id of a group.
    pub public_id: String,
}

/// A person that may be stored already.
#[derive(Clone, Debug)]
pub struct NewPeer {
    /// The address on the network.
    pub address: String,
    /// `None`: the network reported no number.
    pub number: Option<PhoneNumber>,
}

impl Store {
    /// The peers of these addresses, in the same order, made where they are new.
    pub async fn peers(&self, directory: &str, people: &[NewPeer]) -> Result<Vec<Peer>, DbError> {
        let cache = &self.caches.peers;
        let cached: Option<Vec<Peer>> =
            people.iter().map(|peer| cache.get(&(directory.to_owned(), peer.address.clone()))).collect();
        if let Some(cached) = cached {
            return Ok(cached);
        }
        let peers = self.find_or_make_peers(directory, people).await?;
        for peer in &peers {
            cache.insert((directory.to_owned(), peer.address.clone()), peer.clone());
        }
        Ok(peers)
    }

    async fn find_or_make_peers(&self, directory: &str, people: &[NewPeer]) -> Result<Vec<Peer>, DbError> {
        let numbers: BTreeMap<&str, Option<&PhoneNumber>> =
            people.iter().map(|peer| (peer.address.as_str(), peer.number.as_ref())).collect();
        let addresses: Vec<String> = numbers.keys().map(|address| (*address).to_owned()).collect();
        let numbers: Vec<Option<String>> =
            numbers.values().map(|number| number.map(ToString::to_string)).collect();
        let found = self.known_people(directory, &addresses, &numbers).await?;
        let found = if found.len() == addresses.len() {
            found
        } else {
            sqlx::query!(
                "INSERT INTO peer (network, address, number, public_id)
                 SELECT $1, address, number, coalesce(number, 'x' || nextval('peer_public_id'))
                 FROM unnest($2::text[], $3::text[]) AS new (address, number)
                 LEFT JOIN LATERAL (
                     SELECT true AS found FROM peer
                     WHERE network = $1 AND address = new.address LIMIT 1) known ON true
                 WHERE known.found IS NULL ORDER BY address ON CONFLICT DO NOTHING",
                directory,
                &addresses,
                &numbers as &[Option<String>]
            )
            .execute(self.db.pool())
            .await?;
            self.known_people(directory, &addresses, &numbers).await?
        };
        people
            .iter()
            .map(|peer| found.get(&peer.address).cloned())
            .collect::<Option<_>>()
            .ok_or_else(|| DbError::Corrupt("a peer that was just made is missing".to_owned()))
    }

    /// The stored people with these addresses, or without such a one with this number, by the address that was asked for.
    async fn known_people(
        &self,
        directory: &str,
        addresses: &[String],
        numbers: &[Option<String>],
    ) -> Result<HashMap<String, Peer>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT wanted.address AS "wanted!", p.id AS "id!", p.address AS "address!", p.public_id AS "public_id!"
               FROM unnest($2::text[], $3::text[]) AS wanted (address, number)
               CROSS JOIN LATERAL (
                   (SELECT id, address, public_id FROM peer WHERE network = $1 AND address = wanted.address LIMIT 1)
                   UNION ALL
                   (SELECT id, address, public_id FROM peer WHERE network = $1 AND public_id = wanted.number LIMIT 1)
                   LIMIT 1) p"#,
            directory,
            addresses,
            numbers as &[Option<String>]
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let peer = Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id };
                (row.wanted, peer)
            })
            .collect())
    }

    /// The people that are stored with these numbers and public ids, in the same order; without those of whom none is.
    pub async fn peers_by_public_id(
        &self,
        directory: &str,
        public_ids: &[String],
    ) -> Result<Vec<Peer>, DbError> {
        let rows = sqlx::query!(
            "SELECT p.id, p.address, p.public_id
             FROM unnest($2::text[]) WITH ORDINALITY AS named (public_id, position)
             CROSS JOIN LATERAL (
                 SELECT id, address, public_id, kind FROM peer
                 WHERE network = $1 AND public_id = named.public_id LIMIT 1) p
             WHERE p.kind = 'person' ORDER BY named.position",
            directory,
            public_ids
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id })
            .collect())
    }

    /// The stored peers of these addresses, in any order.
    pub(in crate::store) async fn find_peers(
        &self,
        directory: &str,
        addresses: &[String],
    ) -> Result<Vec<Peer>, DbError> {
        let rows = sqlx::query!(
            "SELECT p.id, p.address, p.public_id FROM unnest($2::text[]) AS known (address)
             CROSS JOIN LATERAL (
                 SELECT id, address, public_id FROM peer WHERE network = $1 AND address = known.address LIMIT 1) p",
            directory,
            addresses
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id })
            .collect())
    }
}
