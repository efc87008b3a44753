//! What `windu check` says of webhooks that their owners should look at. Its status does not depend on them.

use serde_json::json;
use tokio::task::block_in_place;

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::receiver::{Answer, Receiver};
use crate::support::server::Server;

fn check(server: &Server) -> String {
    block_in_place(|| server.run(&["check"], ""))
}

/// The line about a webhook, if there is one.
fn line_of(report: &str, hook: &Hook) -> Option<String> {
    let beginning = format!("note    webhook {}: of ", hook.id);
    report.lines().find_map(|line| line.strip_prefix(&beginning)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_fail_for_long_are_slow_or_disabled_are_named() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    assert!(check(&server).contains("ok      webhooks: none; 0 events wait, the oldest for 0 s\n"));
    let settings = json!({"url": receiver.url("/hook"), "types": "message.queued"});
    let failing = Hook::with(&server, &owner, settings.clone()).await;
    receiver.answers(|_| Answer::Status(503));
    owner.sends(0, 1, "while it is away").await;
    failing.waits_for("it fails", |hook| hook["state"] == "failing" && hook["waiting"] == 1).await;
    // For a moment only: there is nothing to do yet.
    let report = check(&server);
    assert!(
        report.contains("ok      webhooks: 1 failing; ") && line_of(&report, &failing).is_none(),
        "{report}"
    );

    let (hanging, gone) = (Receiver::start().await, Hook::with(&server, &owner, settings.clone()).await);
    let paused = Hook::with(&server, &owner, json!({"url": receiver.url("/hook"), "active": false})).await;
    // With another version: its worker must not store what it knew before.
    failing
        .after_sql(&format!(
            "UPDATE webhook SET failing_since = failing_since - interval '2 hours', version = version + 1
             WHERE public_id = '{}'",
            failing.id
        ))
        .await;
    gone.after_sql(&format!(
        "UPDATE webhook SET active = false, disabled = 'gone', since = now() - interval '3 hours' WHERE public_id = '{}'",
        gone.id
    ))
    .await;
    hanging.answers(|_| Answer::Hang);
    let slow =
        Hook::with(&server, &owner, json!({"url": hanging.url("/hook"), "types": "message.queued"})).await;
    owner.sends(0, 1, "it takes its time").await;
    hanging.waits_for("a request", 1, |_| true).await;
    let age = "UPDATE event_span SET numbered_at = numbered_at - interval '4 hours'";
    block_in_place(|| server.database().sql(age));
    let report = check(&server);
    let failing = line_of(&report, &failing).expect("a line");
    assert!(failing.contains(": fails for 72") && failing.contains(" s (status); "), "{failing}");
    let gone = line_of(&report, &gone).expect("a line");
    assert!(gone.contains(": disabled by the server for 108") && gone.contains(" s (gone); "), "{gone}");
    let slow = line_of(&report, &slow).expect("a line");
    assert!(
        slow.contains(": its receiver is slower ") && slow.contains(" wait, the oldest for 144"),
        "{slow}"
    );
    assert_eq!(line_of(&report, &paused), None);
    assert!(report.contains("ok      webhooks: 1 disabled, ") && report.contains(", 1 paused; "), "{report}");
    assert!(!report.contains("FAILED") && !report.contains("/hook"), "{report}");
}
