//! Periodic jobs that delete expired rows and unreferenced files, in small batches, with jitter; and [`slices`].

mod slices;

use std::time::Duration;

use crate::config::RetentionSettings;
use crate::db::DbError;
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::secrets;
use crate::store::Store;
use crate::telemetry::chain;

/// The interval of the jobs, plus or minus a quarter, so that several processes do not run them together.
const PERIOD: Duration = Duration::from_mins(1);
/// Rows deleted in one statement.
const BATCH: i64 = 1_000;
/// Stored files that are examined in one run; the next run continues behind them, and after the last at the start.
const FILES: i64 = 10_000;

/// Chats that are examined for old messages in one run, as the files.
const CHATS: i64 = 10_000;

/// Users whose events are examined in one run, as the files.
const SEQUENCES: i64 = 1_000;

/// The time for which attempts of webhooks are listed.
const ATTEMPTS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Starts the jobs as tasks of the lifecycle.
pub fn start(store: &Store, media: &Media, retention: RetentionSettings, lifecycle: &Lifecycle) {
    slices::start(store, lifecycle);
    let (store, media, soft) = (store.clone(), media.clone(), lifecycle.soft().clone());
    lifecycle.spawn(async move {
        let (mut files, mut chats, mut sequences) = (None, None, None);
        loop {
            let quarter = u64::try_from(PERIOD.as_millis() / 4).unwrap_or(u64::MAX);
            let pause = PERIOD * 3 / 4 + Duration::from_millis(secrets::random_below(2 * quarter));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = soft.cancelled() => return,
            }
            let jobs = async {
                if let Err(error) = prune(&store, retention).await {
                    tracing::warn!(
                        error = chain(&error),
                        "expired rows could not be deleted; trying again in a minute"
                    );
                }
                match store.prune_events(retention.events, sequences, SEQUENCES).await {
                    Ok(last) => sequences = last,
                    Err(error) => {
                        tracing::warn!(
                            error = chain(&error),
                            "old events could not be deleted; trying again in a minute"
                        );
                    }
                }
                if let Some(retention) = retention.messages {
                    match store.prune_messages(retention, chats, CHATS).await {
                        Ok(last) => chats = last,
                        Err(error) => {
                            tracing::warn!(
                                error = chain(&error),
                                "old messages could not be deleted; trying again in a minute"
                            );
                        }
                    }
                }
                match media.delete_unreferenced(files, FILES).await {
                    Ok(last) => files = last,
                    Err(error) => {
                        tracing::warn!(
                            error = chain(&error),
                            "unreferenced files could not be deleted; trying again in a minute"
                        );
                    }
                }
            };
            tokio::select! {
                () = jobs => {}
                () = soft.cancelled() => return,
            }
        }
    });
}

async fn prune(store: &Store, retention: RetentionSettings) -> Result<(), DbError> {
    store.prune_processes().await?;
    while store.prune_early_events(BATCH).await? > 0 {}
    while store.prune_commands(BATCH).await? > 0 {}
    while store.prune_keys(BATCH).await? > 0 {}
    while store.prune_reservations(BATCH).await? > 0 {}
    while store.prune_verification(BATCH).await? > 0 {}
    while store.prune_registrations(BATCH).await? > 0 {}
    while store.prune_tokens(BATCH).await? > 0 {}
    while store.prune_tickets(BATCH).await? > 0 {}
    while store.prune_logins(BATCH).await? > 0 {}
    while store.prune_attempts(ATTEMPTS_KEPT, BATCH).await? > 0 {}
    while store.prune_dead(retention.events, BATCH).await? > 0 {}
    while store.prune_acts(retention.acts, BATCH).await? > 0 {}
    if let Some(retention) = retention.media {
        let mut after = None;
        loop {
            after = store.prune_media(retention, after, BATCH).await?;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}
