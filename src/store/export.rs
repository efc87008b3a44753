//! What a user owns, as JSON objects, for an export: facts and texts, no hash of a password, no token and no credential.

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;

use super::Store;
use crate::db::DbError;
use crate::domain::{AccountId, BlobHash, UserId};

/// A kind of what an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    Account,
    Contacts,
    Blocked,
    Messages,
    Events,
}

impl Exported {
    /// All of them, each with the name of its file.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Account, "accounts.jsonl"),
        (Self::Contacts, "contacts.jsonl"),
        (Self::Blocked, "blocked.jsonl"),
        (Self::Messages, "messages.jsonl"),
        (Self::Events, "events.jsonl"),
    ];
}

impl Store {
    /// The user's accounts, also those that are not registered, in the snapshot of `connection`.
    pub async fn exported_accounts(
        &self,
        connection: &mut PgConnection,
        user: UserId,
    ) -> Result<Vec<AccountId>, DbError> {
        let ids = sqlx::query_scalar!("SELECT id FROM account WHERE user_id = $1 ORDER BY id", user.0);
        Ok(ids.fetch_all(connection).await?.into_iter().map(AccountId).collect())
    }

    /// Gives each object to `write`, as JSON on one line; returns how many there are.
    pub async fn export<E: From<DbError>>(
        &self,
        connection: &mut PgConnection,
        account: AccountId,
        what: Exported,
        mut write: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<u64, E> {
        let id = account.0;
        let mut objects = match what {
            Exported::Account => sqlx::query_scalar!(
                r#"SELECT json_build_object('account', number, 'network', network, 'nickname', nickname,
                       'status_message', status_message, 'created', created_at, 'registered', registered_at,
                       'privacy', json_build_object('status_message', privacy_status_message,
                           'photo', privacy_photo, 'last_seen', privacy_last_seen),
                       'photo', encode(photo, 'hex'))::text AS "object!"
                   FROM account WHERE id = $1"#,
                id
            )
            .fetch(connection),
            Exported::Contacts => sqlx::query_scalar!(
                r#"SELECT json_build_object('account', a.number, 'contact', p.public_id, 'first_name', c.first_name,
                       'last_name', c.last_name, 'exists', c.exists_there, 'created', c.created_at)::text AS "object!"
                   FROM contact c JOIN account a ON a.id = c.account_id JOIN peer p ON p.id = c.peer_id
                   WHERE c.account_id = $1 ORDER BY c.created_at, c.peer_id"#,
                id
            )
            .fetch(connection),
            Exported::Blocked => sqlx::query_scalar!(
                r#"SELECT json_build_object('account', a.number, 'contact', p.public_id,
                       'created', b.created_at)::text AS "object!"
                   FROM block b JOIN account a ON a.id = b.account_id JOIN peer p ON p.id = b.peer_id
                   WHERE b.account_id = $1 ORDER BY b.created_at, b.peer_id"#,
                id
            )
            .fetch(connection),
            Exported::Messages => sqlx::query_scalar!(
                r#"SELECT json_build_object('account', a.number, 'chat', p.public_id, 'id', m.network_id,
                       'remote_id', r.remote_id,
                       'sender', coalesce(s.public_id, a.number), 'state', m.state, 'failure', m.failure,
                       'type', m.type, 'text', m.text, 'details', m.details, 'time', m.stored_at,
                       'sent', m.sent_at, 'delivered', m.delivered_at, 'read', m.read_at,
                       'file', encode(f.hash, 'hex'))::text AS "object!"
                   FROM message m JOIN account a ON a.id = m.account_id
                   JOIN chat h ON h.id = m.chat_id JOIN peer p ON p.id = h.peer_id
                   LEFT JOIN peer s ON s.id = m.sender_peer_id
                   LEFT JOIN message_media f ON f.message_id = m.id
                   LEFT JOIN message_remote r ON r.message_id = m.id
                   WHERE m.account_id = $1 ORDER BY m.chat_id, m.stored_at"#,
                id
            )
            .fetch(connection),
            Exported::Events => sqlx::query_scalar!(
                r#"SELECT json_build_object('account', a.number, 'seq', e.seq, 'time', e.at, 'type', e.kind,
                       'data', e.payload)::text AS "object!"
                   FROM account a JOIN event e ON e.counter_id = a.counter_id
                   WHERE a.id = $1 ORDER BY e.seq"#,
                id
            )
            .fetch(connection),
        };
        let mut count = 0;
        while let Some(object) = objects.try_next().await.map_err(DbError::from)? {
            write(&object)?;
            count += 1;
        }
        Ok(count)
    }

    /// The user's webhooks, without their secrets.
    pub async fn exported_webhooks(
        &self,
        connection: &mut PgConnection,
        user: UserId,
    ) -> Result<Vec<String>, DbError> {
        let objects = sqlx::query_scalar!(
            r#"SELECT json_build_object('id', public_id, 'url', url, 'types', types, 'accounts', accounts,
                   'description', description, 'active', active, 'disabled', disabled,
                   'created', created_at)::text AS "object!"
               FROM webhook WHERE user_id = $1 ORDER BY user_id, id"#,
            user.0
        );
        Ok(objects.fetch_all(connection).await?)
    }

    /// The files of the account's messages, and its own photo.
    pub async fn exported_files(
        &self,
        connection: &mut PgConnection,
        account: AccountId,
    ) -> Result<Vec<BlobHash>, DbError> {
        let hashes = sqlx::query_scalar!(
            r#"SELECT hash AS "hash!" FROM message_media WHERE account_id = $1 AND hash IS NOT NULL
               UNION SELECT photo FROM account WHERE id = $1 AND photo IS NOT NULL"#,
            account.0
        )
        .fetch_all(connection)
        .await?;
        Ok(hashes.into_iter().filter_map(|hash| hash.try_into().ok().map(BlobHash)).collect())
    }
}
