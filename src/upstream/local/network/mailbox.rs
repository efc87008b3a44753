//! Batchers for the mailboxes.
//!
//! Each batch commits durably. Without that, a crash could give the id of a lost stanza to a new one, and a reader that
//! acknowledges the lost one would delete the new one.

use std::collections::HashSet;

use serde_json::Value;

use super::columns::number_of;
use super::{MAILBOX_BATCH, MAILBOX_LIMIT, NewStanza, SETTLE_TIME, StoredStanza, Subscriber, mailbox_topic};
use crate::db::batcher::{Batcher, at_position};
use crate::db::{Db, DbError};
use crate::domain::PhoneNumber;
use crate::upstream::local::stanza::Stanza;

pub(super) struct MailboxBatchers {
    pub full: Batcher<Vec<PhoneNumber>, Vec<bool>>,
    pub deliver: Batcher<DeliverRequest, Option<Vec<PhoneNumber>>>,
    pub read: Batcher<ReadRequest, Option<Vec<StoredStanza>>>,
    pub acknowledge: Batcher<AcknowledgeRequest, ()>,
}

/// The sender, and stanzas for any mailboxes.
type DeliverRequest = (Subscriber, Vec<NewStanza>);

/// The owner, the ids of the stanzas to delete, and the receipts for some of them.
type AcknowledgeRequest = (Subscriber, Vec<i64>, Vec<(i64, Stanza)>);

/// A read of the oldest stanzas.
pub(super) struct ReadRequest {
    pub owner: Subscriber,
    /// Only stanzas after this one.
    pub after: i64,
    /// Stanzas to leave out.
    pub without: Vec<i64>,
}

impl MailboxBatchers {
    pub fn new(db: &Db) -> Self {
        Self {
            full: Batcher::new(db, |db, requests| Box::pin(are_full(db, requests))),
            deliver: Batcher::new(db, |db, requests| Box::pin(deliver(db, requests))),
            read: Batcher::new(db, |db, requests| Box::pin(read(db, requests))),
            acknowledge: Batcher::new(db, |db, requests| Box::pin(acknowledge(db, requests))),
        }
    }
}

/// See [`super::LocalNet::full`]. A full mailbox takes 15 ms to count.
async fn are_full(db: &Db, requests: &[&Vec<PhoneNumber>]) -> Result<Vec<Vec<bool>>, DbError> {
    let numbers: Vec<&str> =
        requests.iter().flat_map(|numbers| numbers.iter()).map(PhoneNumber::as_str).collect();
    let (mut connection, checkout) = db.checkout().await?;
    let full = sqlx::query_scalar!(
        r#"SELECT n.number AS "number!" FROM unnest($1::text[]) AS n (number)
           WHERE EXISTS (SELECT 1 FROM localnet_stanza s WHERE s.recipient = n.number OFFSET $2 LIMIT 1)"#,
        &numbers as &[&str],
        MAILBOX_LIMIT - 1
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let full: HashSet<String> = full.into_iter().collect();
    let answer =
        |numbers: &&Vec<PhoneNumber>| numbers.iter().map(|number| full.contains(number.as_str())).collect();
    Ok(requests.iter().map(answer).collect())
}

/// See [`super::LocalNet::deliver`].
async fn deliver(db: &Db, requests: &[&DeliverRequest]) -> Result<Vec<Option<Vec<PhoneNumber>>>, DbError> {
    let (numbers, incarnations) = logins(requests.iter().map(|(from, _)| from));
    let (mut indexes, mut recipients) = (Vec::new(), Vec::new());
    let (mut bodies, mut personal) = (Vec::new(), Vec::new());
    for (index, (_, stanzas)) in (1i64..).zip(requests) {
        for stanza in stanzas {
            indexes.push(index);
            recipients.push(stanza.recipient.as_str());
            bodies.push(stanza.stanza.to_json());
            personal.push(stanza.personal);
        }
    }
    let (mut connection, checkout) = db.checkout().await?;
    let row = sqlx::query!(
        r#"WITH sender AS (
            SELECT w.place, s.number FROM unnest($1::text[], $2::text[])
                   WITH ORDINALITY AS w (number, incarnation, place)
            JOIN localnet_subscriber s ON s.number = w.number AND s.incarnation = w.incarnation),
         receiver AS MATERIALIZED (
            SELECT number FROM localnet_subscriber WHERE number = ANY($4) ORDER BY number FOR KEY SHARE),
         put AS (
            INSERT INTO localnet_stanza (recipient, sender, stanza)
            SELECT r.number, sender.number, n.body
            FROM unnest($3::bigint[], $4::text[], $5::jsonb[], $6::boolean[])
                 WITH ORDINALITY AS n (place, recipient, body, personal, position)
            JOIN sender ON sender.place = n.place JOIN receiver r ON r.number = n.recipient
            WHERE NOT n.personal OR NOT EXISTS (
                SELECT 1 FROM localnet_block b WHERE b.owner = r.number AND b.blocked = sender.number)
            ORDER BY n.position)
         SELECT ARRAY(SELECT place FROM sender) AS "places!",
                ARRAY(SELECT number FROM receiver) AS "known!""#,
        &numbers,
        &incarnations,
        &indexes,
        &recipients as &[&str],
        &bodies,
        &personal
    )
    .fetch_one(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let current: HashSet<i64> = row.places.into_iter().collect();
    let known: HashSet<String> = row.known.into_iter().collect();
    let mut woken = HashSet::new();
    Ok((1i64..)
        .zip(requests)
        .map(|(index, (_, stanzas))| {
            if !current.contains(&index) {
                return None;
            }
            let reached: HashSet<&PhoneNumber> = stanzas
                .iter()
                .map(|stanza| &stanza.recipient)
                .filter(|to| known.contains(to.as_str()))
                .collect();
            for recipient in &reached {
                if woken.insert(PhoneNumber::clone(recipient)) {
                    db.notifications().wake(mailbox_topic(recipient));
                }
            }
            Some(reached.into_iter().cloned().collect())
        })
        .collect())
}

/// See [`super::LocalNet::mailbox`].
async fn read(db: &Db, requests: &[&ReadRequest]) -> Result<Vec<Option<Vec<StoredStanza>>>, DbError> {
    let (numbers, incarnations) = logins(requests.iter().map(|request| &request.owner));
    let after: Vec<i64> = requests.iter().map(|request| request.after).collect();
    // No two stanzas share an id, so one list serves all mailboxes.
    let without: Vec<i64> = requests.iter().flat_map(|request| &request.without).copied().collect();
    let (mut connection, checkout) = db.checkout().await?;
    let rows = sqlx::query!(
        r#"SELECT w.place AS "place!", n.id AS "id?", n.sender AS "sender?", n.stanza AS "stanza?",
                  n.sent_at AS "sent_at?",
                  n.sent_at < clock_timestamp() - make_interval(secs => $6) AS "is_settled?"
           FROM unnest($1::text[], $2::text[], $3::bigint[])
                WITH ORDINALITY AS w (number, incarnation, after, place)
           JOIN localnet_subscriber s ON s.number = w.number AND s.incarnation = w.incarnation
           LEFT JOIN LATERAL (
               SELECT * FROM localnet_stanza n
               WHERE n.recipient = s.number AND n.id > w.after AND n.id NOT IN (SELECT unnest($4::bigint[]))
               ORDER BY n.id LIMIT $5) n ON true
           ORDER BY w.place, n.id"#,
        &numbers,
        &incarnations,
        &after,
        &without,
        MAILBOX_BATCH,
        SETTLE_TIME.as_secs_f64()
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<Option<Vec<StoredStanza>>> = requests.iter().map(|_| None).collect();
    for row in rows {
        let Some(answer) = at_position(&mut answers, row.place) else { continue };
        let stanzas = answer.get_or_insert_default();
        let (Some(id), Some(sender), Some(body), Some(sent_at), Some(is_settled)) =
            (row.id, row.sender, row.stanza, row.sent_at, row.is_settled)
        else {
            continue;
        };
        stanzas.push(StoredStanza { id, sender, body, sent_at, is_settled });
    }
    Ok(answers)
}

/// See [`super::LocalNet::acknowledge`].
async fn acknowledge(db: &Db, requests: &[&AcknowledgeRequest]) -> Result<Vec<()>, DbError> {
    // The login once for each stanza: a join of two lists of parameters may take all pairs of them.
    let (numbers, incarnations) =
        logins(requests.iter().flat_map(|(subscriber, ids, _)| ids.iter().map(move |_| subscriber)));
    let ids: Vec<i64> = requests.iter().flat_map(|(_, ids, _)| ids).copied().collect();
    let receipts = requests.iter().flat_map(|(.., receipts)| receipts);
    let (answered, bodies): (Vec<i64>, Vec<Value>) =
        receipts.map(|(id, stanza)| (*id, stanza.to_json())).unzip();
    let (mut connection, checkout) = db.checkout().await?;
    let senders = sqlx::query_scalar!(
        "WITH removed AS (
            DELETE FROM localnet_stanza WHERE ctid = ANY(ARRAY(
                SELECT n.ctid FROM unnest($1::text[], $2::text[], $3::bigint[]) AS w (number, incarnation, id)
                CROSS JOIN LATERAL (
                    SELECT number FROM localnet_subscriber
                    WHERE number = w.number AND incarnation = w.incarnation LIMIT 1) s
                CROSS JOIN LATERAL (
                    SELECT ctid FROM localnet_stanza WHERE recipient = s.number AND id = w.id LIMIT 1) n))
            RETURNING id, sender, recipient
         ), author AS MATERIALIZED (
            SELECT number FROM localnet_subscriber WHERE number = ANY(ARRAY(SELECT sender FROM removed))
            ORDER BY number FOR KEY SHARE)
         INSERT INTO localnet_stanza (recipient, sender, stanza)
         SELECT a.number, m.recipient, r.body FROM unnest($4::bigint[], $5::jsonb[]) AS r (id, body)
         JOIN removed m ON m.id = r.id JOIN author a ON a.number = m.sender
         ORDER BY r.id RETURNING recipient",
        &numbers,
        &incarnations,
        &ids,
        &answered,
        &bodies
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    for sender in senders.into_iter().collect::<HashSet<_>>() {
        db.notifications().wake(mailbox_topic(&number_of(&sender)?));
    }
    Ok(vec![(); requests.len()])
}

fn logins<'a>(subscribers: impl Iterator<Item = &'a Subscriber>) -> (Vec<String>, Vec<String>) {
    subscribers.map(|login| (login.number.to_string(), login.incarnation.clone())).unzip()
}
