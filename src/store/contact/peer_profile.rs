//! The profiles of other people, as an account sees them.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Account, PeerId, Visible};
use crate::store::Store;

/// The people whose profiles are listed.
#[derive(Clone, Copy, Debug)]
pub enum ProfileScope {
    One(PeerId),
    /// All contacts that the network knows, in the order of the list, and after them the people who wrote first.
    Everybody,
}

/// A person's status message as the account sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatusMessage {
    /// The number or public id.
    pub public_id: String,
    /// Empty when none was ever set.
    pub text: Visible<String>,
}

/// A person's presence as the account sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The number or public id.
    pub public_id: String,
    pub seen: Visible<LastSeen>,
}

/// A person's presence, as the network last reported it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    pub online: bool,
    /// The time at which an offline person was last online, if the network reported it.
    pub last_seen: Option<DateTime<Utc>>,
}

/// A status message that a person has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub text: String,
    /// The time at which the network reported it.
    pub updated: DateTime<Utc>,
}

impl ProfileScope {
    pub(in crate::store) fn peer(self) -> Option<i64> {
        match self {
            Self::One(peer) => Some(peer.0),
            Self::Everybody => None,
        }
    }
}

/// The columns of a profile that the lists show; `None` when the network has reported nothing of the person.
struct ProfileRow {
    public_id: String,
    status_message: Option<String>,
    status_hidden: Option<bool>,
    online: Option<bool>,
    last_seen: Option<DateTime<Utc>>,
    presence_hidden: Option<bool>,
}

impl Store {
    /// Status messages, in one query.
    pub async fn status_messages(
        &self,
        account: &Account,
        scope: ProfileScope,
    ) -> Result<Vec<PeerStatusMessage>, DbError> {
        let rows = self.peer_profiles(account, scope).await?;
        Ok(rows
            .into_iter()
            .map(|row| PeerStatusMessage {
                public_id: row.public_id,
                text: if row.status_hidden == Some(true) {
                    Visible::Hidden
                } else {
                    Visible::Value(row.status_message.unwrap_or_default())
                },
            })
            .collect())
    }

    /// Presences, in one query.
    pub async fn presences(&self, account: &Account, scope: ProfileScope) -> Result<Vec<Presence>, DbError> {
        let rows = self.peer_profiles(account, scope).await?;
        Ok(rows
            .into_iter()
            .map(|row| Presence {
                public_id: row.public_id,
                seen: if row.presence_hidden == Some(true) {
                    Visible::Hidden
                } else {
                    Visible::Value(LastSeen { online: row.online == Some(true), last_seen: row.last_seen })
                },
            })
            .collect())
    }

    async fn peer_profiles(
        &self,
        account: &Account,
        scope: ProfileScope,
    ) -> Result<Vec<ProfileRow>, DbError> {
        Ok(sqlx::query_as!(
            ProfileRow,
            r#"SELECT p.public_id AS "public_id!", f.status_message AS "status_message?",
                      f.status_hidden AS "status_hidden?", f.online AS "online?", f.last_seen AS "last_seen?",
                      f.presence_hidden AS "presence_hidden?"
               FROM listed_people($1, $2) listed
               CROSS JOIN LATERAL (SELECT id, public_id FROM peer
                                   WHERE id = listed.peer_id AND kind = 'person' LIMIT 1) p
               LEFT JOIN LATERAL (SELECT * FROM peer_profile WHERE account_id = $1 AND peer_id = p.id LIMIT 1) f ON true
               ORDER BY listed.created_at, p.public_id"#,
            account.id.0,
            scope.peer()
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The status messages of a person that the account saw, newest first; none while they are hidden.
    pub async fn status_changes(
        &self,
        account: &Account,
        public_id: &str,
    ) -> Result<Vec<StatusChange>, DbError> {
        Ok(sqlx::query_as!(
            StatusChange,
            "SELECT c.value AS text, c.updated
             FROM (SELECT id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
             CROSS JOIN LATERAL (SELECT 1 FROM peer_profile
                                 WHERE account_id = $1 AND peer_id = p.id AND NOT status_hidden LIMIT 1) f
             CROSS JOIN LATERAL (SELECT id, value, updated FROM status_change
                                 WHERE account_id = $1 AND peer_id = p.id OFFSET 0) c
             ORDER BY c.id DESC",
            account.id.0,
            account.directory,
            public_id
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}
