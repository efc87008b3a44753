//! A full outbox.

use crate::support::people::Person;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_outbox_refuses_only_its_own_account() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "first").await;
    // Simulates a network that has accepted nothing for long: all messages are retried in an hour.
    server.database().sql(&format!(
        "WITH filled AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT h.account_id, h.id, 'f' || n, 'queued', 't', 'text', '', now()
            FROM account a JOIN chat h ON h.account_id = a.id, generate_series(1, 10000) n
            WHERE a.number = '{}' RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, retry_at, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 hour', now() + interval '1 day' FROM filled",
        anna.number
    ));
    for _ in 0..3 {
        let refused = anna.tries_to_send(&bert.number, "one too many").await;
        assert_eq!(refused.header("retry-after"), "30");
        refused.refused(503, "outbox_full");
        bert.delivers(&anna, "goes").await;
    }
    server.database().sql("DELETE FROM outbox WHERE message_id = (SELECT max(message_id) FROM outbox)");
    anna.sends(&bert, "the last").await;
    anna.tries_to_send(&bert.number, "one too many").await.refused(503, "outbox_full");
}
