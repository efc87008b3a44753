//! Batchers for groups: reading them, and sending messages to them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;
use sqlx::PgExecutor;

use crate::db::batcher::Batcher;
use crate::db::{Db, DbError};
use crate::upstream::local::network::columns::{number_of, photo_of};
use crate::upstream::local::network::{NetTx, Subscriber, mailbox_topic};
use crate::upstream::local::stanza::Stanza;
use crate::upstream::{Address, Group, Member};

/// Batchers for messages. All messages of a group go to the same one, so that no two batches lock the same group.
const SEND_BATCHERS: usize = 2;
/// A group is cached this long.
const GROUP_CACHE_TTL: Duration = Duration::from_secs(5);

pub(in crate::upstream::local::network) struct GroupBatchers {
    pub(super) read: Batcher<String, Option<Arc<Group>>>,
    pub(super) cache: Cache<String, Arc<Group>>,
    send: [Batcher<GroupSend, GroupDelivery>; SEND_BATCHERS],
}

/// Messages of one sender for one group, in order.
#[derive(Clone, Debug)]
pub(super) struct GroupSend {
    pub from: Subscriber,
    /// The group's address.
    pub group: String,
    pub stanzas: Vec<Stanza>,
}

/// The outcome of a [`GroupSend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupDelivery {
    Delivered,
    /// The group does not exist, or the sender is not a member.
    NotInGroup,
    /// The login is no longer valid.
    LoggedOut,
}

impl GroupBatchers {
    pub fn new(db: &Db) -> Self {
        Self {
            read: Batcher::new(db, |db, addresses| Box::pin(read(db, addresses))),
            cache: Cache::builder().max_capacity(1_000).time_to_live(GROUP_CACHE_TTL).build(),
            send: std::array::from_fn(|_| Batcher::new(db, |db, sends| Box::pin(send(db, sends)))),
        }
    }

    /// The batcher for a group's messages.
    pub(super) fn send_batcher(&self, group: &str) -> &Batcher<GroupSend, GroupDelivery> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(group);
        &self.send[usize::try_from(hash % SEND_BATCHERS as u64).unwrap_or(0)]
    }
}

async fn read(db: &Db, addresses: &[&String]) -> Result<Vec<Option<Arc<Group>>>, DbError> {
    let wanted: BTreeSet<&String> = addresses.iter().copied().collect();
    let wanted: Vec<String> = wanted.into_iter().cloned().collect();
    let groups: HashMap<String, Arc<Group>> = read_groups(db.pool(), &wanted)
        .await?
        .into_iter()
        .map(|group| (group.address.0.clone(), Arc::new(group)))
        .collect();
    Ok(addresses.iter().map(|address| groups.get(*address).cloned()).collect())
}

/// The groups that exist, of these.
pub(super) async fn read_groups(
    executor: impl PgExecutor<'_>,
    addresses: &[String],
) -> Result<Vec<Group>, DbError> {
    let rows = sqlx::query!(
        r#"SELECT g.address, g.subject, g.creator, g.created_at, g.revision, g.photo, g.photo_preview,
                  m.number AS "number?", m.admin AS "admin?", m.since AS "since?"
           FROM localnet_group g
           LEFT JOIN LATERAL (SELECT * FROM localnet_member WHERE address = g.address OFFSET 0) m ON true
           WHERE g.address = ANY($1) ORDER BY g.address, m.position"#,
        addresses
    )
    .fetch_all(executor)
    .await?;
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        if groups.last().is_none_or(|group| group.address.0 != row.address) {
            groups.push(Group {
                address: Address(row.address),
                subject: row.subject,
                creator: Some(Address(row.creator)),
                created_at: row.created_at,
                revision: row.revision,
                photo: photo_of(row.photo, row.photo_preview)?,
                members: Vec::new(),
            });
        }
        if let (Some(group), Some(number), Some(admin), Some(since)) =
            (groups.last_mut(), row.number, row.admin, row.since)
        {
            group.members.push(Member { address: Address(number), admin, since });
        }
    }
    Ok(groups)
}

/// Sends messages in one transaction. The first statement locks the groups, so that the second one sees their current
/// members.
async fn send(db: &Db, sends: &[&GroupSend]) -> Result<Vec<GroupDelivery>, DbError> {
    let numbers: Vec<&str> = sends.iter().map(|send| send.from.number.as_str()).collect();
    let incarnations: Vec<&str> = sends.iter().map(|send| send.from.incarnation.as_str()).collect();
    let groups: Vec<&str> = sends.iter().map(|send| send.group.as_str()).collect();
    let (mut indexes, mut bodies): (Vec<i64>, Vec<Value>) = (Vec::new(), Vec::new());
    for (index, send) in (1i64..).zip(sends) {
        for stanza in &send.stanzas {
            indexes.push(index);
            bodies.push(stanza.to_json());
        }
    }
    let mut tx = NetTx::begin(db).await?;
    sqlx::query!(
        "SELECT address FROM localnet_group WHERE address = ANY($1) ORDER BY address FOR NO KEY UPDATE",
        &groups as &[&str]
    )
    .fetch_all(&mut *tx.inner)
    .await?;
    let row = sqlx::query!(
        r#"WITH sender AS MATERIALIZED (
            SELECT w.place, w.address, s.number
            FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w (number, incarnation, address, place)
            CROSS JOIN LATERAL (
                SELECT number FROM localnet_subscriber
                WHERE number = w.number AND incarnation = w.incarnation LIMIT 1) s),
         inside AS MATERIALIZED (
            SELECT s.place, s.address, s.number FROM sender s
            CROSS JOIN LATERAL (
                SELECT 1 FROM localnet_member WHERE address = s.address AND number = s.number LIMIT 1) m),
         receiver AS MATERIALIZED (
            SELECT number FROM localnet_subscriber WHERE number = ANY(ARRAY(
                SELECT m.number FROM (SELECT DISTINCT address FROM inside) i
                CROSS JOIN LATERAL (SELECT number FROM localnet_member WHERE address = i.address OFFSET 0) m))
            ORDER BY number FOR KEY SHARE),
         put AS (
            INSERT INTO localnet_stanza (recipient, sender, stanza)
            SELECT m.number, i.number, n.body
            FROM unnest($4::bigint[], $5::jsonb[]) WITH ORDINALITY AS n (place, body, position)
            JOIN inside i ON i.place = n.place
            CROSS JOIN LATERAL (
                SELECT number, position FROM localnet_member
                WHERE address = i.address AND number <> i.number OFFSET 0) m
            JOIN receiver r ON r.number = m.number
            ORDER BY n.position, m.position RETURNING recipient)
         SELECT ARRAY(SELECT place FROM sender) AS "current!", ARRAY(SELECT place FROM inside) AS "inside!",
                ARRAY(SELECT DISTINCT recipient FROM put) AS "recipients!""#,
        &numbers as &[&str],
        &incarnations as &[&str],
        &groups as &[&str],
        &indexes,
        &bodies
    )
    .fetch_one(&mut *tx.inner)
    .await?;
    for recipient in row.recipients {
        tx.notify_on_commit(mailbox_topic(&number_of(&recipient)?));
    }
    tx.commit().await?;
    let (current, inside): (HashSet<i64>, HashSet<i64>) =
        (row.current.into_iter().collect(), row.inside.into_iter().collect());
    Ok((1i64..)
        .zip(sends)
        .map(|(index, _)| match (current.contains(&index), inside.contains(&index)) {
            (_, true) => GroupDelivery::Delivered,
            (true, false) => GroupDelivery::NotInGroup,
            (false, false) => GroupDelivery::LoggedOut,
        })
        .collect())
}
