//! What became of messages that were due, in one transaction.

use std::collections::HashMap;

use super::locks::Locked;
use crate::domain::{Event, Lease, MessageId};
use crate::store::{Settlement, StoreError, Tx};

/// What became of one.
pub(super) struct Settled {
    lease: Lease,
    message: MessageId,
    how: Settlement,
}

impl Settled {
    pub fn new(lease: &Lease, message: MessageId, how: Settlement) -> Self {
        Self { lease: *lease, message, how }
    }
}

impl Tx {
    /// Takes those that are done out of the outbox; the others are tried again later.
    pub(super) async fn store_settled(
        &mut self,
        settled: &[Settled],
        locked: &mut Locked,
    ) -> Result<(), StoreError> {
        let mut done: HashMap<i64, &Settled> = HashMap::new();
        let (mut later, mut seconds) = ((Vec::new(), Vec::new()), Vec::new());
        for settled in settled {
            if let Settlement::Later(pause) = settled.how {
                later.0.push(settled.lease.account.0);
                later.1.push(settled.message.0);
                seconds.push(pause.as_secs_f64());
            } else {
                done.insert(settled.message.0, settled);
            }
        }
        self.store_done(&done, locked).await?;
        if !seconds.is_empty() {
            sqlx::query!(
                "UPDATE outbox o SET attempts = attempts + 1,
                        retry_at = clock_timestamp() + make_interval(secs => l.seconds)
                 FROM unnest($1::bigint[], $2::bigint[], $3::float8[]) AS l (account_id, message_id, seconds)
                 WHERE o.message_id = l.message_id AND o.account_id = l.account_id",
                &later.0,
                &later.1,
                &seconds
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }

    async fn store_done(
        &mut self,
        done: &HashMap<i64, &Settled>,
        locked: &mut Locked,
    ) -> Result<(), StoreError> {
        if done.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = done.values().map(|settled| settled.lease.account.0).collect();
        let messages: Vec<i64> = done.keys().copied().collect();
        let (failed, reasons): (Vec<i64>, Vec<&str>) = done
            .values()
            .filter_map(|settled| match settled.how {
                Settlement::Failed(reason) => Some((settled.message.0, reason.name())),
                Settlement::Sent | Settlement::Later(_) => None,
            })
            .unzip();
        let rows = sqlx::query!(
            r#"WITH gone AS (
                DELETE FROM outbox WHERE message_id = ANY($1) AND account_id = ANY($2) RETURNING message_id
             ), changed AS (
                UPDATE message m SET state = CASE WHEN f.reason IS NULL THEN 'sent' ELSE 'failed' END,
                       failure = f.reason, sent_at = CASE WHEN f.reason IS NULL THEN clock_timestamp() END
                FROM gone g LEFT JOIN unnest($3::bigint[], $4::text[]) AS f (id, reason) ON f.id = g.message_id
                WHERE m.id = g.message_id RETURNING m.id, m.chat_id, m.network_id)
             SELECT c.id, c.network_id, p.public_id FROM changed c
             JOIN chat h ON h.id = c.chat_id JOIN peer p ON p.id = h.peer_id ORDER BY c.id"#,
            &messages,
            &accounts,
            &failed,
            &reasons as &[&str]
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for row in rows {
            let Some(settled) = done.get(&row.id) else { continue };
            let Some(journal) = locked.journal(settled.lease.counter) else { continue };
            journal.record(match settled.how {
                Settlement::Failed(reason) => {
                    Event::MessageFailed { chat: row.public_id, id: row.network_id, reason }
                }
                Settlement::Sent | Settlement::Later(_) => {
                    Event::MessageSent { chat: row.public_id, id: row.network_id }
                }
            });
        }
        Ok(())
    }
}
