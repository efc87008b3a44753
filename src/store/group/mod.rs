//! Groups as the networks report them, stored once for all accounts of the deployment.
//!
//! A report has a revision, and only a newer one is written, in a transaction that locks the group's row and nothing else.
//! The subject and revision that an account has seen are in its chat with the group, written with the account's other
//! inbound events. An account is in a group when its own peer is a member and its network reported that since its
//! registration: the new owner of a number is in no group of the old one.

mod report;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Peer, Store, topic};
use crate::db::DbError;
use crate::domain::{Account, ChatId, CommandId, GroupId, Lease, PeerId, Photo};
use crate::store::contact::photo::photo_of;

pub(super) use report::save_groups;
pub use report::{GroupReport, ReportedMember};

/// A group as one account sees it.
#[derive(Clone, Debug)]
pub struct GroupView {
    pub peer: Peer,
    pub subject: String,
    pub photo: Option<Photo>,
    /// The account's chat with the group, if it ever was in it.
    pub chat: Option<ChatId>,
    /// The account is in it. If not, the other fields must not be shown.
    pub inside: bool,
    /// The account is an admin of it.
    pub admin: bool,
}

/// The details of a group.
#[derive(Clone, Debug)]
pub struct GroupInfo {
    pub id: String,
    pub subject: String,
    /// A number or public id.
    pub creator: Option<String>,
    pub created_at: DateTime<Utc>,
    /// Numbers or public ids, in the order in which they joined.
    pub participants: Vec<String>,
    /// The participants that are admins.
    pub admins: Vec<String>,
}

/// A person that an account names to a group.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub peer: Peer,
    /// The account may write to them: in the list and known to the network, or wrote first.
    pub reachable: bool,
    pub is_member: bool,
}

impl Store {
    /// A group that any account of this deployment has seen.
    pub async fn group(&self, account: &Account, id: &GroupId) -> Result<Option<GroupView>, DbError> {
        let row = sqlx::query!(
            r#"SELECT p.id, p.address, p.public_id, g.subject, g.photo, g.photo_preview, h.id AS "chat?",
                      coalesce(me.admin, false) AS "admin!", me.chat_id IS NOT NULL AS "inside!"
               FROM (SELECT * FROM peer WHERE network = $2 AND public_id = $3 LIMIT 1) p
               CROSS JOIN LATERAL (SELECT * FROM chat_group WHERE peer_id = p.id LIMIT 1) g
               LEFT JOIN LATERAL (
                   SELECT id FROM chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) h ON true
               LEFT JOIN LATERAL (
                   SELECT * FROM account_group WHERE account_id = $1 AND group_peer_id = p.id LIMIT 1) me ON true"#,
            account.id.0,
            account.directory,
            id.as_str()
        )
        .fetch_optional(self.db.pool())
        .await?;
        row.map(|row| {
            Ok(GroupView {
                peer: Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id },
                subject: row.subject,
                photo: photo_of(row.photo, row.photo_preview)?,
                chat: row.chat.map(ChatId),
                inside: row.inside,
                admin: row.admin,
            })
        })
        .transpose()
    }

    /// The details of the groups that an account is in, oldest first; or of one of them.
    pub async fn groups(&self, account: &Account, only: Option<&GroupId>) -> Result<Vec<GroupInfo>, DbError> {
        Ok(sqlx::query_as!(
            GroupInfo,
            r#"SELECT p.public_id AS id, g.subject, c.public_id AS "creator?", g.created_at,
                      ARRAY(SELECT m.public_id FROM group_member o
                            CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = o.member_peer_id LIMIT 1) m
                            WHERE o.group_peer_id = g.peer_id ORDER BY o.position) AS "participants!",
                      ARRAY(SELECT m.public_id FROM group_member o
                            CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = o.member_peer_id LIMIT 1) m
                            WHERE o.group_peer_id = g.peer_id AND o.admin ORDER BY o.position) AS "admins!"
               FROM (SELECT group_peer_id FROM account_group
                     WHERE account_id = $1 AND group_peer_id = (
                         SELECT id FROM peer WHERE network = $3 AND public_id = $2)
                     UNION ALL
                     SELECT group_peer_id FROM account_group WHERE account_id = $1 AND $2::text IS NULL) me
               CROSS JOIN LATERAL (SELECT * FROM chat_group WHERE peer_id = me.group_peer_id LIMIT 1) g
               CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = g.peer_id LIMIT 1) p
               LEFT JOIN LATERAL (SELECT public_id FROM peer WHERE id = g.creator_peer_id LIMIT 1) c ON true
               ORDER BY g.created_at, p.public_id"#,
            account.id.0,
            only.map(GroupId::as_str),
            account.directory
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The people that are stored with these numbers and public ids, and whether they are in a group.
    pub async fn candidates(
        &self,
        account: &Account,
        group: Option<PeerId>,
        ids: &[String],
    ) -> Result<Vec<Candidate>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT p.id, p.address, p.public_id, m.member_peer_id IS NOT NULL AS "is_member!",
                      coalesce(writable.allowed, false) AS "reachable!"
               FROM unnest($3::text[]) AS named (public_id)
               CROSS JOIN LATERAL (
                   SELECT id, address, public_id, kind FROM peer
                   WHERE network = $2 AND public_id = named.public_id LIMIT 1) p
               LEFT JOIN LATERAL (
                   SELECT allowed FROM writable_chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) writable ON true
               LEFT JOIN LATERAL (
                   SELECT member_peer_id FROM group_member
                   WHERE group_peer_id = $4 AND member_peer_id = p.id LIMIT 1) m ON true
               WHERE p.kind = 'person'"#,
            account.id.0,
            account.directory,
            ids,
            group.map(|group| group.0)
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Candidate {
                peer: Peer { id: PeerId(row.id), address: row.address, public_id: row.public_id },
                reachable: row.reachable,
                is_member: row.is_member,
            })
            .collect())
    }

    /// Whether the account is, or was, in a group: then it may read its messages.
    pub async fn has_group_chat(&self, account: &Account, id: &GroupId) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT 1 FROM (SELECT id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
                   CROSS JOIN LATERAL (SELECT 1 FROM chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) h) AS "has!""#,
            account.id.0,
            account.directory,
            id.as_str()
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Stores the answer to a command that made or changed a group, and wakes the caller. From then on the account is in
    /// the group that it made.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn answer_about_group(
        &self,
        lease: &Lease,
        command: CommandId,
        answer: &Value,
        group: PeerId,
        subject: &str,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        // The network's report of the change comes later, with a higher revision.
        sqlx::query!(
            "INSERT INTO chat (account_id, peer_id, group_revision, group_subject)
             SELECT id, $2, 0, $3 FROM account WHERE id = $1
             ON CONFLICT ON CONSTRAINT chat_account_peer_key DO UPDATE
             SET group_revision = coalesce(chat.group_revision, 0), group_subject = excluded.group_subject",
            lease.account.0,
            group.0,
            subject
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.assert_lease(lease).await?;
        tx.store_answer(command, answer).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::answer(command));
        Ok(())
    }
}
