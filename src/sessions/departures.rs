//! What could not leave its network at once is tried again: accounts whose numbers were taken over, and logins that this
//! server does not use any more.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{sleep, timeout};

use super::Sessions;
use super::registration::Leaving;
use crate::clock;
use crate::db::DbError;
use crate::lifecycle::Lifecycle;
use crate::store::Departure;
use crate::telemetry::chain;
use crate::upstream::Failure;

/// The interval in which departures are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// For a network's answer. It is below the time for which a departure is held.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// A departure is given up after this time.
const GIVEN_UP: TimeDelta = TimeDelta::days(7);

/// Starts the work as a task of the lifecycle.
pub(super) fn start(sessions: Sessions, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn(async move {
        let work = async {
            loop {
                if let Err(error) = run(&sessions).await {
                    tracing::warn!(error = chain(&error), "departures are not tried again for now");
                }
                sleep(LOOK).await;
            }
        };
        soft.run_until_cancelled(work).await;
    });
}

/// Tries all that are due.
async fn run(sessions: &Sessions) -> Result<(), DbError> {
    let networks = sessions.connectors.names();
    while let Some(departure) = sessions.store.take_departure(&networks).await? {
        let (id, account, noted_at) = (departure.id, departure.account, departure.noted_at);
        let left = timeout(ANSWER_TIMEOUT, leave(sessions, departure)).await;
        match left.unwrap_or(Err(Failure::OutcomeUnknown)) {
            Ok(()) => {
                tracing::info!(%account, "an account or a login has left its network");
                sessions.store.forget_departure(id).await?;
            }
            Err(failure) if clock::now() - noted_at > GIVEN_UP => {
                tracing::error!(%account, %failure, "an account or a login does not leave its network: given up");
                sessions.store.forget_departure(id).await?;
            }
            Err(failure) => {
                tracing::debug!(%account, %failure, "an account or a login does not leave its network yet");
                sessions.store.release_departure(id).await?;
            }
        }
    }
    Ok(())
}

async fn leave(sessions: &Sessions, departure: Departure) -> Result<(), Failure> {
    let Departure { network, number, account, login, .. } = departure;
    // Only networks of this program were asked for.
    let network = sessions.connectors.get(&network).ok_or(Failure::Retry("network_unavailable"))?;
    sessions.try_to_leave(Leaving { network, account, number: &number, login }).await
}
