//! The dispatcher from the store to the network: expiry, desired state, messages, read receipts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::backoff::pause_after;
use super::fault::{Fault, SessionEnd};
use super::ingest::Ingest;
use super::remote_ids;
use super::timeouts::bounded;
use crate::domain::{Aspect, Audience, Lease, Privacy};
use crate::metrics::{Direction, METRICS};
use crate::store::{DUE_MESSAGES, Desired, DueMessage, EarlyEvents, Settled, Settlement, Store};
use crate::upstream::{Address, Connection, Connector, Failure, Outgoing, ReadReceipt, SendFailure, Sent};

/// A value that only a newer version of this program can read. A session of that version applies it: on a fresh connection
/// all desired state is applied again.
const UNREADABLE: Failure = Failure::Unsupported("be shown what a newer version of this program wrote");
/// Read receipts in one call of the connection.
const RECEIPTS: i64 = 500;
/// The pause after the first attempt for a message, doubled with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts for one message.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Brings the network up to date with the store over one connection.
pub(super) struct Dispatcher {
    pub store: Store,
    pub lease: Lease,
    pub connector: Arc<dyn Connector>,
    pub connection: Arc<dyn Connection>,
    /// For one call of the connection; then it counts as dead.
    pub timeout: Duration,
}

impl Dispatcher {
    /// Sends all that is due now. `fresh`: the connection is new, so all desired state is applied again. Returns whether
    /// the network did not accept some of the desired state.
    pub async fn send_due(&self, fresh: bool) -> Result<bool, Fault> {
        let mut incomplete = if fresh { self.reconcile(true).await? } else { false };
        loop {
            let due = self.store.due(&self.lease).await?.ok_or(Fault::Session(SessionEnd::Fenced))?;
            if due.desired && !fresh {
                incomplete = self.reconcile(false).await?;
            }
            if due.expired {
                while self.expire().await? > 0 {}
            }
            let waits = self.send(&due.messages).await?;
            if due.receipts {
                while self.send_receipts().await? {}
            }
            // A waiting message is found again by the sweep; an immediate retry would hammer a network that refused it.
            if waits || due.messages.len() < DUE_MESSAGES {
                return Ok(incomplete);
            }
        }
    }

    /// Applies desired state: what changed, or everything. Returns whether the network did not accept some of it.
    async fn reconcile(&self, everything: bool) -> Result<bool, Fault> {
        let mut incomplete = false;
        let mut desired = self.store.desired(self.lease.account, everything).await?;
        // Restrictions come first, and their failure holds up the rest: nobody may see what is to be hidden.
        desired.sort_by_key(|desired| !desired.aspect.restricts_visibility());
        let privacy = hide_what_changes(&mut desired);
        let first = desired.into_iter().map(|desired| (desired, false));
        for (desired, is_last) in first.chain(privacy.map(|privacy| (privacy, true))) {
            if incomplete && (is_last || !desired.aspect.restricts_visibility()) {
                break;
            }
            match self.apply(&desired).await? {
                Ok(()) => self.store.applied(&self.lease, desired.aspect, desired.version).await?,
                Err(Failure::Refused(reason)) => {
                    tracing::warn!(account = %self.lease.account, aspect = desired.aspect.name(), reason,
                        "the network refused a change of the account's profile");
                    self.store.applied(&self.lease, desired.aspect, desired.version).await?;
                }
                Err(Failure::Unsupported(what)) => {
                    tracing::debug!(account = %self.lease.account, what, "not supported by this network");
                    self.store.applied(&self.lease, desired.aspect, desired.version).await?;
                }
                // It stays due: the sweep finds it again.
                Err(Failure::Retry(_) | Failure::RateLimited(_) | Failure::OutcomeUnknown) => {
                    incomplete = true;
                }
            }
        }
        Ok(incomplete)
    }

    /// Offers one aspect to the network.
    async fn apply(&self, desired: &Desired) -> Result<Result<(), Failure>, Fault> {
        let (account, connection) = (self.lease.account, &self.connection);
        let addresses = |addresses: Vec<String>| addresses.into_iter().map(Address).collect::<Vec<_>>();
        match desired.aspect {
            Aspect::Nickname => {
                let Some(nickname) = desired.value.as_str() else { return Ok(Err(UNREADABLE)) };
                bounded(self.timeout, connection.set_nickname(nickname)).await
            }
            Aspect::StatusMessage => {
                let Some(text) = desired.value.as_str() else { return Ok(Err(UNREADABLE)) };
                bounded(self.timeout, connection.set_status_message(text)).await
            }
            Aspect::Photo => {
                let photo = self.store.own_photo(account).await?;
                bounded(self.timeout, connection.set_photo(photo)).await
            }
            Aspect::Presence => {
                let Some(online) = desired.value.as_bool() else { return Ok(Err(UNREADABLE)) };
                bounded(self.timeout, connection.set_online(online)).await
            }
            Aspect::Privacy => {
                let privacy = read_privacy(&desired.value);
                bounded(self.timeout, connection.set_privacy(privacy)).await
            }
            Aspect::Contacts => {
                let contacts = addresses(self.store.contact_addresses(account).await?);
                bounded(self.timeout, connection.set_contacts(&contacts)).await
            }
            Aspect::Blocked => {
                let blocked = addresses(self.store.blocked_addresses(account).await?);
                bounded(self.timeout, connection.set_blocked(&blocked)).await
            }
            Aspect::Roster => {
                let roster = addresses(self.store.roster(account).await?);
                bounded(self.timeout, connection.watch(&roster)).await
            }
        }
    }

    /// Returns whether the network did not accept some of them yet.
    async fn send(&self, due: &[DueMessage]) -> Result<bool, Fault> {
        if due.is_empty() {
            return Ok(false);
        }
        let outgoing: Vec<Outgoing> = due
            .iter()
            .map(|message| Outgoing {
                id: message.network_id.clone(),
                to: Address(message.address.clone()),
                content: message.content.clone(),
            })
            .collect();
        let outcomes = timeout(self.timeout, self.connection.send(&outgoing))
            .await
            .map_err(|_| Fault::retry("network_silent"))?;
        let settled = settlements(due, outcomes);
        let waits = settled.iter().any(|settled| !settled.how.is_final());
        let count = |outcome| settled.iter().filter(|settled| settled.how.outcome() == outcome).count();
        let counts = ["sent", "failed", "retried"].map(|outcome| (outcome, count(outcome)));
        let named: Vec<String> = settled.iter().filter_map(|settled| settled.remote_id.clone()).collect();
        self.store.settle(&self.lease, settled).await?;
        if !named.is_empty() {
            let ingest = Ingest::new(&self.store, &self.connector, &self.lease);
            ingest.apply_early(EarlyEvents::Naming(&named)).await?;
        }
        let network = self.connector.network();
        for (outcome, count) in counts {
            METRICS.messages(network, Direction::Out, outcome, count);
        }
        Ok(waits)
    }

    /// Gives up messages whose time is over; returns how many.
    async fn expire(&self) -> Result<usize, Fault> {
        let expired = self.store.expire_outbox(&self.lease).await?;
        METRICS.messages(self.connector.network(), Direction::Out, "failed", expired);
        Ok(expired)
    }

    /// Returns whether there may be more.
    async fn send_receipts(&self) -> Result<bool, Fault> {
        let due = self.store.due_receipts(self.lease.account, RECEIPTS).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let receipts: Vec<ReadReceipt> = due
            .iter()
            .map(|receipt| ReadReceipt {
                to: Address(receipt.address.clone()),
                id: receipt.network_id.clone(),
                group: receipt.group.clone().map(Address),
            })
            .collect();
        match bounded(self.timeout, self.connection.read(&receipts)).await? {
            Ok(()) | Err(Failure::Refused(_) | Failure::Unsupported(_)) => {
                let messages: Vec<_> = due.iter().map(|receipt| receipt.message).collect();
                self.store.receipts_sent(&self.lease, &messages).await?;
                Ok(i64::try_from(due.len()).is_ok_and(|count| count == RECEIPTS))
            }
            Err(Failure::Retry(_) | Failure::RateLimited(_) | Failure::OutcomeUnknown) => Ok(false),
        }
    }
}

/// Hides the aspects that are about to change, and returns the privacy settings that the user wants, to be applied last:
/// a user who shows an aspect again that was changed while it was hidden does not mean to show its old value.
fn hide_what_changes(desired: &mut [Desired]) -> Option<Desired> {
    let changes = |aspect| desired.iter().any(|desired| desired.due && desired.aspect == aspect);
    let (status_message, photo, presence) =
        (changes(Aspect::StatusMessage), changes(Aspect::Photo), changes(Aspect::Presence));
    let privacy = desired.iter_mut().find(|desired| desired.due && desired.aspect == Aspect::Privacy)?;
    let wanted = read_privacy(&privacy.value);
    let hidden = |changes: bool, audience: Audience| if changes { Audience::None } else { audience };
    let at_first = Privacy {
        status_message: hidden(status_message, wanted.status_message),
        photo: hidden(photo, wanted.photo),
        last_seen: hidden(presence, wanted.last_seen),
    };
    if at_first == wanted {
        return None;
    }
    let last = privacy.clone();
    // Version 0 marks nothing as applied: these are not yet the settings that the user wants.
    (privacy.value, privacy.version) = (serde_json::to_value(at_first).unwrap_or_default(), 0);
    Some(last)
}

/// What cannot be read is nobody, see [`Privacy::from_names`].
fn read_privacy(value: &Value) -> Privacy {
    let name = |setting: &str| value.get(setting).and_then(Value::as_str).unwrap_or_default();
    Privacy::from_names(name("status_message"), name("photo"), name("last_seen"))
}

/// The settlement to store for each message. A message without an outcome counts as not sent.
fn settlements(due: &[DueMessage], outcomes: Vec<Result<Sent, SendFailure>>) -> Vec<Settled> {
    let mut outcomes = outcomes.into_iter();
    let mut waiting_chats = HashSet::new();
    let mut settled = Vec::with_capacity(due.len());
    for message in due {
        let mut remote_id = None;
        let settlement = match outcomes.next().unwrap_or(Err(SendFailure::Retry)) {
            Ok(sent) => {
                remote_id = sent.remote_id.filter(|id| {
                    let is_storable = remote_ids::is_storable(id);
                    if !is_storable {
                        tracing::warn!(
                            message = message.message.0,
                            "the network's id of a message cannot be stored"
                        );
                    }
                    is_storable
                });
                Settlement::Sent
            }
            Err(SendFailure::Refused(reason)) => Settlement::Failed(reason),
            Err(SendFailure::RateLimited(pause)) => Settlement::Later(pause),
            Err(SendFailure::Retry) => {
                Settlement::Later(pause_after(message.attempts, SHORTEST_PAUSE, LONGEST_PAUSE))
            }
            // It stays due behind the one that failed.
            Err(SendFailure::NotTried) => continue,
        };
        if !settlement.is_final() && !waiting_chats.insert(message.chat) {
            // Only the oldest message of a chat has a time to wait for; the others wait behind it.
            continue;
        }
        settled.push(Settled { remote_id, ..message.settled(settlement) });
    }
    settled
}
