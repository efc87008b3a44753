//! What events show besides their facts, as it is when they are given out: of many events in one query for each kind of
//! data.

use super::contact::photo::{photo_of, seen_photo};
use super::message::history::message_of;
use super::{Contact, GroupInfo, LastSeen, Message, SeenPhoto, Store};
use crate::db::batcher::{at_position, column, items};
use crate::db::{Db, DbError};
use crate::domain::{AccountId, CounterId, LiveNews, Photo, PrivacyNames, UserId, Visible};

/// A chat, a person or a group that an account knows by a number, a public id or a group's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPeer {
    pub account: AccountId,
    pub directory: String,
    pub name: String,
}

/// A message that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedEventMessage {
    pub chat: NamedPeer,
    /// The id on the network.
    pub id: String,
    /// The letter of its content, where the event has it: two messages of a chat may have one id.
    pub letter: Option<String>,
    /// False: only its times are wanted; the text, the details and the titles are left out.
    pub whole: bool,
}

/// A message with the titles that an event shows.
#[derive(Clone, Debug)]
pub struct EventMessage {
    pub message: Message,
    /// The title of the chat, as in the list of chats.
    pub title: String,
    /// Of the author of an inbound message in a group.
    pub participant_title: Option<String>,
}

/// A person as an account sees it.
#[derive(Clone, Debug)]
pub struct EventPerson {
    /// `None`: not in the contact list.
    pub contact: Option<Contact>,
    /// Empty when it was never set.
    pub status_message: Visible<String>,
    pub photo: Visible<Option<SeenPhoto>>,
}

/// A group as an account sees it.
#[derive(Clone, Debug)]
pub struct EventGroup {
    pub subject: String,
    /// `None`: the account is not in it, or it was not asked for.
    pub info: Option<GroupInfo>,
}

/// An account's own profile.
#[derive(Clone, Debug)]
pub struct EventProfile {
    pub account: AccountId,
    pub nickname: String,
    pub status_message: String,
    pub connected: bool,
    pub privacy: PrivacyNames,
    pub photo: Option<Photo>,
}

/// Live news with the names that clients know.
#[derive(Clone, Debug)]
pub struct NamedNews {
    pub user: UserId,
    pub counter: CounterId,
    pub number: String,
    /// The person's number or public id.
    pub from: String,
    /// The group's id.
    pub group: Option<String>,
    pub seen: Visible<LastSeen>,
}

/// The columns of what is named, for `unnest`.
struct Columns {
    accounts: Vec<i64>,
    directories: Vec<String>,
    names: Vec<String>,
}

impl Columns {
    fn of<'a>(named: impl Iterator<Item = &'a NamedPeer>) -> Self {
        let mut columns = Self { accounts: Vec::new(), directories: Vec::new(), names: Vec::new() };
        for peer in named {
            columns.accounts.push(peer.account.0);
            columns.directories.push(peer.directory.clone());
            columns.names.push(peer.name.clone());
        }
        columns
    }
}

fn index(position: i64) -> Result<usize, DbError> {
    usize::try_from(position - 1).map_err(|_| DbError::Corrupt("a position is negative".to_owned()))
}

/// The messages that each of these lists names, see [`Store::event_messages`].
pub(super) async fn event_messages_of(
    db: &Db,
    lists: &[&Vec<NamedEventMessage>],
) -> Result<Vec<Vec<(usize, EventMessage)>>, DbError> {
    let mut named = items(lists);
    let Columns { accounts, directories, names } =
        Columns::of(named.iter().map(|(.., message)| &message.chat));
    let ids = column(&named, |(.., message)| message.id.clone());
    let letters = column(&named, |(.., message)| message.letter.clone());
    let whole = column(&named, |(.., message)| message.whole);
    let rows = sqlx::query_file!(
        "src/store/event_messages.sql",
        &accounts,
        &directories,
        &names,
        &ids,
        &letters as &[Option<String>],
        &whole
    )
    .fetch_all(db.pool())
    .await?;
    let mut found = vec![Vec::new(); lists.len()];
    for row in rows {
        let Some((list, position, _)) = at_position(&mut named, row.position) else { continue };
        let message = EventMessage {
            message: message_of!(row),
            title: row.title,
            participant_title: row.participant_title,
        };
        found[*list].push((*position, message));
    }
    Ok(found)
}

impl Store {
    /// These messages, each with its position among those that are named; those that are not there are left out.
    pub async fn event_messages(
        &self,
        named: Vec<NamedEventMessage>,
    ) -> Result<Vec<(usize, EventMessage)>, DbError> {
        self.batchers.event_messages.submit(named).await
    }

    /// These people, each with its position among those that are named.
    pub async fn event_people(&self, named: &[NamedPeer]) -> Result<Vec<(usize, EventPerson)>, DbError> {
        let Columns { accounts, directories, names } = Columns::of(named.iter());
        let rows = sqlx::query!(
            r#"SELECT k.position AS "position!", p.public_id AS "public_id!", c.first_name AS "first_name?",
                      c.last_name AS "last_name?", c.exists_there AS "exists?", f.status_message AS "status_message?",
                      f.status_hidden AS "status_hidden?", f.photo_hidden AS "photo_hidden?", s.id AS "change?",
                      s.photo AS "photo?", s.preview AS "preview?"
               FROM unnest($1::bigint[], $2::text[], $3::text[])
                    WITH ORDINALITY AS k (account_id, directory, name, position)
               CROSS JOIN LATERAL (
                   SELECT id, public_id FROM peer WHERE network = k.directory AND public_id = k.name LIMIT 1) p
               LEFT JOIN LATERAL (
                   SELECT * FROM contact WHERE account_id = k.account_id AND peer_id = p.id LIMIT 1) c ON true
               LEFT JOIN LATERAL (
                   SELECT * FROM peer_profile WHERE account_id = k.account_id AND peer_id = p.id LIMIT 1) f ON true
               LEFT JOIN LATERAL (SELECT * FROM photo_change WHERE id = f.photo_change_id LIMIT 1) s ON true"#,
            &accounts,
            &directories,
            &names
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                let contact = match (row.first_name, row.last_name, row.exists) {
                    (Some(first_name), Some(last_name), Some(exists)) => {
                        Some(Contact { public_id: row.public_id, first_name, last_name, exists })
                    }
                    _ => None,
                };
                let status_message = match row.status_hidden {
                    Some(true) => Visible::Hidden,
                    _ => Visible::Value(row.status_message.unwrap_or_default()),
                };
                let photo = match row.photo_hidden {
                    Some(true) => Visible::Hidden,
                    _ => Visible::Value(seen_photo(row.change, row.photo, row.preview)?),
                };
                Ok((index(row.position)?, EventPerson { contact, status_message, photo }))
            })
            .collect()
    }

    /// These groups, each with its position among those that are named; `with_info`: those whose details are wanted.
    pub async fn event_groups(
        &self,
        named: &[NamedPeer],
        with_info: &[bool],
    ) -> Result<Vec<(usize, EventGroup)>, DbError> {
        let Columns { accounts, directories, names } = Columns::of(named.iter());
        let rows = sqlx::query!(
            r#"SELECT k.position AS "position!", coalesce(h.group_subject, g.subject) AS "subject!",
                      g.subject AS "present_subject!", p.public_id AS "id!", c.public_id AS "creator?",
                      g.created_at AS "created_at!", me.chat_id IS NOT NULL AS "inside!",
                      ARRAY(SELECT m.public_id FROM group_member o
                            CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = o.member_peer_id LIMIT 1) m
                            WHERE o.group_peer_id = me.group_peer_id ORDER BY o.position) AS "participants!",
                      ARRAY(SELECT m.public_id FROM group_member o
                            CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = o.member_peer_id LIMIT 1) m
                            WHERE o.group_peer_id = me.group_peer_id AND o.admin ORDER BY o.position) AS "admins!"
               FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[])
                    WITH ORDINALITY AS k (account_id, directory, name, with_info, position)
               CROSS JOIN LATERAL (
                   SELECT id, public_id FROM peer WHERE network = k.directory AND public_id = k.name LIMIT 1) p
               CROSS JOIN LATERAL (SELECT * FROM chat_group WHERE peer_id = p.id LIMIT 1) g
               CROSS JOIN LATERAL (
                   SELECT group_subject FROM chat WHERE account_id = k.account_id AND peer_id = p.id LIMIT 1) h
               LEFT JOIN LATERAL (
                   SELECT chat_id, group_peer_id FROM account_group
                   WHERE k.with_info AND account_id = k.account_id AND group_peer_id = p.id LIMIT 1) me ON true
               LEFT JOIN LATERAL (SELECT public_id FROM peer WHERE id = g.creator_peer_id LIMIT 1) c ON true"#,
            &accounts,
            &directories,
            &names,
            with_info
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                let info = row.inside.then_some(GroupInfo {
                    id: row.id,
                    subject: row.present_subject,
                    creator: row.creator,
                    created_at: row.created_at,
                    participants: row.participants,
                    admins: row.admins,
                });
                Ok((index(row.position)?, EventGroup { subject: row.subject, info }))
            })
            .collect()
    }

    /// What live news are about, each with its position; those of accounts that are no longer registered are left out.
    pub async fn named_news(&self, news: &[LiveNews]) -> Result<Vec<(usize, NamedNews)>, DbError> {
        let accounts: Vec<i64> = news.iter().map(|news| news.account).collect();
        let from: Vec<String> = news.iter().map(|news| news.from.clone()).collect();
        let groups: Vec<Option<String>> = news.iter().map(|news| news.group.clone()).collect();
        let rows = sqlx::query!(
            r#"SELECT k.position AS "position!", a.user_id AS "user_id!", a.counter_id AS "counter_id!",
                      a.number AS "number!", p.public_id AS "from!", g.public_id AS "group?", f.online AS "online?",
                      f.last_seen AS "last_seen?", f.presence_hidden AS "hidden?"
               FROM unnest($1::bigint[], $2::text[], $3::text[])
                    WITH ORDINALITY AS k (account_id, address, group_address, position)
               CROSS JOIN LATERAL (
                   SELECT id, user_id, counter_id, number, network FROM account
                   WHERE id = k.account_id AND user_id IS NOT NULL AND registered_at IS NOT NULL LIMIT 1) a
               CROSS JOIN LATERAL (
                   SELECT id, public_id FROM peer WHERE network = a.network AND address = k.address LIMIT 1) p
               LEFT JOIN LATERAL (
                   SELECT public_id FROM peer WHERE network = a.network AND address = k.group_address LIMIT 1) g ON true
               LEFT JOIN LATERAL (
                   SELECT online, last_seen, presence_hidden FROM peer_profile
                   WHERE account_id = a.id AND peer_id = p.id LIMIT 1) f ON true
               WHERE k.group_address IS NULL OR g.public_id IS NOT NULL"#,
            &accounts,
            &from,
            &groups as &[Option<String>]
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                let seen = match row.hidden {
                    Some(true) => Visible::Hidden,
                    _ => Visible::Value(LastSeen {
                        online: row.online == Some(true),
                        last_seen: row.last_seen,
                    }),
                };
                let named = NamedNews {
                    user: UserId(row.user_id),
                    counter: CounterId(row.counter_id),
                    number: row.number,
                    from: row.from,
                    group: row.group,
                    seen,
                };
                Ok((index(row.position)?, named))
            })
            .collect()
    }

    /// The own profiles of accounts.
    pub async fn event_profiles(&self, accounts: &[AccountId]) -> Result<Vec<EventProfile>, DbError> {
        let ids: Vec<i64> = accounts.iter().map(|account| account.0).collect();
        let rows = sqlx::query!(
            r#"SELECT a.id, a.nickname, a.status_message, a.connected, a.privacy_status_message, a.privacy_photo,
                      a.privacy_last_seen, a.photo, a.photo_preview
               FROM unnest($1::bigint[]) AS k (id)
               CROSS JOIN LATERAL (SELECT * FROM account WHERE id = k.id LIMIT 1) a"#,
            &ids
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(EventProfile {
                    account: AccountId(row.id),
                    nickname: row.nickname,
                    status_message: row.status_message,
                    connected: row.connected,
                    privacy: PrivacyNames {
                        status_message: row.privacy_status_message,
                        photo: row.privacy_photo,
                        last_seen: row.privacy_last_seen,
                    },
                    photo: photo_of(row.photo, row.photo_preview)?,
                })
            })
            .collect()
    }
}
