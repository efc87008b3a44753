//! From the store to the network: expiry, desired state, messages, read receipts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;
use tokio::time::timeout;

use super::backoff::pause_after;
use super::fault::{Fault, SessionEnd};
use super::timeouts::bounded;
use crate::db::DbError;
use crate::domain::{AccountId, Audience, Lease, Privacy};
use crate::store::{DUE_MESSAGES, Desired, DueMessage, Settled, Settlement, Store};
use crate::upstream::{Address, Connection, Failure, Outgoing, ReadReceipt, SendFailure};

/// Read receipts handed to the network at once.
const RECEIPTS: i64 = 500;
/// The pause after the first attempt for a message, doubled with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts for one message.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Brings one connection's network up to what the store says.
pub(super) struct Dispatcher {
    pub store: Store,
    pub lease: Lease,
    pub connection: Arc<dyn Connection>,
    /// How long the network may take for one step before the connection counts as dead.
    pub timeout: Duration,
}

impl Dispatcher {
    /// Does all that is due now. `fresh`: the connection is new, so desired state is applied whether or not it was.
    /// True: the network did not take some of the desired state.
    pub async fn send_due(&self, fresh: bool) -> Result<bool, Fault> {
        let mut missing = if fresh { self.reconcile(true).await? } else { false };
        loop {
            let due = self.store.due(&self.lease).await?.ok_or(Fault::Session(SessionEnd::Fenced))?;
            if due.desired && !fresh {
                missing = self.reconcile(false).await?;
            }
            if due.expired {
                while self.store.expire_outbox(&self.lease).await? > 0 {}
            }
            let waits = self.send(&due.messages).await?;
            if due.receipts {
                while self.send_receipts().await? {}
            }
            // What waits comes up again by the sweep; going on at once would hammer a network that said no.
            if waits || due.messages.len() < DUE_MESSAGES {
                return Ok(missing);
            }
        }
    }

    async fn reconcile(&self, everything: bool) -> Result<bool, Fault> {
        let mut missing = false;
        let mut desired = self.store.desired(self.lease.account, everything).await?;
        // What keeps people from seeing something comes before what there is to see, and holds it up.
        desired.sort_by_key(|desired| !is_a_guard(&desired.aspect));
        let shown = hide_what_changes(self.lease.account, &mut desired)?;
        let first = desired.into_iter().map(|desired| (desired, false));
        for (desired, is_last) in first.chain(shown.map(|shown| (shown, true))) {
            if missing && (is_last || !is_a_guard(&desired.aspect)) {
                break;
            }
            let Some(applied) = self.apply(&desired).await? else { continue };
            match applied {
                Ok(()) => self.store.applied(&self.lease, &desired.aspect, desired.version).await?,
                Err(Failure::Refused(reason)) => {
                    tracing::warn!(account = %self.lease.account, aspect = desired.aspect, reason,
                        "the network refused what the account should show");
                    self.store.applied(&self.lease, &desired.aspect, desired.version).await?;
                }
                Err(Failure::Unsupported(what)) => {
                    tracing::debug!(account = %self.lease.account, what, "this network shows no such thing");
                    self.store.applied(&self.lease, &desired.aspect, desired.version).await?;
                }
                // It stays due: the sweep brings it up again.
                Err(Failure::Retry(_) | Failure::RateLimited(_) | Failure::OutcomeUnknown) => missing = true,
            }
        }
        Ok(missing)
    }

    /// Offers one aspect to the network; `None` when it is none that this version knows.
    async fn apply(&self, desired: &Desired) -> Result<Option<Result<(), Failure>>, Fault> {
        let (account, connection) = (self.lease.account, &self.connection);
        let addresses = |addresses: Vec<String>| addresses.into_iter().map(Address).collect::<Vec<_>>();
        let applied = match desired.aspect.as_str() {
            "nickname" => {
                let nickname = desired.value.as_str().unwrap_or_default();
                bounded(self.timeout, connection.set_nickname(nickname)).await
            }
            "status_message" => {
                let text = desired.value.as_str().unwrap_or_default();
                bounded(self.timeout, connection.set_status_message(text)).await
            }
            "photo" => {
                let photo = self.store.own_photo(account).await?;
                bounded(self.timeout, connection.set_photo(photo)).await
            }
            "presence" => {
                let online = desired.value.as_bool().unwrap_or_default();
                bounded(self.timeout, connection.set_online(online)).await
            }
            "privacy" => {
                let privacy = read_privacy(account, &desired.value)?;
                bounded(self.timeout, connection.set_privacy(privacy)).await
            }
            "contacts" => {
                let contacts = addresses(self.store.contact_addresses(account).await?);
                bounded(self.timeout, connection.set_contacts(&contacts)).await
            }
            "blocked" => {
                let blocked = addresses(self.store.blocked_addresses(account).await?);
                bounded(self.timeout, connection.set_blocked(&blocked)).await
            }
            "roster" => {
                let roster = addresses(self.store.roster(account).await?);
                bounded(self.timeout, connection.watch(&roster)).await
            }
            aspect => {
                // A newer version of this program wrote it, and will apply it.
                tracing::debug!(%account, aspect, "desired state of another version");
                return Ok(None);
            }
        };
        applied.map(Some)
    }

    /// True: the network did not take some of them yet.
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
        let settled = settlements(due, &outcomes);
        let waits = settled.iter().any(|settled| !settled.how.is_final());
        self.store.settle(&self.lease, settled).await?;
        Ok(waits)
    }

    /// True: there may be more.
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

/// Whoever shows again what they have changed while it was hidden does not mean what was there before. So what is about to
/// change is hidden first, and given is what is to be done last: to show it as the user wants it.
fn hide_what_changes(account: AccountId, desired: &mut [Desired]) -> Result<Option<Desired>, DbError> {
    let changes = |aspect: &str| desired.iter().any(|desired| desired.due && desired.aspect == aspect);
    let (status_message, photo, presence) =
        (changes("status_message"), changes("photo"), changes("presence"));
    let Some(privacy) = desired.iter_mut().find(|desired| desired.due && desired.aspect == "privacy") else {
        return Ok(None);
    };
    let wanted = read_privacy(account, &privacy.value)?;
    let hidden = |changes: bool, audience: Audience| if changes { Audience::None } else { audience };
    let at_first = Privacy {
        status_message: hidden(status_message, wanted.status_message),
        photo: hidden(photo, wanted.photo),
        last_seen: hidden(presence, wanted.last_seen),
    };
    if at_first == wanted {
        return Ok(None);
    }
    let last = privacy.clone();
    // Of no version: that is not what the user wants.
    (privacy.value, privacy.version) = (serde_json::to_value(at_first).unwrap_or_default(), 0);
    Ok(Some(last))
}

fn read_privacy(account: AccountId, value: &Value) -> Result<Privacy, DbError> {
    Privacy::deserialize(value)
        .map_err(|error| DbError::Corrupt(format!("privacy settings of account {account}: {error}")))
}

/// Whether an aspect says who may not see what.
fn is_a_guard(aspect: &str) -> bool {
    ["blocked", "contacts", "privacy"].contains(&aspect)
}

/// What to store for each message. One that the adapter said nothing about counts as not sent.
fn settlements(due: &[DueMessage], outcomes: &[Result<(), SendFailure>]) -> Vec<Settled> {
    let mut held_up = HashSet::new();
    let mut settled = Vec::with_capacity(due.len());
    for (place, message) in due.iter().enumerate() {
        let settlement = match outcomes.get(place).copied().unwrap_or(Err(SendFailure::Retry)) {
            Ok(()) => Settlement::Sent,
            Err(SendFailure::Refused(reason)) => Settlement::Failed(reason),
            Err(SendFailure::RateLimited(pause)) => Settlement::Later(pause),
            Err(SendFailure::Retry) => {
                Settlement::Later(pause_after(message.attempts, SHORTEST_PAUSE, LONGEST_PAUSE))
            }
            // It stays due behind the one that failed.
            Err(SendFailure::NotTried) => continue,
        };
        if !settlement.is_final() && !held_up.insert(message.chat) {
            // Only the oldest of a chat waits by the clock; the rest wait behind it.
            continue;
        }
        settled.push(message.settled(settlement));
    }
    settled
}
