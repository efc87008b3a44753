//! The joining of two people of a directory into one: who has a number, and who has the address that the network gives for it.

use std::collections::BTreeSet;

use super::Directory;
use crate::db::DbError;
use crate::domain::{AccountId, Event, Lease, PeerId, PhoneNumber};
use crate::store::{Journal, More, SLICE, Store, Tx, topic};

/// How often the people of one number may change while they are joined.
const ROUNDS: usize = 5;

/// What is joined.
pub(super) struct Joined<'a> {
    pub directory: &'a Directory,
    pub number: &'a PhoneNumber,
    pub address: &'a str,
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
    /// Makes the one who has the number and the one who has the address one person.
    pub(super) async fn join(&self, lease: &Lease, one: &Joined<'_>) -> Result<(), DbError> {
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

impl Joined<'_> {
    /// Whether the one who has the number has no address yet.
    fn is_provisional(&self, named: &Holder) -> bool {
        named.address == (self.directory.provisional)(self.number)
    }
}

impl Tx {
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
}
