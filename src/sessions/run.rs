//! The life of one account's session: it connects, waits or rests after each end, and connects again.

use tokio::time::sleep;

use super::backoff::Backoff;
use super::fault::{Fault, SessionEnd};
use super::session::Session;
use crate::clock;
use crate::domain::{NeedsUser, SessionState};
use crate::metrics::METRICS;
use crate::store::topic;
use crate::upstream::End;

/// The published reason of a session that waits because the network asked for it.
const RATE_LIMITED: &str = "rate_limited";

impl Session {
    /// Runs until the lease is lost or the account is removed. After `panics` it begins with a pause.
    pub(super) async fn run(&self, panics: u32) -> SessionEnd {
        // A panic may have come in the middle of unregistering.
        self.unregistering.send_replace(false);
        tokio::select! {
            end = self.stay_connected(panics) => end,
            end = self.answer_commands() => end,
        }
    }

    async fn stay_connected(&self, panics: u32) -> SessionEnd {
        let mut backoff = Backoff::after(panics.saturating_sub(1));
        let begun =
            if panics > 0 { self.back_off(&mut backoff, "internal").await } else { self.resume().await };
        if let Err(end) = begun {
            return end;
        }
        loop {
            let end = match self.connect(&mut backoff).await {
                Fault::Connection(end) => end,
                Fault::Session(end) => return end,
            };
            // The sender lives as long as this session, so the wait ends by a value.
            let _ = self.unregistering.subscribe().wait_for(|unregistering| !unregistering).await;
            let waited = match end {
                End::Retry(reason) => self.back_off(&mut backoff, reason).await,
                End::RateLimited(until) => self.wait_until(until, backoff.attempt(), RATE_LIMITED).await,
                End::NeedsUser(why) => self.stop(SessionState::NeedsUser(why), None).await,
                End::Never(reason) => self.stop(SessionState::Stopped, Some(reason)).await,
            };
            if let Err(end) = waited {
                return end;
            }
        }
    }

    /// Begins where the account's last session stopped, here or in another process: a ban or a rate limit that the
    /// network imposed on that one still holds.
    async fn resume(&self) -> Result<(), SessionEnd> {
        let session = match self.store.session_account(&self.lease).await {
            Ok(Some(account)) => account.session,
            Ok(None) => return Err(SessionEnd::Removed),
            // Connecting meets the same error, and waits it out.
            Err(_) => return Ok(()),
        };
        match session.state {
            SessionState::NeedsUser(NeedsUser::Banned(Some(until))) if until <= clock::now() => Ok(()),
            SessionState::NeedsUser(_) => self.wait_for_removal().await,
            SessionState::Waiting { until, .. } if session.reason.as_deref() == Some(RATE_LIMITED) => {
                sleep((until - clock::now()).to_std().unwrap_or_default()).await;
                Ok(())
            }
            SessionState::Starting => Ok(()),
            SessionState::Connecting
            | SessionState::CatchingUp
            | SessionState::Online
            | SessionState::Waiting { .. }
            | SessionState::Stopped => self.publish_if_possible(SessionState::Starting, None).await,
        }
    }

    /// Waits out a failure.
    async fn back_off(&self, backoff: &mut Backoff, reason: &'static str) -> Result<(), SessionEnd> {
        let pause = backoff.next();
        self.wait_until(clock::now() + pause, backoff.attempt(), reason).await
    }

    async fn wait_until(
        &self,
        until: chrono::DateTime<chrono::Utc>,
        attempt: u32,
        reason: &'static str,
    ) -> Result<(), SessionEnd> {
        METRICS.reconnect(self.connector.network(), reason);
        tracing::info!(account = %self.lease.account, attempt, reason, "waiting to connect again");
        self.publish_if_possible(SessionState::Waiting { attempt, until }, Some(reason)).await?;
        let pause = (until - clock::now()).to_std().unwrap_or_default();
        sleep(pause).await;
        Ok(())
    }

    async fn stop(&self, state: SessionState, reason: Option<&str>) -> Result<(), SessionEnd> {
        tracing::warn!(account = %self.lease.account, state = state.name(), reason, "the session stops connecting");
        self.publish_if_possible(state, reason).await?;
        self.wait_for_removal().await
    }

    /// Waits until the lease is taken away: a new registration does that.
    async fn wait_for_removal(&self) -> Result<(), SessionEnd> {
        let mut work = self.store.notifications().subscribe(topic::commands(self.lease.account));
        loop {
            if let Ok(None) = self.store.session_account(&self.lease).await {
                return Err(SessionEnd::Removed);
            }
            work.woken().await;
        }
    }

    /// Publishes the state; one that cannot be published now shows with the next change.
    async fn publish_if_possible(&self, state: SessionState, reason: Option<&str>) -> Result<(), SessionEnd> {
        match self.publish(state, reason).await {
            Err(Fault::Session(end)) => Err(end),
            Ok(()) | Err(Fault::Connection(_)) => Ok(()),
        }
    }
}
