//! Changes of many entries of the contact list at once.

use std::collections::HashSet;

use crate::db::DbError;
use crate::domain::{Account, Event};
use crate::store::{Peer, Tx, topic};

/// An entry of the new list.
#[derive(Clone, Debug)]
pub struct ImportedContact {
    pub peer: Peer,
    /// As the user wrote it.
    pub first_name: String,
    /// As the user wrote it.
    pub last_name: String,
    /// Whether the network knows the number.
    pub exists: bool,
}

/// The numbers of entries that an import changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    pub added: usize,
    pub removed: usize,
    /// Entries with a new name.
    pub updated: usize,
}

impl Tx {
    /// Replaces the whole list.
    pub async fn replace_contacts(
        &mut self,
        account: &Account,
        contacts: &[ImportedContact],
    ) -> Result<Imported, DbError> {
        let peers: Vec<i64> = contacts.iter().map(|contact| contact.peer.id.0).collect();
        let first_names: Vec<String> = contacts.iter().map(|contact| contact.first_name.clone()).collect();
        let last_names: Vec<String> = contacts.iter().map(|contact| contact.last_name.clone()).collect();
        let exist: Vec<bool> = contacts.iter().map(|contact| contact.exists).collect();

        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query_scalar!(
            "DELETE FROM contact c USING peer p
             WHERE p.id = c.peer_id AND c.account_id = $1 AND NOT c.peer_id = ANY($2) RETURNING p.public_id",
            account.id.0,
            &peers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        // An entry whose name stays is no update, but has an event when the network's knowledge of the number changed.
        let changed = sqlx::query!(
            r#"WITH imported AS (
                SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::boolean[])
                    AS imported (peer_id, first_name, last_name, exists_there)
             ), old AS (
                SELECT peer_id, first_name, last_name, exists_there FROM contact WHERE account_id = $1 FOR UPDATE
             )
             UPDATE contact SET first_name = new.first_name, last_name = new.last_name,
                    exists_there = new.exists_there
             FROM imported new JOIN old ON old.peer_id = new.peer_id JOIN peer ON peer.id = new.peer_id
             WHERE contact.account_id = $1 AND contact.peer_id = new.peer_id
               AND (old.first_name, old.last_name, old.exists_there)
                   <> (new.first_name, new.last_name, new.exists_there)
             RETURNING peer.public_id,
                 (old.first_name, old.last_name) <> (new.first_name, new.last_name) AS "renamed!""#,
            account.id.0,
            &peers,
            &first_names,
            &last_names,
            &exist
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let added: HashSet<i64> = sqlx::query_scalar!(
            "INSERT INTO contact (account_id, peer_id, first_name, last_name, exists_there)
             SELECT $1, peer_id, first_name, last_name, exists_there
             FROM unnest($2::bigint[], $3::text[], $4::text[], $5::boolean[]) WITH ORDINALITY
                 AS imported (peer_id, first_name, last_name, exists_there, position)
             ORDER BY position ON CONFLICT DO NOTHING RETURNING peer_id",
            account.id.0,
            &peers,
            &first_names,
            &last_names,
            &exist
        )
        .fetch_all(&mut *self.inner)
        .await?
        .into_iter()
        .collect();
        let updated = changed.iter().filter(|row| row.renamed).count();
        let imported = Imported { added: added.len(), removed: removed.len(), updated };
        for contact in removed {
            journal.record(Event::ContactRemoved { contact });
        }
        for row in changed {
            journal.record(Event::ContactUpdated { contact: row.public_id });
        }
        for contact in contacts.iter().filter(|contact| added.contains(&contact.peer.id.0)) {
            journal.record(Event::ContactAdded { contact: contact.peer.public_id.clone() });
        }
        if imported.added + imported.removed > 0 {
            self.contacts_changed(account, journal).await?;
        } else {
            self.close_journal(journal).await?;
            self.notify_on_commit(topic::journal(account.counter));
        }
        Ok(imported)
    }

    /// Removes entries. Returns how many were in the list.
    pub async fn remove_contacts(
        &mut self,
        account: &Account,
        public_ids: &[String],
    ) -> Result<usize, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query_scalar!(
            "DELETE FROM contact c USING peer p
             WHERE p.id = c.peer_id AND c.account_id = $1 AND p.network = $2 AND p.public_id = ANY($3)
             RETURNING p.public_id",
            account.id.0,
            account.network,
            public_ids
        )
        .fetch_all(&mut *self.inner)
        .await?;
        if removed.is_empty() {
            return Ok(0);
        }
        let count = removed.len();
        for contact in removed {
            journal.record(Event::ContactRemoved { contact });
        }
        self.contacts_changed(account, journal).await?;
        Ok(count)
    }
}
