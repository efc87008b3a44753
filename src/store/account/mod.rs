//! Accounts and the published state of their sessions.

pub mod adapter_state;
pub mod departure;
pub mod desired_state;
pub mod network_registration;
pub mod profile;
pub mod registration;
pub mod removal;
pub mod unregistration;

use chrono::{DateTime, Utc};

use super::{Claim, LEASE_SECONDS, Reachable, Store, Tx};
use crate::db::batcher::at_position;
use crate::db::{Db, DbError};
use crate::domain::{
    Account, AccountId, Aspect, ChatName, CounterId, Event, Lease, PeerId, PhoneNumber, SessionState,
    SessionStatus, UserId,
};
use crate::store::writer::SessionWrite;

/// The data that a session needs to connect.
#[derive(Clone, Debug)]
pub struct SessionAccount {
    pub user: UserId,
    pub number: PhoneNumber,
    pub network: String,
    /// Encrypted by the layer above.
    pub credentials: Option<Vec<u8>>,
    /// The position in the network's stream of events at which the last connection ended, in the adapter's encoding.
    pub resume_point: Option<Vec<u8>>,
    /// The status that the last session, in this or another process, published.
    pub session: SessionStatus,
}

struct AccountRow {
    id: i64,
    user_id: i64,
    counter_id: i64,
    number: String,
    network: String,
    directory: String,
    nickname: String,
    registered_at: Option<DateTime<Utc>>,
    was_proved: bool,
    session_state: String,
    session_since: DateTime<Utc>,
    session_reason: Option<String>,
    session_attempt: Option<i32>,
    session_until: Option<DateTime<Utc>>,
    /// Whether a living process holds the lease; without one no session runs, whatever was published last.
    held: bool,
}

impl TryFrom<AccountRow> for Account {
    type Error = DbError;

    fn try_from(row: AccountRow) -> Result<Self, DbError> {
        let (state, other) = state_of(row.session_state, row.session_attempt, row.session_until);
        let runs = row.held || row.registered_at.is_none() || state == SessionState::Starting;
        let (state, other) = if runs { (state, other) } else { (SessionState::Stopped, None) };
        Ok(Self {
            id: AccountId(row.id),
            user: UserId(row.user_id),
            counter: CounterId(row.counter_id),
            number: number_of(&row.number)?,
            network: row.network,
            directory: row.directory,
            nickname: row.nickname,
            registered_at: row.registered_at,
            was_proved: row.was_proved,
            session: SessionStatus { state, other, since: row.session_since, reason: row.session_reason },
        })
    }
}

/// The state of a session from its columns, with the name of an unknown one, see [`SessionStatus`].
fn state_of(
    name: String,
    attempt: Option<i32>,
    until: Option<DateTime<Utc>>,
) -> (SessionState, Option<String>) {
    let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok());
    match SessionState::from_parts(&name, attempt, until) {
        Some(state) => (state, None),
        None => (SessionState::Connecting, Some(name)),
    }
}

/// A stored number as a [`PhoneNumber`].
pub(super) fn number_of(text: &str) -> Result<PhoneNumber, DbError> {
    PhoneNumber::from_stored(text)
        .ok_or_else(|| DbError::Corrupt("a stored phone number is invalid".to_owned()))
}

impl Store {
    /// All accounts of a user, oldest first.
    pub async fn accounts(&self, user: UserId) -> Result<Vec<Account>, DbError> {
        sqlx::query_as!(
            AccountRow,
            r#"SELECT a.id, a.user_id AS "user_id!", a.counter_id, a.number, a.network,
                      coalesce(a.directory, a.network) AS "directory!", a.nickname, a.registered_at,
                      a.session_state, a.session_since, a.session_reason, a.session_attempt, a.session_until,
                      a.proved_at IS NOT NULL AS "was_proved!", p.id IS NOT NULL AS "held!"
               FROM account a
               CROSS JOIN LATERAL (SELECT owner FROM account_counter WHERE id = a.counter_id LIMIT 1) c
               LEFT JOIN LATERAL (
                   SELECT id FROM process
                   WHERE id = c.owner AND heartbeat_at > clock_timestamp() - make_interval(secs => $2) LIMIT 1) p ON true
               WHERE a.user_id = $1 ORDER BY a.created_at, a.id"#,
            user.0,
            LEASE_SECONDS
        )
        .fetch_all(self.db.pool())
        .await?
        .into_iter()
        .map(Account::try_from)
        .collect()
    }

    /// The user's account of this number, or without a number the user's oldest registered account.
    pub async fn account(
        &self,
        user: UserId,
        number: Option<&PhoneNumber>,
    ) -> Result<Option<Account>, DbError> {
        Ok(self.account_with_recipient(user, number, None).await?.map(|(account, _)| account))
    }

    /// The same account, and whether it may write to this number, public id or group; `None` for the latter when the
    /// network has nobody of that name.
    pub async fn account_with_recipient(
        &self,
        user: UserId,
        number: Option<&PhoneNumber>,
        chat: Option<&ChatName>,
    ) -> Result<Option<(Account, Option<Reachable>)>, DbError> {
        self.batchers.accounts.submit((user, number.cloned(), chat.cloned())).await
    }

    /// [`Store::account_with_recipient`] from a cache, up to 5 s old, if the account was allowed to write there. Only for
    /// callers that check it again when they write.
    pub async fn recent_account_with_recipient(
        &self,
        user: UserId,
        number: Option<&PhoneNumber>,
        chat: &ChatName,
    ) -> Result<Option<(Account, Option<Reachable>)>, DbError> {
        let lookup = (user, number.cloned(), Some(chat.clone()));
        if let Some((account, reachable)) = self.caches.sendable.get(&lookup) {
            return Ok(Some((account, Some(reachable))));
        }
        let found = self.account_with_recipient(user, number, Some(chat)).await?;
        if let Some((account, Some(reachable))) = &found
            && account.is_registered()
            && reachable.allowed
        {
            self.caches.sendable.insert(lookup, (account.clone(), reachable.clone()));
        }
        Ok(found)
    }

    /// Deletes an account whose code was not sent, and frees the key of the request that made it.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the request's claim is over: the account stays, because the user may have got the answer
    /// that it exists.
    pub async fn delete_unproved(
        &self,
        user: UserId,
        account: AccountId,
        claim: Option<&Claim>,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "DELETE FROM account WHERE user_id = $1 AND id = $2 AND registered_at IS NULL",
            user.0,
            account.0
        )
        .execute(&mut *tx.inner)
        .await?;
        if let Some(claim) = claim {
            tx.free_key(claim).await?;
        }
        tx.commit().await
    }

    /// The data that a session needs to connect; `None` when the lease is lost or the account no longer registered.
    pub async fn session_account(&self, lease: &Lease) -> Result<Option<SessionAccount>, DbError> {
        self.batchers.session_accounts.submit(*lease).await
    }

    /// Publishes the session's state.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn publish_session(
        &self,
        lease: &Lease,
        state: SessionState,
        reason: Option<&str>,
    ) -> Result<(), DbError> {
        let reason = reason.map(str::to_owned);
        self.writer.write(lease, SessionWrite::PublishState { state, reason }).await?;
        Ok(())
    }
}

/// The arguments of [`Store::account_with_recipient`].
pub(super) type AccountLookup = (UserId, Option<PhoneNumber>, Option<ChatName>);
/// The result of [`Store::account_with_recipient`].
pub(super) type AccountMatch = (Account, Option<Reachable>);

/// Many calls of [`Store::account_with_recipient`] as one query.
pub(super) async fn accounts_with_recipients(
    db: &Db,
    lookups: &[&AccountLookup],
) -> Result<Vec<Option<AccountMatch>>, DbError> {
    let users: Vec<i64> = lookups.iter().map(|(user, ..)| user.0).collect();
    let numbers: Vec<Option<&str>> =
        lookups.iter().map(|(_, number, _)| number.as_ref().map(PhoneNumber::as_str)).collect();
    let chats: Vec<Option<&str>> =
        lookups.iter().map(|(.., chat)| chat.as_ref().map(ChatName::as_str)).collect();
    let (mut connection, checkout) = db.checkout().await?;
    let rows = sqlx::query!(
        r#"SELECT lookup.position AS "position!", a.id, a.user_id AS "user_id!", a.counter_id, a.number, a.network,
                  coalesce(a.directory, a.network) AS "directory!", a.nickname, a.registered_at, a.session_state, a.session_since, a.session_reason, a.session_attempt,
                  a.session_until, a.proved_at IS NOT NULL AS "was_proved!", holder.id IS NOT NULL AS "held!",
                  recipient.id AS "peer?", recipient.address AS "address?",
                  coalesce(writable.allowed, false) AS "allowed!"
           FROM unnest($1::bigint[], $2::text[], $3::text[])
                WITH ORDINALITY AS lookup (user_id, number, chat, position)
           CROSS JOIN LATERAL (
               (SELECT id FROM account WHERE user_id = lookup.user_id AND number = lookup.number LIMIT 1)
               UNION ALL
               (SELECT id FROM account
                WHERE lookup.number IS NULL AND user_id = lookup.user_id AND registered_at IS NOT NULL
                ORDER BY created_at, id LIMIT 1)) found
           CROSS JOIN LATERAL (SELECT * FROM account WHERE id = found.id LIMIT 1) a
           CROSS JOIN LATERAL (SELECT owner FROM account_counter WHERE id = a.counter_id LIMIT 1) counter
           LEFT JOIN LATERAL (
               SELECT id FROM process WHERE id = counter.owner
                 AND heartbeat_at > clock_timestamp() - make_interval(secs => $4) LIMIT 1) holder ON true
           LEFT JOIN LATERAL (
               SELECT id, address FROM peer
               WHERE network = coalesce(a.directory, a.network) AND public_id = lookup.chat LIMIT 1) recipient
               ON true
           LEFT JOIN LATERAL (
               SELECT allowed FROM writable_chat
               WHERE account_id = a.id AND peer_id = recipient.id LIMIT 1) writable ON true"#,
        &users,
        &numbers as &[Option<&str>],
        &chats as &[Option<&str>],
        LEASE_SECONDS
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<_> = lookups.iter().map(|_| None).collect();
    for row in rows {
        let reachable = row.peer.zip(row.address).map(|(peer, address)| Reachable {
            peer: PeerId(peer),
            address,
            allowed: row.allowed,
        });
        let account = Account::try_from(AccountRow {
            id: row.id,
            user_id: row.user_id,
            counter_id: row.counter_id,
            number: row.number,
            network: row.network,
            directory: row.directory,
            nickname: row.nickname,
            registered_at: row.registered_at,
            was_proved: row.was_proved,
            session_state: row.session_state,
            session_since: row.session_since,
            session_reason: row.session_reason,
            session_attempt: row.session_attempt,
            session_until: row.session_until,
            held: row.held,
        });
        if let Some(answer) = at_position(&mut answers, row.position) {
            *answer = Some((account?, reachable));
        }
    }
    Ok(answers)
}

/// Many calls of [`Store::session_account`] as one query.
pub(super) async fn session_accounts_of(
    db: &Db,
    leases: &[&Lease],
) -> Result<Vec<Option<SessionAccount>>, DbError> {
    let column = |of: fn(&Lease) -> i64| leases.iter().map(|lease| of(lease)).collect::<Vec<_>>();
    let (mut connection, checkout) = db.checkout().await?;
    let rows = sqlx::query!(
        r#"SELECT lease.position AS "position!", a.user_id AS "user_id!", a.number, a.network, a.credentials, a.resume_point,
                  a.session_state, a.session_since, a.session_reason, a.session_attempt, a.session_until
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                WITH ORDINALITY AS lease (account_id, counter_id, owner, fence, position)
           CROSS JOIN LATERAL (
               SELECT * FROM account WHERE id = lease.account_id AND registered_at IS NOT NULL OFFSET 0) a
           CROSS JOIN LATERAL (SELECT * FROM account_counter WHERE id = a.counter_id OFFSET 0) counter
           WHERE counter.id = lease.counter_id AND counter.owner IS NOT DISTINCT FROM lease.owner
             AND counter.fence = lease.fence"#,
        &column(|lease| lease.account.0),
        &column(|lease| lease.counter.0),
        &column(|lease| lease.process.0),
        &column(|lease| lease.fence)
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<Option<SessionAccount>> = leases.iter().map(|_| None).collect();
    for row in rows {
        let Some(answer) = at_position(&mut answers, row.position) else { continue };
        let (state, other) = state_of(row.session_state, row.session_attempt, row.session_until);
        *answer = Some(SessionAccount {
            user: UserId(row.user_id),
            number: number_of(&row.number)?,
            network: row.network,
            credentials: row.credentials,
            resume_point: row.resume_point,
            session: SessionStatus { state, other, since: row.session_since, reason: row.session_reason },
        });
    }
    Ok(answers)
}

impl Tx {
    /// Makes an account that is not registered yet. `None`: the user has this number already.
    pub async fn create_account(
        &mut self,
        user: UserId,
        number: &PhoneNumber,
        network: &str,
        nickname: &str,
    ) -> Result<Option<AccountId>, DbError> {
        let counter = self.counter(user, number).await?;
        let id = sqlx::query_scalar!(
            "INSERT INTO account (user_id, number, counter_id, network, nickname) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT ON CONSTRAINT account_user_number_key DO NOTHING RETURNING id",
            user.0,
            number.as_str(),
            counter.0,
            network,
            nickname
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if let Some(id) = id
            && !nickname.is_empty()
        {
            self.set_desired(AccountId(id), Aspect::Nickname, &nickname.into()).await?;
        }
        Ok(id.map(AccountId))
    }

    /// Changes the account's nickname; its session applies that on the network.
    pub async fn set_nickname(&mut self, account: &Account, nickname: &str) -> Result<(), DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let changed = sqlx::query!(
            "UPDATE account SET nickname = $3 WHERE user_id = $1 AND id = $2 AND nickname <> $3",
            account.user.0,
            account.id.0,
            nickname
        )
        .execute(&mut *self.inner)
        .await?;
        if changed.rows_affected() == 1 {
            self.set_desired(account.id, Aspect::Nickname, &nickname.into()).await?;
            journal.record(Event::NicknameChanged);
        }
        self.close_journal_for_session(account, journal).await
    }
}
