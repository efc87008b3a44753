//! The contact list changed as a whole.

use std::collections::HashSet;

use crate::db::DbError;
use crate::domain::{Account, Event};
use crate::store::{Peer, Tx, topic};

/// An entry that the list shall have.
#[derive(Clone, Debug)]
pub struct ImportedContact {
    /// Who.
    pub peer: Peer,
    /// As the user wrote it.
    pub first_name: String,
    /// As the user wrote it.
    pub last_name: String,
    /// Whether the network knows the number.
    pub exists: bool,
}

/// What an import changed, in numbers of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// New in the list.
    pub added: usize,
    /// No longer in it.
    pub removed: usize,
    /// Kept, under another name.
    pub updated: usize,
}

impl Tx {
    /// Makes the list hold these entries and no others, in one step.
    pub async fn replace_contacts(
        &mut self,
        account: &Account,
        wanted: &[ImportedContact],
    ) -> Result<Imported, DbError> {
        let peers: Vec<i64> = wanted.iter().map(|contact| contact.peer.id.0).collect();
        let first_names: Vec<String> = wanted.iter().map(|contact| contact.first_name.clone()).collect();
        let last_names: Vec<String> = wanted.iter().map(|contact| contact.last_name.clone()).collect();
        let exist: Vec<bool> = wanted.iter().map(|contact| contact.exists).collect();

        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query_scalar!(
            "DELETE FROM contact c USING peer p
             WHERE p.id = c.peer_id AND c.account_id = $1 AND NOT c.peer_id = ANY($2) RETURNING p.public_id",
            account.id.0,
            &peers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        // A name that differs is an update; whether the network knows the number is a fact of its own.
        let kept = sqlx::query!(
            r#"WITH wanted AS (
                SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::boolean[])
                    AS w (peer_id, first_name, last_name, exists_there)),
             before AS (
                SELECT c.peer_id, c.first_name, c.last_name, c.exists_there FROM contact c
                WHERE c.account_id = $1 FOR UPDATE)
             UPDATE contact c SET first_name = w.first_name, last_name = w.last_name, exists_there = w.exists_there
             FROM wanted w JOIN before b ON b.peer_id = w.peer_id JOIN peer p ON p.id = w.peer_id
             WHERE c.account_id = $1 AND c.peer_id = w.peer_id
               AND (b.first_name, b.last_name, b.exists_there) <> (w.first_name, w.last_name, w.exists_there)
             RETURNING p.public_id,
                 (b.first_name, b.last_name) <> (w.first_name, w.last_name) AS "renamed!""#,
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
                 AS w (peer_id, first_name, last_name, exists_there, place)
             ORDER BY place ON CONFLICT DO NOTHING RETURNING peer_id",
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
        let updated = kept.iter().filter(|row| row.renamed).count();
        let imported = Imported { added: added.len(), removed: removed.len(), updated };
        for contact in removed {
            journal.record(Event::ContactRemoved { contact });
        }
        for row in kept {
            journal.record(Event::ContactUpdated { contact: row.public_id });
        }
        for contact in wanted.iter().filter(|contact| added.contains(&contact.peer.id.0)) {
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

    /// Takes entries off the list. Returns how many were in it.
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
