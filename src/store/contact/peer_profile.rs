//! What an account was told of others' profiles, as the API shows it.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Account, PeerId, Visible};
use crate::store::Store;

/// Of whom the API shows something.
#[derive(Clone, Copy, Debug)]
pub enum ProfileScope {
    /// This one person.
    One(PeerId),
    /// All contacts that exist, in the order of the list.
    EveryContact,
}

/// Somebody's status message as the account sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatusMessage {
    /// The number or public id.
    pub public_id: String,
    /// Empty when none was ever set.
    pub text: Visible<String>,
}

/// Somebody's presence as the account sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The number or public id.
    pub public_id: String,
    /// What is known of it.
    pub seen: Visible<LastSeen>,
}

/// Somebody's presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// Online when it was last told.
    pub online: bool,
    /// Of one who is offline: since when, where that is known.
    pub last_seen: Option<DateTime<Utc>>,
}

/// A status message that somebody had, and when the account learnt of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The message.
    pub text: String,
    /// When it was learnt.
    pub updated: DateTime<Utc>,
}

impl ProfileScope {
    pub(in crate::store) fn peer(self) -> Option<i64> {
        match self {
            Self::One(peer) => Some(peer.0),
            Self::EveryContact => None,
        }
    }
}

impl Store {
    /// Status messages, in one query.
    pub async fn status_messages(
        &self,
        account: &Account,
        whose: ProfileScope,
    ) -> Result<Vec<PeerStatusMessage>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT p.public_id AS "public_id!", f.status_message AS "text?", f.status_hidden AS "hidden?"
               FROM (SELECT $2::bigint AS peer_id, NULL::timestamptz AS created_at WHERE $2 IS NOT NULL
                     UNION ALL SELECT peer_id, created_at FROM contact
                     WHERE account_id = $1 AND exists_there AND $2::bigint IS NULL) w
               JOIN peer p ON p.id = w.peer_id
               LEFT JOIN peer_profile f ON f.account_id = $1 AND f.peer_id = p.id
               ORDER BY w.created_at, p.public_id"#,
            account.id.0,
            whose.peer()
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| PeerStatusMessage {
                public_id: row.public_id,
                text: if row.hidden == Some(true) {
                    Visible::Hidden
                } else {
                    Visible::Value(row.text.unwrap_or_default())
                },
            })
            .collect())
    }

    /// Presences, in one query.
    pub async fn presences(&self, account: &Account, whose: ProfileScope) -> Result<Vec<Presence>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT p.public_id AS "public_id!", f.online AS "online?", f.last_seen AS "last_seen?",
                      f.presence_hidden AS "hidden?"
               FROM (SELECT $2::bigint AS peer_id, NULL::timestamptz AS created_at WHERE $2 IS NOT NULL
                     UNION ALL SELECT peer_id, created_at FROM contact
                     WHERE account_id = $1 AND exists_there AND $2::bigint IS NULL) w
               JOIN peer p ON p.id = w.peer_id
               LEFT JOIN peer_profile f ON f.account_id = $1 AND f.peer_id = p.id
               ORDER BY w.created_at, p.public_id"#,
            account.id.0,
            whose.peer()
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Presence {
                public_id: row.public_id,
                seen: if row.hidden == Some(true) {
                    Visible::Hidden
                } else {
                    Visible::Value(LastSeen { online: row.online == Some(true), last_seen: row.last_seen })
                },
            })
            .collect())
    }

    /// The status messages that the account saw of somebody, newest first; none while they are hidden.
    pub async fn status_changes(
        &self,
        account: &Account,
        public_id: &str,
    ) -> Result<Vec<StatusChange>, DbError> {
        Ok(sqlx::query_as!(
            StatusChange,
            "SELECT c.value AS text, c.updated FROM status_change c
             JOIN peer p ON p.id = c.peer_id
             JOIN peer_profile f ON f.account_id = c.account_id AND f.peer_id = c.peer_id AND NOT f.status_hidden
             WHERE c.account_id = $1 AND p.network = $2 AND p.public_id = $3 ORDER BY c.id DESC",
            account.id.0,
            account.network,
            public_id
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}
