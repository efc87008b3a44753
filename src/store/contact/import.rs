//! Changes of many entries of the contact list at once.

use std::collections::{HashMap, HashSet};

use crate::db::DbError;
use crate::db::batcher::column;
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
        let mut journal = self.open_journal(account.counter).await?;
        let peers: Vec<Peer> = contacts.iter().map(|contact| contact.peer.clone()).collect();
        let peers = self.confirmed_peers(account, &peers).await?;
        let contacts: Vec<ImportedContact> = contacts
            .iter()
            .zip(peers)
            .map(|(contact, peer)| ImportedContact { peer, ..contact.clone() })
            .collect();
        let before = sqlx::query!(
            r#"SELECT c.peer_id, c.first_name, c.last_name, c.exists_there, p.public_id FROM contact c
               CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = c.peer_id LIMIT 1) p
               WHERE c.account_id = $1 ORDER BY c.created_at, p.public_id"#,
            account.id.0
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let mut wanted: HashSet<i64> = contacts.iter().map(|contact| contact.peer.id.0).collect();
        let mut imported = Imported { added: 0, removed: 0, updated: 0 };
        let mut removed: Vec<i64> = Vec::new();
        let mut present = HashMap::new();
        for row in before {
            if wanted.contains(&row.peer_id) {
                present.insert(row.peer_id, (row.first_name, row.last_name, row.exists_there));
            } else {
                removed.push(row.peer_id);
                journal.record(Event::ContactRemoved { contact: row.public_id });
            }
        }
        imported.removed = removed.len();
        let mut written: Vec<&ImportedContact> = Vec::new();
        // Two entries may name one person.
        for contact in contacts.iter().filter(|contact| wanted.remove(&contact.peer.id.0)) {
            let id = contact.peer.public_id.clone();
            match present.get(&contact.peer.id.0) {
                None => {
                    imported.added += 1;
                    journal.record(Event::ContactAdded { contact: id });
                }
                Some((first_name, last_name, exists)) => {
                    let renamed = (first_name, last_name) != (&contact.first_name, &contact.last_name);
                    // An entry whose name stays is no update, but has an event when the network's knowledge of the
                    // number changed.
                    if !renamed && *exists == contact.exists {
                        continue;
                    }
                    imported.updated += usize::from(renamed);
                    journal.record(Event::ContactUpdated { contact: id });
                }
            }
            written.push(contact);
        }
        self.delete_contacts(account, &removed).await?;
        self.write_contacts(account, &written).await?;
        if imported.added + imported.removed > 0 {
            self.contacts_changed(account, journal).await?;
        } else {
            self.close_journal(journal).await?;
            self.notify_on_commit(topic::journal(account.counter));
        }
        Ok(imported)
    }

    async fn delete_contacts(&mut self, account: &Account, peers: &[i64]) -> Result<(), DbError> {
        sqlx::query!(
            "DELETE FROM contact WHERE ctid = ANY(ARRAY(
                 SELECT entry.ctid FROM unnest($2::bigint[]) AS removed (peer_id) CROSS JOIN LATERAL (
                     SELECT ctid FROM contact WHERE account_id = $1 AND peer_id = removed.peer_id LIMIT 1) entry))",
            account.id.0,
            peers
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Adds entries, or changes those that are there.
    async fn write_contacts(
        &mut self,
        account: &Account,
        contacts: &[&ImportedContact],
    ) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO contact (account_id, peer_id, first_name, last_name, exists_there)
             SELECT $1, peer_id, first_name, last_name, exists_there
             FROM unnest($2::bigint[], $3::text[], $4::text[], $5::boolean[]) WITH ORDINALITY
                 AS imported (peer_id, first_name, last_name, exists_there, position)
             ORDER BY position
             ON CONFLICT (account_id, peer_id) DO UPDATE SET first_name = excluded.first_name,
                 last_name = excluded.last_name, exists_there = excluded.exists_there",
            account.id.0,
            &column(contacts, |contact| contact.peer.id.0),
            &column(contacts, |contact| contact.first_name.as_str()) as &[&str],
            &column(contacts, |contact| contact.last_name.as_str()) as &[&str],
            &column(contacts, |contact| contact.exists)
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Removes entries. Returns how many were in the list.
    pub async fn remove_contacts(
        &mut self,
        account: &Account,
        public_ids: &[String],
    ) -> Result<usize, DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let removed = sqlx::query_scalar!(
            "WITH removed AS MATERIALIZED (
                SELECT DISTINCT entry.ctid AS place, p.public_id FROM unnest($3::text[]) AS removed (public_id)
                CROSS JOIN LATERAL (
                    SELECT id, public_id FROM peer WHERE network = $2 AND public_id = removed.public_id LIMIT 1) p
                CROSS JOIN LATERAL (
                    SELECT ctid FROM contact WHERE account_id = $1 AND peer_id = p.id LIMIT 1) entry
             ), deleted AS (
                DELETE FROM contact WHERE ctid = ANY(ARRAY(SELECT place FROM removed))
             )
             SELECT public_id FROM removed",
            account.id.0,
            account.directory,
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
