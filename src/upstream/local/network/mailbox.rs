//! What every connection of the local network does all the time, each a line of calls that share a query.
//!
//! All of it waits for the disk. Committed without that, a stanza that a crash has lost gives its id to a new one, and
//! whoever had read the lost one would take the new one out of the mailbox for it.

use std::collections::HashSet;

use serde_json::Value;

use super::{MAILBOX_BATCH, MAILBOX_LIMIT, NewStanza, Stanza, Subscriber};
use crate::db::batcher::{Batcher, at_place};
use crate::db::{Db, DbError};
use crate::domain::PhoneNumber;
use crate::upstream::local::network::columns::number_of;
use crate::upstream::local::network::mailbox_topic;

/// The lines.
pub(super) struct Lines {
    pub full: Batcher<Vec<PhoneNumber>, Vec<bool>>,
    pub deliver: Batcher<Delivery, Option<Vec<PhoneNumber>>>,
    pub mailbox: Batcher<(Subscriber, Vec<i64>), Option<Vec<Stanza>>>,
    pub acknowledge: Batcher<Acknowledged, ()>,
}

/// The sender and what it puts into mailboxes.
type Delivery = (Subscriber, Vec<NewStanza>);
/// Whose mailbox, what to take out of it, and the receipts for some of it.
type Acknowledged = (Subscriber, Vec<i64>, Vec<(i64, Value)>);

impl Lines {
    pub fn new(db: &Db) -> Self {
        Self {
            full: Batcher::new(db, |db, mailboxes| Box::pin(are_full(db, mailboxes))),
            deliver: Batcher::new(db, |db, deliveries| Box::pin(deliver(db, deliveries))),
            mailbox: Batcher::new(db, |db, mailboxes| Box::pin(mailboxes_of(db, mailboxes))),
            acknowledge: Batcher::new(db, |db, acknowledged| Box::pin(acknowledge(db, acknowledged))),
        }
    }
}

/// Many calls for [`LocalNet::full`] as one query. It reads the mailboxes: 15 ms for one that is full.
async fn are_full(db: &Db, mailboxes: &[&Vec<PhoneNumber>]) -> Result<Vec<Vec<bool>>, DbError> {
    let numbers: Vec<&str> =
        mailboxes.iter().flat_map(|numbers| numbers.iter()).map(PhoneNumber::as_str).collect();
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
    Ok(mailboxes.iter().map(answer).collect())
}

/// Many calls of [`LocalNet::deliver`] as one statement.
async fn deliver(db: &Db, deliveries: &[&Delivery]) -> Result<Vec<Option<Vec<PhoneNumber>>>, DbError> {
    let (numbers, incarnations) = logins(deliveries.iter().map(|(from, _)| from));
    let (mut places, mut recipients) = (Vec::new(), Vec::new());
    let (mut bodies, mut personal) = (Vec::new(), Vec::new());
    for (place, (_, stanzas)) in (1i64..).zip(deliveries) {
        for stanza in stanzas {
            places.push(place);
            recipients.push(stanza.recipient.as_str());
            bodies.push(stanza.body.clone());
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
        &places,
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
        .zip(deliveries)
        .map(|(place, (_, stanzas))| {
            if !current.contains(&place) {
                return None;
            }
            let taken: HashSet<&PhoneNumber> = stanzas
                .iter()
                .map(|stanza| &stanza.recipient)
                .filter(|to| known.contains(to.as_str()))
                .collect();
            for recipient in &taken {
                if woken.insert(PhoneNumber::clone(recipient)) {
                    db.notifications().wake(mailbox_topic(recipient));
                }
            }
            Some(taken.into_iter().cloned().collect())
        })
        .collect())
}

/// Many calls of [`LocalNet::mailbox`] as one query.
async fn mailboxes_of(
    db: &Db,
    mailboxes: &[&(Subscriber, Vec<i64>)],
) -> Result<Vec<Option<Vec<Stanza>>>, DbError> {
    let (numbers, incarnations) = logins(mailboxes.iter().map(|(subscriber, _)| subscriber));
    // Ids are no one mailbox's own, so one list will do for all.
    let handed_out: Vec<i64> = mailboxes.iter().flat_map(|(_, ids)| ids).copied().collect();
    let (mut connection, checkout) = db.checkout().await?;
    let rows = sqlx::query!(
        r#"SELECT w.place AS "place!", n.id AS "id?", n.sender AS "sender?", n.stanza AS "stanza?",
                  n.sent_at AS "sent_at?"
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (number, incarnation, place)
           JOIN localnet_subscriber s ON s.number = w.number AND s.incarnation = w.incarnation
           LEFT JOIN LATERAL (
               SELECT * FROM localnet_stanza n WHERE n.recipient = s.number AND NOT n.id = ANY($3)
               ORDER BY n.id LIMIT $4) n ON true
           ORDER BY w.place, n.id"#,
        &numbers,
        &incarnations,
        &handed_out,
        MAILBOX_BATCH
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<Option<Vec<Stanza>>> = mailboxes.iter().map(|_| None).collect();
    for row in rows {
        let Some(answer) = at_place(&mut answers, row.place) else { continue };
        let stanzas = answer.get_or_insert_default();
        let (Some(id), Some(sender), Some(body), Some(sent_at)) =
            (row.id, row.sender, row.stanza, row.sent_at)
        else {
            continue;
        };
        stanzas.push(Stanza { id, sender: number_of(&sender)?, body, sent_at });
    }
    Ok(answers)
}

/// Many calls of [`LocalNet::acknowledge`] as one statement.
async fn acknowledge(db: &Db, acknowledged: &[&Acknowledged]) -> Result<Vec<()>, DbError> {
    let (numbers, incarnations) = logins(acknowledged.iter().map(|(subscriber, ..)| subscriber));
    let (mut places, mut ids) = (Vec::new(), Vec::new());
    for (place, (_, of_one, _)) in (1i64..).zip(acknowledged) {
        places.extend(of_one.iter().map(|_| place));
        ids.extend(of_one);
    }
    let (answered, bodies): (Vec<i64>, Vec<Value>) =
        acknowledged.iter().flat_map(|(.., receipts)| receipts).cloned().unzip();
    let (mut connection, checkout) = db.checkout().await?;
    let senders = sqlx::query_scalar!(
        "WITH taken AS (
            DELETE FROM localnet_stanza WHERE ctid = ANY(ARRAY(
                SELECT n.ctid FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (number, incarnation, place)
                JOIN localnet_subscriber s ON s.number = w.number AND s.incarnation = w.incarnation
                JOIN unnest($3::bigint[], $4::bigint[]) AS i (place, id) ON i.place = w.place
                CROSS JOIN LATERAL (
                    SELECT ctid FROM localnet_stanza WHERE recipient = s.number AND id = i.id LIMIT 1) n))
            RETURNING id, sender, recipient
         ), author AS MATERIALIZED (
            SELECT number FROM localnet_subscriber WHERE number = ANY(ARRAY(SELECT sender FROM taken))
            ORDER BY number FOR KEY SHARE)
         INSERT INTO localnet_stanza (recipient, sender, stanza)
         SELECT a.number, t.recipient, r.body FROM unnest($5::bigint[], $6::jsonb[]) AS r (id, body)
         JOIN taken t ON t.id = r.id JOIN author a ON a.number = t.sender
         ORDER BY r.id RETURNING recipient",
        &numbers,
        &incarnations,
        &places,
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
    Ok(vec![(); acknowledged.len()])
}

fn logins<'a>(subscribers: impl Iterator<Item = &'a Subscriber>) -> (Vec<String>, Vec<String>) {
    subscribers.map(|login| (login.number.to_string(), login.incarnation.clone())).unzip()
}
