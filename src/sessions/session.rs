//! One account's session: connect, catch up, keep going, and come back.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Timeouts;
use super::backoff::Backoff;
use super::dispatch::{Dispatcher, bounded};
use super::ingest::{Stored, store_events};
use super::state::LeasedState;
use super::supervisor::LeaseClock;
use crate::clock;
use crate::db::DbError;
use crate::domain::{Lease, NeedsUser, SessionState, Typing};
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::store::{SessionAccount, Store, topic};
use crate::upstream::{Address, Connection, Connector, Credentials, End, Login, Opened, ResumePoint, Signal};

/// How soon desired state that the network did not take on a fresh connection is offered again.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Why a session waits when the network asked for it.
const RATE_LIMITED: &str = "rate_limited";

/// A request to show typing, as it travels between processes.
#[derive(Serialize, Deserialize)]
pub(super) struct TypingRequest {
    pub to: String,
    pub composing: bool,
}

/// Why a session stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Another process has the lease now.
    Fenced,
    /// The account is no longer registered, or gone.
    Gone,
}

/// What ends a connection, or the session.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection ended.
    End(End),
    /// The session is over.
    Over(Outcome),
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Fenced => Self::Over(Outcome::Fenced),
            DbError::Unavailable(_) => Self::End(End::Retry("database_unavailable")),
            DbError::Corrupt(_) | DbError::Refused(_) => {
                tracing::error!(error = crate::telemetry::chain(&error), "a session's query failed");
                Self::End(End::Retry("internal"))
            }
        }
    }
}

/// All that a session owns.
pub(super) struct Session {
    pub store: Store,
    pub connector: Arc<dyn Connector>,
    pub keys: MasterKey,
    pub patience: Timeouts,
    pub lease: Lease,
    pub clock: LeaseClock,
    pub starting: Arc<Semaphore>,
    pub media: Media,
    /// Permits for the files that this process fetches at one time.
    pub fetching: Arc<Semaphore>,
    /// The open connection. While there is one its dispatcher lets messages expire, so that none does while it is sent.
    pub connection: watch::Sender<Option<Arc<dyn Connection>>>,
    /// True while the number leaves its network: that the network then ends the connection is no news.
    pub leaving: watch::Sender<bool>,
}

impl Session {
    /// Runs until the lease is lost or the account is gone. After `panics` it begins with a pause.
    pub async fn run(&self, panics: u32) -> Outcome {
        // A panic may have come in the middle of leaving.
        self.leaving.send_replace(false);
        tokio::select! {
            outcome = self.live(panics) => outcome,
            outcome = self.attend() => outcome,
        }
    }

    /// Connects again and again.
    async fn live(&self, panics: u32) -> Outcome {
        let mut backoff = Backoff::after(panics.saturating_sub(1));
        let begun =
            if panics > 0 { self.pause(&mut backoff, "internal").await } else { self.take_over().await };
        if let Err(outcome) = begun {
            return outcome;
        }
        loop {
            let end = match self.connect(&mut backoff).await {
                Fault::End(end) => end,
                Fault::Over(outcome) => return outcome,
            };
            // The sender lives as long as this session, so the wait ends by a value.
            let _ = self.leaving.subscribe().wait_for(|leaving| !leaving).await;
            let rested = match end {
                End::Retry(reason) => self.pause(&mut backoff, reason).await,
                End::RateLimited(until) => self.wait_until(until, backoff.attempt(), RATE_LIMITED).await,
                End::NeedsUser(why) => self.rest(SessionState::NeedsUser(why), None).await,
                End::Never(reason) => self.rest(SessionState::Stopped, Some(reason)).await,
            };
            if let Err(outcome) = rested {
                return outcome;
            }
        }
    }

    /// Begins where the account's last session stopped, here or in another process: what the network told that one
    /// still holds.
    async fn take_over(&self) -> Result<(), Outcome> {
        let session = match self.store.session_account(&self.lease).await {
            Ok(Some(account)) => account.session,
            Ok(None) => return Err(Outcome::Gone),
            // Connecting meets the same error, and waits it out.
            Err(_) => return Ok(()),
        };
        match session.state {
            SessionState::NeedsUser(NeedsUser::Banned(Some(until))) if until <= clock::now() => Ok(()),
            SessionState::NeedsUser(_) => self.rest_on().await,
            SessionState::Waiting { until, .. } if session.reason.as_deref() == Some(RATE_LIMITED) => {
                sleep((until - clock::now()).to_std().unwrap_or_default()).await;
                Ok(())
            }
            SessionState::Starting => Ok(()),
            SessionState::Connecting
            | SessionState::CatchingUp
            | SessionState::Online
            | SessionState::Waiting { .. }
            | SessionState::Stopped => self.publish_or_go(SessionState::Starting, None).await,
        }
    }

    /// One life of a connection.
    async fn connect(&self, backoff: &mut Backoff) -> Fault {
        match self.connect_inner(backoff).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn connect_inner(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let permit = self.starting.clone().acquire_owned().await.map_err(|_| Fault::Over(Outcome::Fenced))?;
        let account = self.store.session_account(&self.lease).await?.ok_or(Fault::Over(Outcome::Gone))?;
        self.publish(SessionState::Connecting, None).await?;
        let login = self.login(&account)?;
        let state = Arc::new(LeasedState { store: self.store.clone(), lease: self.lease });
        let opened = timeout(self.patience.connect, self.connector.open(login, state))
            .await
            .map_err(|_| Fault::End(End::Retry("connect_timeout")))?
            .map_err(Fault::End)?;
        self.publish(SessionState::CatchingUp, None).await?;
        self.converse(opened, permit, backoff).await
    }

    /// Runs an open connection: what comes in, what goes out and typing go on side by side.
    async fn converse(
        &self,
        opened: Opened,
        permit: OwnedSemaphorePermit,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Fault> {
        let Opened { connection, signals } = opened;
        self.connection.send_replace(Some(connection.clone()));
        let _disconnected = Disconnected(&self.connection);
        tokio::select! {
            result = self.take_in(&connection, signals, permit, backoff) => result,
            result = self.send_out(&connection) => result,
            result = self.show_typing(&connection) => result,
            result = self.fetch_files(&connection) => result,
            result = self.fetch_photos(&connection) => result,
        }
    }

    async fn take_in(
        &self,
        connection: &Arc<dyn Connection>,
        mut signals: mpsc::Receiver<Signal>,
        permit: OwnedSemaphorePermit,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Fault> {
        // Held while it catches up, but not for ever: one stuck account must not keep others from starting.
        let (mut permit, opened) = (Some(permit), Instant::now());
        let mut online_since = None;
        loop {
            let signal = timeout(self.patience.silence, signals.recv())
                .await
                .map_err(|_| Fault::End(End::Retry("network_silent")))?
                .ok_or(Fault::End(End::Retry("disconnected")))?;
            if !self.clock.is_valid() {
                return Err(Fault::Over(Outcome::Fenced));
            }
            match signal {
                Signal::Events(events) => {
                    let stored = store_events(&self.store, &self.connector, &self.lease, events).await?;
                    self.acknowledge(connection, &stored).await?;
                }
                Signal::CaughtUp => {
                    drop(permit.take());
                    online_since = Some(Instant::now());
                    self.publish(SessionState::Online, None).await?;
                }
                Signal::Alive => {}
                Signal::End(end) => return Err(Fault::End(end)),
            }
            if online_since.is_some_and(|since| since.elapsed() > self.patience.stable) {
                backoff.reset();
            }
            drop(permit.take_if(|_| opened.elapsed() > self.patience.connect));
        }
    }

    async fn acknowledge(&self, connection: &Arc<dyn Connection>, stored: &Stored) -> Result<(), Fault> {
        let told = async {
            if !stored.kept.is_empty() {
                connection.acknowledge(&stored.kept).await?;
            }
            if !stored.dropped.is_empty() {
                connection.discard(&stored.dropped).await?;
            }
            Ok(())
        };
        bounded(self.patience.step, told).await?.map_err(|failure| {
            tracing::debug!(account = %self.lease.account, %failure, "not acknowledged");
            Fault::End(End::Retry("network_unreachable"))
        })
    }

    async fn send_out(&self, connection: &Arc<dyn Connection>) -> Result<std::convert::Infallible, Fault> {
        let mut work = self.store.notifications().subscribe(topic::work(self.lease.account));
        let dispatcher = Dispatcher {
            store: self.store.clone(),
            lease: self.lease,
            connection: connection.clone(),
            patience: self.patience.step,
        };
        let mut fresh = true;
        loop {
            // A process that was stopped for a while must not send under a lease that another one has by now.
            if !self.clock.is_valid() {
                return Err(Fault::Over(Outcome::Fenced));
            }
            fresh = dispatcher.work(fresh).await? && fresh;
            if fresh {
                // No row says that what was applied to the last connection is missing on this one.
                let _ = timeout(OFFER_AGAIN, work.woken()).await;
            } else {
                work.woken_on_beat().await;
            }
        }
    }

    async fn show_typing(&self, connection: &Arc<dyn Connection>) -> Result<std::convert::Infallible, Fault> {
        let mut hints = self.store.notifications().hints(topic::work(self.lease.account));
        loop {
            let hint = hints.next().await;
            let Ok(request) = serde_json::from_str::<TypingRequest>(&hint) else { continue };
            let typing = if request.composing { Typing::Composing } else { Typing::Paused };
            let to = Address(request.to);
            if let Err(failure) = bounded(self.patience.step, connection.typing(&to, typing)).await? {
                tracing::debug!(account = %self.lease.account, %failure, "typing was not shown");
            }
        }
    }

    fn login(&self, account: &SessionAccount) -> Result<Login, Fault> {
        let sealed = account.credentials.as_deref().unwrap_or_default();
        let opened = self.keys.open("credentials", account.number.as_str().as_bytes(), sealed);
        let credentials = opened.map_err(|error| {
            tracing::error!(account = %self.lease.account, %error, "the network's login is lost");
            Fault::End(End::NeedsUser(NeedsUser::LoggedOut))
        })?;
        Ok(Login {
            number: account.number.clone(),
            credentials: Credentials(credentials),
            resume_point: account.resume_point.clone().map(ResumePoint),
        })
    }

    /// Waits out a failure.
    async fn pause(&self, backoff: &mut Backoff, reason: &str) -> Result<(), Outcome> {
        let pause = backoff.next();
        self.wait_until(clock::now() + pause, backoff.attempt(), reason).await
    }

    async fn wait_until(
        &self,
        until: chrono::DateTime<chrono::Utc>,
        attempt: u32,
        reason: &str,
    ) -> Result<(), Outcome> {
        tracing::info!(account = %self.lease.account, attempt, reason, "waiting to connect again");
        self.publish_or_go(SessionState::Waiting { attempt, until }, Some(reason)).await?;
        let pause = (until - clock::now()).to_std().unwrap_or_default();
        sleep(pause).await;
        Ok(())
    }

    async fn rest(&self, state: SessionState, reason: Option<&str>) -> Result<(), Outcome> {
        tracing::warn!(account = %self.lease.account, state = state.name(), reason, "the session rests");
        self.publish_or_go(state, reason).await?;
        self.rest_on().await
    }

    /// Rests until the lease is taken away: a new registration does that.
    async fn rest_on(&self) -> Result<(), Outcome> {
        let mut work = self.store.notifications().subscribe(topic::commands(self.lease.account));
        loop {
            if let Ok(None) = self.store.session_account(&self.lease).await {
                return Err(Outcome::Gone);
            }
            work.woken().await;
        }
    }

    async fn publish_or_go(&self, state: SessionState, reason: Option<&str>) -> Result<(), Outcome> {
        match self.publish(state, reason).await {
            Err(Fault::Over(outcome)) => Err(outcome),
            // What cannot be published now shows with the next change.
            Ok(()) | Err(Fault::End(_)) => Ok(()),
        }
    }

    async fn publish(&self, state: SessionState, reason: Option<&str>) -> Result<(), Fault> {
        tracing::debug!(account = %self.lease.account, state = state.name(), reason, "session");
        Ok(self.store.publish_session(&self.lease, state, reason).await?)
    }
}

/// Notes the end of a connection, however it comes.
struct Disconnected<'a>(&'a watch::Sender<Option<Arc<dyn Connection>>>);

impl Drop for Disconnected<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}
