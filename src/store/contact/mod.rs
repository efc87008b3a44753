//! An account's contact list.

pub mod block;
pub mod directory;
pub mod import;
pub mod peer;
pub mod peer_profile;
pub mod photo;

use std::collections::HashSet;

use serde_json::Value;

use super::{Journal, Peer, Store, Tx, topic};
use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event, PeerId};

/// An entry of the contact list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The number, or the public id of a person without a number.
    pub public_id: String,
    /// As the user wrote it.
    pub first_name: String,
    /// As the user wrote it.
    pub last_name: String,
    /// Whether the network knows the number.
    pub exists: bool,
}

/// People in the contact list of an account, and in its block list; each list takes no more.
pub const LIST_LIMIT: u16 = 20_000;

/// What became of an addition to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAddition {
    Added,
    /// It is in the list already, and nothing changed.
    Present,
    /// The list has [`LIST_LIMIT`] entries, and nothing changed.
    Full,
}

impl ListAddition {
    fn from_name(name: &str) -> Self {
        match name {
            "added" => Self::Added,
            "present" => Self::Present,
            _ => Self::Full,
        }
    }
}

/// A recipient, and whether the account may write there.
#[derive(Clone, Debug)]
pub struct Reachable {
    pub peer: PeerId,
    /// The address on the network.
    pub address: String,
    /// A person who is in the list and known to the network, or wrote first; a group that the account is in.
    pub allowed: bool,
}

impl Store {
    /// The whole list, oldest entry first.
    pub async fn contacts(&self, account: &Account) -> Result<Vec<Contact>, DbError> {
        Ok(sqlx::query_as!(
            Contact,
            r#"SELECT p.public_id, c.first_name, c.last_name, c.exists_there AS "exists"
               FROM contact c CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = c.peer_id LIMIT 1) p
               WHERE c.account_id = $1 ORDER BY c.created_at, p.public_id"#,
            account.id.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// One entry, by number or public id.
    pub async fn contact(&self, account: &Account, public_id: &str) -> Result<Option<Contact>, DbError> {
        Ok(sqlx::query_as!(
            Contact,
            r#"SELECT p.public_id, c.first_name, c.last_name, c.exists_there AS "exists"
               FROM (SELECT id, public_id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
               CROSS JOIN LATERAL (SELECT * FROM contact WHERE account_id = $1 AND peer_id = p.id LIMIT 1) c"#,
            account.id.0,
            account.directory,
            public_id
        )
        .fetch_optional(self.db.pool())
        .await?)
    }

    /// Changes one or both names; `None` leaves a name as it is. False: not in the list.
    pub async fn rename_contact(
        &self,
        account: &Account,
        public_id: &str,
        first_name: Option<&str>,
        last_name: Option<&str>,
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal(account.counter).await?;
        let updated = sqlx::query!(
            "UPDATE contact SET first_name = coalesce($4, first_name), last_name = coalesce($5, last_name)
             WHERE account_id = $1 AND peer_id = (SELECT id FROM peer WHERE network = $2 AND public_id = $3)",
            account.id.0,
            account.directory,
            public_id,
            first_name,
            last_name
        )
        .execute(&mut *tx.inner)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        journal.record(Event::ContactUpdated { contact: public_id.to_owned() });
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::journal(account.counter));
        Ok(true)
    }

    /// Removes an entry. False: not in the list.
    pub async fn remove_contact(&self, account: &Account, public_id: &str) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal(account.counter).await?;
        let deleted = sqlx::query!(
            "DELETE FROM contact
             WHERE account_id = $1 AND peer_id = (SELECT id FROM peer WHERE network = $2 AND public_id = $3)",
            account.id.0,
            account.directory,
            public_id
        )
        .execute(&mut *tx.inner)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        journal.record(Event::ContactRemoved { contact: public_id.to_owned() });
        tx.contacts_changed(account, journal).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The addresses of all entries, whether or not the network knows them.
    pub async fn contact_addresses(&self, account: AccountId) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.address FROM contact c
             CROSS JOIN LATERAL (SELECT address FROM peer WHERE id = c.peer_id LIMIT 1) p
             WHERE c.account_id = $1 ORDER BY p.address",
            account.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The addresses of the people whose profile an account follows: its contacts, and the people that it has chats with.
    pub async fn roster(&self, account: AccountId) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT p.address FROM (
                SELECT peer_id FROM contact WHERE account_id = $1
                UNION SELECT peer_id FROM chat WHERE account_id = $1) known
             CROSS JOIN LATERAL (SELECT address, kind FROM peer WHERE id = known.peer_id LIMIT 1) p
             WHERE p.kind = 'person' ORDER BY p.address",
            account.0
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}

impl Tx {
    /// Adds an entry.
    pub async fn add_contact(
        &mut self,
        account: &Account,
        peer: &Peer,
        names: (&str, &str),
        exists: bool,
    ) -> Result<ListAddition, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let peer = self.confirmed_peer(account, peer).await?;
        let addition = sqlx::query_scalar!(
            r#"WITH added AS (
                INSERT INTO contact (account_id, peer_id, first_name, last_name, exists_there)
                SELECT id, $2, $3, $4, $5 FROM account WHERE id = $1 AND contacts < $6
                ON CONFLICT DO NOTHING RETURNING true
             )
             SELECT CASE WHEN EXISTS (SELECT 1 FROM added) THEN 'added'
                         WHEN EXISTS (SELECT 1 FROM contact WHERE account_id = $1 AND peer_id = $2) THEN 'present'
                         ELSE 'full' END AS "addition!""#,
            account.id.0,
            peer.id.0,
            names.0,
            names.1,
            exists,
            i32::from(LIST_LIMIT)
        )
        .fetch_one(&mut *self.inner)
        .await?;
        let addition = ListAddition::from_name(&addition);
        if addition == ListAddition::Added {
            journal.record(Event::ContactAdded { contact: peer.public_id.clone() });
            self.contacts_changed(account, journal).await?;
        }
        Ok(addition)
    }

    /// Stores which of the checked entries the network knows; `checked` and `existing` are public ids.
    pub async fn store_sync(
        &mut self,
        account: &Account,
        checked: &[String],
        existing: &HashSet<String>,
    ) -> Result<(), DbError> {
        let exist: Vec<bool> = checked.iter().map(|id| existing.contains(id)).collect();
        let mut journal = self.open_journal(account.counter).await?;
        let changed = sqlx::query_scalar!(
            r#"UPDATE contact SET exists_there = found.exists_there FROM (
                SELECT entry.ctid, checked.public_id, checked.exists_there
                FROM unnest($3::text[], $4::boolean[]) AS checked (public_id, exists_there)
                CROSS JOIN LATERAL (
                    SELECT id FROM peer WHERE network = $2 AND public_id = checked.public_id LIMIT 1) p
                CROSS JOIN LATERAL (
                    SELECT ctid, exists_there FROM contact WHERE account_id = $1 AND peer_id = p.id LIMIT 1) entry
                WHERE entry.exists_there <> checked.exists_there) found
             WHERE contact.ctid = found.ctid RETURNING found.public_id AS "public_id!""#,
            account.id.0,
            account.directory,
            checked,
            &exist
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for contact in changed {
            journal.record(Event::ContactUpdated { contact });
        }
        self.close_journal(journal).await?;
        self.notify_on_commit(topic::journal(account.counter));
        Ok(())
    }

    /// Closes the journal after entries were added or removed, and notifies the session.
    pub(super) async fn contacts_changed(
        &mut self,
        account: &Account,
        journal: Journal,
    ) -> Result<(), DbError> {
        self.roster_changed(account.id).await?;
        self.set_desired(account.id, Aspect::Contacts, &Value::Null).await?;
        self.close_journal_for_session(account, journal).await
    }
}
