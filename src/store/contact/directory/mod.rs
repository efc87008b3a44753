//! The directory of an account: what its network lets it know of people's numbers and addresses.
//!
//! A person is known by a number alone (with a provisional address), by an address alone (with a public id), or by both. When
//! the network says whose address a number has, both are one person from then on: the chats become one,
//! and the entry of the contact list stays with the number.

mod join;

use std::collections::BTreeMap;

use self::join::Joined;
use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Lease, PeerId, PhoneNumber};
use crate::store::{Peer, SLICE, Store, Tx, topic};

/// A number, and the address that the network gave for it.
pub type ResolvedNumber = (PhoneNumber, String);

/// The directory of an account.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The network's name, or one of its own.
    pub name: String,
    /// The provisional address of a number.
    pub provisional: fn(&PhoneNumber) -> String,
}

impl Store {
    /// Stores the addresses of numbers in an account's own directory. What is stored already changes nothing.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on. Some may be stored; the call can be repeated.
    pub async fn resolve(
        &self,
        lease: &Lease,
        directory: &Directory,
        found: &[ResolvedNumber],
    ) -> Result<(), DbError> {
        for part in found.chunks(usize::try_from(SLICE).unwrap_or(usize::MAX)) {
            let new = self.unresolved(&directory.name, part).await?;
            if new.is_empty() {
                continue;
            }
            self.resolve_new(lease, directory, &new).await?;
            for (number, address) in self.unresolved(&directory.name, &new).await? {
                self.join(lease, &Joined { directory, number: &number, address: &address }).await?;
            }
            for (number, address) in &new {
                for address in [address.clone(), (directory.provisional)(number)] {
                    self.caches.peers.invalidate(&(directory.name.clone(), address));
                }
            }
        }
        Ok(())
    }

    /// The pairs that are not stored so.
    async fn unresolved(
        &self,
        directory: &str,
        found: &[ResolvedNumber],
    ) -> Result<Vec<ResolvedNumber>, DbError> {
        let (numbers, addresses) = columns(found);
        let places = sqlx::query_scalar!(
            r#"SELECT found.position AS "position!"
               FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS found (number, address, position)
               WHERE NOT EXISTS (SELECT 1 FROM peer WHERE network = $1 AND public_id = found.number
                                   AND address = found.address OFFSET 0)
               ORDER BY found.position"#,
            directory,
            &numbers as &[&str],
            &addresses as &[&str]
        )
        .fetch_all(self.db.pool())
        .await?;
        let at = |place: i64| found.get(usize::try_from(place - 1).ok()?).cloned();
        Ok(places.into_iter().filter_map(at).collect())
    }

    /// Stores the pairs of which nobody has the address yet, and the number nobody or a person without an address.
    async fn resolve_new(
        &self,
        lease: &Lease,
        directory: &Directory,
        found: &[ResolvedNumber],
    ) -> Result<(), DbError> {
        // Each number and each address once: the others are joined one by one.
        let by_number: BTreeMap<&PhoneNumber, &String> =
            found.iter().map(|(number, address)| (number, address)).collect();
        let by_address: BTreeMap<&String, &PhoneNumber> =
            by_number.iter().map(|(number, address)| (*address, *number)).collect();
        let numbers: Vec<&str> = by_address.values().map(|number| number.as_str()).collect();
        let addresses: Vec<&str> = by_address.keys().map(|address| address.as_str()).collect();
        let provisional: Vec<String> =
            by_address.values().map(|number| (directory.provisional)(number)).collect();

        let mut tx = self.begin().await?;
        let journal = tx.open_journal_leased(lease).await?;
        let changed = sqlx::query!(
            "UPDATE peer SET address = found.address
             FROM unnest($2::text[], $3::text[], $4::text[]) AS found (number, address, provisional)
             CROSS JOIN LATERAL (
                 SELECT ctid FROM peer
                 WHERE network = $1 AND public_id = found.number AND address = found.provisional LIMIT 1) known
             WHERE peer.ctid = known.ctid
               AND NOT EXISTS (SELECT 1 FROM peer WHERE network = $1 AND address = found.address OFFSET 0)",
            directory.name,
            &numbers as &[&str],
            &addresses as &[&str],
            &provisional
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO peer (network, address, number, public_id)
             SELECT $1, address, number, number FROM unnest($2::text[], $3::text[]) AS found (number, address)
             WHERE NOT EXISTS (SELECT 1 FROM peer WHERE network = $1 AND public_id = found.number OFFSET 0)
               AND NOT EXISTS (SELECT 1 FROM peer WHERE network = $1 AND address = found.address OFFSET 0)
             ORDER BY address ON CONFLICT DO NOTHING",
            directory.name,
            &numbers as &[&str],
            &addresses as &[&str]
        )
        .execute(&mut *tx.inner)
        .await?;
        if changed.rows_affected() > 0 {
            tx.addresses_changed(lease.account).await?;
        }
        tx.close_journal(journal).await?;
        tx.notify_on_commit(topic::work(lease.account));
        tx.commit().await
    }
}

impl Tx {
    /// The same people as they are stored under the account's locked counter: their numbers may have passed to others since
    /// they were looked up.
    pub(super) async fn confirmed_peers(
        &mut self,
        account: &Account,
        peers: &[Peer],
    ) -> Result<Vec<Peer>, DbError> {
        if account.directory == account.network {
            return Ok(peers.to_vec());
        }
        let ids: Vec<i64> = peers.iter().map(|peer| peer.id.0).collect();
        let public_ids: Vec<&str> = peers.iter().map(|peer| peer.public_id.as_str()).collect();
        let rows = sqlx::query!(
            r#"SELECT p.id AS "id!", p.address AS "address!", p.public_id AS "public_id!"
               FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS named (id, public_id, position)
               CROSS JOIN LATERAL (
                   (SELECT id, address, public_id FROM peer WHERE network = $1 AND public_id = named.public_id LIMIT 1)
                   UNION ALL (SELECT id, address, public_id FROM peer WHERE id = named.id AND network = $1 LIMIT 1)
                   LIMIT 1) p
               ORDER BY named.position"#,
            account.directory,
            &ids,
            &public_ids as &[&str]
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id })
            .collect())
    }

    /// One person, see [`Self::confirmed_peers`].
    pub(super) async fn confirmed_peer(&mut self, account: &Account, peer: &Peer) -> Result<Peer, DbError> {
        let confirmed = self.confirmed_peers(account, std::slice::from_ref(peer)).await?;
        Ok(confirmed.into_iter().next().unwrap_or_else(|| peer.clone()))
    }

    /// Erases what the rows of people say. They stay, because a foreign key of each table about people would be searched for
    /// them.
    pub(in crate::store) async fn erase_peers(&mut self, peers: &[i64]) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE peer SET network = '', address = id::text, number = NULL, public_id = id::text
             WHERE ctid = ANY(ARRAY(
                 SELECT p.ctid FROM unnest($1::bigint[]) AS erased (id)
                 CROSS JOIN LATERAL (SELECT ctid FROM peer WHERE id = erased.id LIMIT 1) p))",
            peers
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Lets the session give the network its lists again, whose addresses have changed.
    async fn addresses_changed(&mut self, account: AccountId) -> Result<(), DbError> {
        self.roster_changed(account).await?;
        self.set_desired(account, Aspect::Contacts, &serde_json::Value::Null).await?;
        let blocks = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM block WHERE account_id = $1 OFFSET 0) AS "blocks!""#,
            account.0
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if blocks {
            self.set_desired(account, Aspect::Blocked, &serde_json::Value::Null).await?;
        }
        Ok(())
    }
}

fn columns(found: &[ResolvedNumber]) -> (Vec<&str>, Vec<&str>) {
    found.iter().map(|(number, address)| (number.as_str(), address.as_str())).unzip()
}
