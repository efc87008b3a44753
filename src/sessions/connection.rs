//! One life of a connection: it opens, catches up, stores what comes in and sends what goes out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::adapter_state::LeasedState;
use super::backoff::Backoff;
use super::dispatch::Dispatcher;
use super::fault::{Fault, SessionEnd};
use super::fetch::Fetcher;
use super::ingest::{Stored, store_events};
use super::live;
use super::message_files::MessageFiles;
use super::peer_photos::PeerPhotos;
use super::session::Session;
use super::timeouts::bounded;
use crate::domain::{NeedsUser, SessionState};
use crate::metrics::{Direction, METRICS};
use crate::store::{SessionAccount, topic};
use crate::upstream::{Connection, Credentials, End, Incoming, Login, Opened, ResumePoint, Signal};

/// The pause before desired state is offered again that the network did not take on a fresh connection.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

impl Session {
    /// Connects, and runs the connection until it ends. `backoff` begins anew once the connection is stable.
    pub(super) async fn connect(&self, backoff: &mut Backoff) -> Fault {
        match self.open_and_run(backoff).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn open_and_run(&self, backoff: &mut Backoff) -> Result<Infallible, Fault> {
        let permit =
            self.starting.clone().acquire_owned().await.map_err(|_| Fault::Session(SessionEnd::Fenced))?;
        let account =
            self.store.session_account(&self.lease).await?.ok_or(Fault::Session(SessionEnd::Removed))?;
        self.publish(SessionState::Connecting, None).await?;
        let login = self.login(&account)?;
        let state = Arc::new(LeasedState::new(self.store.clone(), self.lease, self.keys.clone()));
        let opened = timeout(self.timeouts.connect, self.connector.open(login, state))
            .await
            .map_err(|_| Fault::retry("connect_timeout"))?
            .map_err(Fault::Connection)?;
        self.publish(SessionState::CatchingUp, None).await?;
        self.run_connection(opened, permit, backoff).await
    }

    /// Runs an open connection: everything that a session does with one goes on concurrently.
    async fn run_connection(
        &self,
        opened: Opened,
        permit: OwnedSemaphorePermit,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Fault> {
        let Opened { connection, signals } = opened;
        self.connection.send_replace(Some(connection.clone()));
        let _reset = ResetOnDrop(&self.connection);
        let fetcher = Fetcher { session: self, connection: &connection };
        let (store, lease) = (&self.store, &self.lease);
        tokio::select! {
            result = self.receive(&connection, signals, permit, backoff) => result,
            result = self.send_due(&connection) => result,
            result = self.show_typing(&connection) => result,
            result = self.apply_early_events() => result,
            result = fetcher.run(MessageFiles { store, lease }) => result,
            result = fetcher.run(PeerPhotos { store, lease }) => result,
        }
    }

    /// Stores what the connection reports and acknowledges it.
    async fn receive(
        &self,
        connection: &Arc<dyn Connection>,
        mut signals: mpsc::Receiver<Signal>,
        permit: OwnedSemaphorePermit,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Fault> {
        // Held while it catches up, but not for ever: one stuck account must not keep others from starting.
        let (mut permit, opened) = (Some(permit), Instant::now());
        let mut online_since = None;
        loop {
            let signal = timeout(self.timeouts.silence, signals.recv())
                .await
                .map_err(|_| Fault::retry("network_silent"))?
                .ok_or(Fault::retry("disconnected"))?;
            if !self.clock.is_valid() {
                return Err(Fault::Session(SessionEnd::Fenced));
            }
            match signal {
                Signal::Events(events) => Box::pin(self.take_events(connection, events)).await?,
                Signal::CaughtUp(resume_point) => {
                    if let Some(point) = resume_point {
                        self.store.ingest(&self.lease, Vec::new(), Some(&point.0)).await?;
                    }
                    drop(permit.take());
                    online_since = Some(Instant::now());
                    self.publish(SessionState::Online, None).await?;
                }
                Signal::Alive => {}
                Signal::End(end) => return Err(Fault::Connection(end)),
            }
            if online_since.is_some_and(|since| since.elapsed() > self.timeouts.stable) {
                backoff.reset();
            }
            drop(permit.take_if(|_| opened.elapsed() > self.timeouts.connect));
        }
    }

    async fn take_events(
        &self,
        connection: &Arc<dyn Connection>,
        events: Vec<Incoming>,
    ) -> Result<(), Fault> {
        let news = live::live_news(self.lease.account, &events);
        let stored = store_events(&self.store, &self.connector, &self.lease, events).await?;
        if stored.held {
            self.held.notify_one();
        }
        live::announce(&self.store, &news);
        let network = self.connector.network();
        METRICS.messages(network, Direction::In, "received", stored.messages);
        METRICS.messages(network, Direction::In, "dropped", stored.dropped_messages);
        self.acknowledge(connection, &stored).await
    }

    async fn acknowledge(&self, connection: &Arc<dyn Connection>, stored: &Stored) -> Result<(), Fault> {
        let acknowledged = async {
            if !stored.kept.is_empty() {
                connection.acknowledge(&stored.kept).await?;
            }
            if !stored.dropped.is_empty() {
                connection.discard(&stored.dropped).await?;
            }
            Ok(())
        };
        bounded(self.timeouts.step, acknowledged).await?.map_err(|failure| {
            tracing::debug!(account = %self.lease.account, %failure, "not acknowledged");
            Fault::retry("network_unreachable")
        })
    }

    /// Sends what is due in the store.
    async fn send_due(&self, connection: &Arc<dyn Connection>) -> Result<Infallible, Fault> {
        let mut work = self.store.notifications().subscribe(topic::work(self.lease.account));
        let dispatcher = Dispatcher {
            store: self.store.clone(),
            lease: self.lease,
            connector: self.connector.clone(),
            connection: connection.clone(),
            timeout: self.timeouts.step,
        };
        let mut fresh = true;
        loop {
            // A process that was stopped for a while must not send under a lease that another one has by now.
            if !self.clock.is_valid() {
                return Err(Fault::Session(SessionEnd::Fenced));
            }
            fresh = Box::pin(dispatcher.send_due(fresh)).await? && fresh;
            if fresh {
                // No row says that what was applied to the last connection is missing on this one.
                let _ = timeout(OFFER_AGAIN, work.woken()).await;
            } else {
                work.woken_on_beat().await;
            }
        }
    }

    pub(super) fn login(&self, account: &SessionAccount) -> Result<Login, Fault> {
        let sealed = account.credentials.as_deref().unwrap_or_default();
        let opened = self.keys.open("credentials", account.number.as_str().as_bytes(), sealed);
        let credentials = opened.map_err(|error| {
            tracing::error!(account = %self.lease.account, %error, "the network's credentials cannot be decrypted");
            Fault::Connection(End::NeedsUser(NeedsUser::LoggedOut))
        })?;
        Ok(Login {
            number: account.number.clone(),
            credentials: Credentials(credentials),
            resume_point: account.resume_point.clone().map(ResumePoint),
        })
    }
}

/// Resets the session's connection when it ends, also by a panic.
struct ResetOnDrop<'a>(&'a watch::Sender<Option<Arc<dyn Connection>>>);

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}
