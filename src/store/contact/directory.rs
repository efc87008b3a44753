//! The directory of an account: what its network lets it know of people's numbers and addresses.
//!
//! A person is known by a number alone (with a provisional address), by an address alone (with a public id), or by both. When
//! the network says whose address a number has, both are one person from then on: the chats become one,
//! and the entry of the contact list stays with the number.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event, Lease, PeerId, PhoneNumber};
use crate::store::{Journal, More, Peer, SLICE, Store, Tx, topic};

/// How often the people of one number may change while they are joined.
const ROUNDS: usize = 5;

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

/// The person who has a number or an address before they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    id: PeerId,
    address: String,
    public_id: String,
    /// Whether the public id is a number.
    numbered: bool,
}

/// Who has the number, and who has the address.
type Holders = (Option<Holder>, Option<Holder>);

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

    /// Makes the one who has the number and the one who has the address one person.
    async fn join(&self, lease: &Lease, one: &Joined<'_>) -> Result<(), DbError> {
        let mut round = 0;
        loop {
            let mut tx = self.begin().await?;
            let before = tx.holders(one).await?;
            let chats: BTreeSet<_> =
                [&before.0, &before.1].into_iter().flatten().map(|one| (one.id, lease.account)).collect();
            tx.wait_for(&chats, &[lease.counter.0]).await?;
            let mut journal = tx.open_journal_leased(lease).await?;
            let holders = tx.holders(one).await?;
            if holders != before {
                // An API request has stored the number meanwhile.
                round += 1;
                if round == ROUNDS {
                    return Err(DbError::overloaded());
                }
                continue;
            }
            let more = match &holders {
                (Some(named), Some(known)) if one.is_provisional(named) => {
                    tx.move_messages(lease.account, named.id, known.id).await?
                }
                _ => false,
            };
            if !more {
                tx.join(lease.account, one, holders, &mut journal).await?;
                tx.addresses_changed(lease.account).await?;
            }
            tx.close_journal(journal).await?;
            tx.notify_on_commit(topic::work(lease.account));
            tx.notify_on_commit(topic::journal(lease.counter));
            match tx.commit().await {
                Ok(()) if more => {}
                Ok(()) => return Ok(()),
                Err(error) if error.constraint().is_some() && round < ROUNDS => round += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is joined.
struct Joined<'a> {
    directory: &'a Directory,
    number: &'a PhoneNumber,
    address: &'a str,
}

impl Joined<'_> {
    /// Whether the one who has the number has no address yet.
    fn is_provisional(&self, named: &Holder) -> bool {
        named.address == (self.directory.provisional)(self.number)
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

    async fn holders(&mut self, one: &Joined<'_>) -> Result<Holders, DbError> {
        let rows = sqlx::query!(
            r#"SELECT id AS "id!", address AS "address!", public_id AS "public_id!", number IS NOT NULL AS "numbered!"
               FROM (SELECT * FROM peer WHERE network = $1 AND public_id = $2 LIMIT 1) named
               UNION ALL
               SELECT id, address, public_id, number IS NOT NULL
               FROM (SELECT * FROM peer WHERE network = $1 AND address = $3 LIMIT 1) known"#,
            one.directory.name,
            one.number.as_str(),
            one.address
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let holders = rows.into_iter().map(|row| Holder {
            id: PeerId(row.id),
            address: row.address,
            public_id: row.public_id,
            numbered: row.numbered,
        });
        let (mut named, mut known) = (None, None);
        for holder in holders {
            if holder.public_id == one.number.as_str() && named.is_none() {
                named = Some(holder.clone());
            }
            if holder.address == one.address {
                known = Some(holder);
            }
        }
        Ok((named, known))
    }

    /// Moves a slice of the messages of one chat to another. Both are locked.
    async fn move_messages(&mut self, account: AccountId, from: PeerId, to: PeerId) -> Result<More, DbError> {
        let (from, to) = (self.chat_of(account, from).await?, self.chat_of(account, to).await?);
        // What another device sent came back under the id of the message here, which has the receipts.
        sqlx::query!(
            "DELETE FROM message WHERE ctid = ANY(ARRAY(
                 SELECT same.ctid FROM (
                     SELECT network_id, fingerprint FROM message
                     WHERE chat_id = $2 AND stored_at > '-infinity' AND sender_peer_id IS NULL
                     ORDER BY stored_at LIMIT $4) page
                 CROSS JOIN LATERAL (
                     SELECT ctid, chat_id, sender_peer_id, fingerprint FROM message
                     WHERE account_id = $1 AND network_id = page.network_id OFFSET 0) same
                 WHERE same.chat_id = $3 AND same.sender_peer_id IS NULL AND same.fingerprint = page.fingerprint))",
            account.0,
            from,
            to,
            SLICE
        )
        .execute(&mut *self.inner)
        .await?;
        let moved = sqlx::query_scalar!(
            "UPDATE message SET chat_id = $2 WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM message WHERE chat_id = $1 AND stored_at > '-infinity' ORDER BY stored_at LIMIT $3))
             RETURNING id",
            from,
            to,
            SLICE
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!(
            "UPDATE outbox SET chat_id = $2 WHERE ctid = ANY(ARRAY(
                 SELECT o.ctid FROM unnest($1::bigint[]) AS moved (id)
                 CROSS JOIN LATERAL (SELECT ctid FROM outbox WHERE message_id = moved.id LIMIT 1) o))",
            &moved,
            to
        )
        .execute(&mut *self.inner)
        .await?;
        // The ids that the network chose for them, unless it has given one of them in the other chat, too.
        sqlx::query!(
            "UPDATE message_remote SET chat_id = $2 WHERE ctid = ANY(ARRAY(
                 SELECT r.ctid FROM unnest($1::bigint[]) AS moved (id)
                 CROSS JOIN LATERAL (
                     SELECT ctid, account_id, remote_id FROM message_remote WHERE message_id = moved.id LIMIT 1) r
                 WHERE NOT EXISTS (SELECT 1 FROM message_remote o WHERE o.account_id = r.account_id
                                     AND o.remote_id = r.remote_id AND o.chat_id = $2 OFFSET 0)))",
            &moved,
            to
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(i64::try_from(moved.len()).is_ok_and(|count| count == SLICE))
    }

    async fn chat_of(&mut self, account: AccountId, peer: PeerId) -> Result<i64, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2",
            account.0,
            peer.0
        )
        .fetch_one(&mut *self.inner)
        .await?)
    }

    /// The last step: who has the address has the number, too. No messages are left in the chat of a provisional person.
    async fn join(
        &mut self,
        account: AccountId,
        one: &Joined<'_>,
        (named, known): Holders,
        journal: &mut Journal,
    ) -> Result<(), DbError> {
        // The entry of the contact list is about the number.
        let listed = match &named {
            Some(named) => self.has_contact(account, named.id).await?,
            None => false,
        };
        if let Some(named) = &named
            && !one.is_provisional(named)
        {
            // The number was another person's, who keeps the chat.
            let id = self.rename_peer(named.id, None).await?;
            journal.record(Event::ContactIdChanged { contact: id, was: one.number.to_string() });
        }
        let peer = match &known {
            Some(known) => known.id,
            None => self.new_peer(one.directory, one.address, None).await?,
        };
        if let Some(named) = &named
            && one.is_provisional(named)
        {
            self.give_up_peer(account, named.id, peer).await?;
        }
        self.rename_peer(peer, Some(one.number)).await?;
        if let Some(known) = &known {
            journal.record(Event::ContactIdChanged {
                contact: one.number.to_string(),
                was: known.public_id.clone(),
            });
            self.release_contact(account, one, (known, listed), journal).await?;
        }
        if let Some(named) = named.filter(|_| listed) {
            self.move_contact(account, named.id, peer, true).await?;
        }
        if self.has_contact(account, peer).await? {
            journal.record(Event::ContactUpdated { contact: one.number.to_string() });
        }
        Ok(())
    }

    /// What becomes of the entry that the person with the address had in the contact list: one by an earlier number stays with
    /// that number, and one by public id is the entry of the new number, unless that has one.
    async fn release_contact(
        &mut self,
        account: AccountId,
        one: &Joined<'_>,
        (known, listed): (&Holder, bool),
        journal: &mut Journal,
    ) -> Result<(), DbError> {
        if !self.has_contact(account, known.id).await? {
            return Ok(());
        }
        let was = known.public_id.clone();
        if let Some(number) = PhoneNumber::from_stored(&was).filter(|_| known.numbered) {
            let provisional = (one.directory.provisional)(&number);
            let other = self.new_peer(one.directory, &provisional, Some(&number)).await?;
            self.move_contact(account, known.id, other, false).await?;
            journal.record(Event::ContactUpdated { contact: was });
        } else if listed {
            sqlx::query!("DELETE FROM contact WHERE account_id = $1 AND peer_id = $2", account.0, known.id.0)
                .execute(&mut *self.inner)
                .await?;
            journal.record(Event::ContactRemoved { contact: was });
        }
        Ok(())
    }

    /// A new person of the directory.
    async fn new_peer(
        &mut self,
        directory: &Directory,
        address: &str,
        number: Option<&PhoneNumber>,
    ) -> Result<PeerId, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO peer (network, address, number, public_id)
             VALUES ($1, $2, $3, coalesce($3, 'x' || nextval('peer_public_id'))) RETURNING id",
            directory.name,
            address,
            number.map(PhoneNumber::as_str)
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(PeerId(id))
    }

    /// Gives a person a number, or a new public id in its place. Returns the public id.
    async fn rename_peer(&mut self, peer: PeerId, number: Option<&PhoneNumber>) -> Result<String, DbError> {
        Ok(sqlx::query_scalar!(
            "UPDATE peer SET number = $2, public_id = coalesce($2, 'x' || nextval('peer_public_id'))
             WHERE id = $1 RETURNING public_id",
            peer.0,
            number.map(PhoneNumber::as_str)
        )
        .fetch_one(&mut *self.inner)
        .await?)
    }

    /// Ends a provisional person: its chat is empty, and what else it has passes to another. A request that looked it up
    /// before may still refer to its row.
    async fn give_up_peer(&mut self, account: AccountId, peer: PeerId, heir: PeerId) -> Result<(), DbError> {
        let chat = self.chat_of(account, heir).await?;
        sqlx::query!(
            "UPDATE chat SET last_message_id = newest.id, last_at = newest.stored_at
             FROM (SELECT id, stored_at FROM message WHERE chat_id = $1 AND stored_at > '-infinity'
                   ORDER BY stored_at DESC LIMIT 1) newest
             WHERE chat.id = $1 AND chat.last_message_id IS DISTINCT FROM newest.id",
            chat
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!("DELETE FROM chat WHERE account_id = $1 AND peer_id = $2", account.0, peer.0)
            .execute(&mut *self.inner)
            .await?;
        let moved = sqlx::query!(
            "UPDATE block SET peer_id = $3 WHERE account_id = $1 AND peer_id = $2
               AND NOT EXISTS (SELECT 1 FROM block WHERE account_id = $1 AND peer_id = $3 OFFSET 0)",
            account.0,
            peer.0,
            heir.0
        )
        .execute(&mut *self.inner)
        .await?;
        if moved.rows_affected() == 0 {
            sqlx::query!("DELETE FROM block WHERE account_id = $1 AND peer_id = $2", account.0, peer.0)
                .execute(&mut *self.inner)
                .await?;
        }
        sqlx::query!("DELETE FROM peer_profile WHERE account_id = $1 AND peer_id = $2", account.0, peer.0)
            .execute(&mut *self.inner)
            .await?;
        self.erase_peers(&[peer.0]).await
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

    async fn has_contact(&mut self, account: AccountId, peer: PeerId) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM contact WHERE account_id = $1 AND peer_id = $2 OFFSET 0) AS "listed!""#,
            account.0,
            peer.0
        )
        .fetch_one(&mut *self.inner)
        .await?)
    }

    async fn move_contact(
        &mut self,
        account: AccountId,
        from: PeerId,
        to: PeerId,
        exists: bool,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE contact SET peer_id = $3, exists_there = $4 WHERE account_id = $1 AND peer_id = $2",
            account.0,
            from.0,
            to.0,
            exists
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
