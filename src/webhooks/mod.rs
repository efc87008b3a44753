//! Webhooks: each event is posted to the URLs that its user has set, in order per account, until it is accepted.
//!
//! One process sends the events of a webhook, under a lease, from the places that the store has. What it has sent is stored a
//! moment later: after a kill some events are sent again.

mod attempt;
mod manager;
mod queue;
mod schedule;
mod secret;
mod state;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;

use crate::db::DbError;
use crate::domain::{Event, PhoneNumber, ProcessId};
use crate::events::{Events, Way, kinds};
use crate::fair_share::FairShare;
use crate::fetch::{Fetch, FetchError};
use crate::lifecycle::Lifecycle;
use crate::secrets::MasterKey;
use crate::store::{Attempt, EventFilter, KindFilter, Store, Webhook};

pub use secret::{Secret, SecretError};

use attempt::{Sender, Target};
use schedule::LIFETIME;

/// Requests in progress, of all webhooks of this process.
const IN_PROGRESS: u64 = 512;

/// The webhooks of all users; clones share it.
#[derive(Clone)]
pub struct Webhooks {
    events: Events,
    keys: MasterKey,
    sender: Arc<Sender>,
}

impl Webhooks {
    #[must_use]
    pub fn new(events: Events, fetch: Arc<Fetch>, keys: MasterKey) -> Self {
        let sender = Arc::new(Sender { fetch, shares: FairShare::new(IN_PROGRESS) });
        Self { events, keys, sender }
    }

    /// Starts sending. It ends with the lifecycle's soft token. `process` is this process's id in the database; `retention`
    /// is how long events are kept.
    pub fn start(
        &self,
        process: watch::Receiver<Option<ProcessId>>,
        retention: Duration,
        lifecycle: &Lifecycle,
    ) {
        if TimeDelta::from_std(retention).is_ok_and(|retention| retention < LIFETIME) {
            let hours = LIFETIME.num_hours();
            tracing::warn!(
                "WINDU_EVENT_RETENTION is shorter than the {hours} h for which an event is sent again: what is deleted \
                 before, a webhook whose receiver is away does not get"
            );
        }
        manager::start(self.clone(), process, lifecycle);
    }

    /// Whether a webhook may have this URL.
    ///
    /// # Errors
    /// [`FetchError::NotAllowed`]; [`FetchError::Busy`] when its name cannot be looked up now.
    pub async fn check_url(&self, url: &url::Url) -> Result<(), FetchError> {
        self.sender.fetch.check_webhook(url).await
    }

    /// A secret as it is stored.
    #[must_use]
    pub fn seal(&self, public_id: &str, secret: &Secret) -> Vec<u8> {
        secret.seal(&self.keys, public_id)
    }

    /// Which events of its user a webhook gets. Of its numbers those count that the user has or had.
    pub async fn filter(&self, webhook: &Webhook) -> Result<EventFilter, DbError> {
        let counters = match &webhook.accounts {
            None => None,
            Some(accounts) => {
                let numbers: Vec<PhoneNumber> =
                    accounts.iter().filter_map(|number| PhoneNumber::from_stored(number)).collect();
                let journals = self.store().journals(webhook.user, &numbers).await?;
                Some(journals.into_iter().map(|(counter, _)| counter).collect())
            }
        };
        Ok(EventFilter { counters, kinds: types_of(webhook) })
    }

    /// Writes the event `webhook.test`, sends it at once, and stores the attempt. `None`: the user has too many requests in
    /// progress.
    pub async fn test(&self, webhook: &Webhook) -> Result<Option<Attempt>, DbError> {
        let store = self.store();
        let Some(share) = self.sender.share(webhook.user) else { return Ok(None) };
        let mut tx = store.begin().await?;
        let test = Event::WebhookTest { webhook: webhook.public_id.clone() };
        let (counter, seq) = tx.record_user_event(webhook.user, test).await?;
        tx.commit().await?;
        store.number_events(webhook.user, Some(&[counter])).await?;
        let lost = || DbError::Corrupt("the event of a test has no place".to_owned());
        let crate::store::PlaceOfSeq::At(place) = store.place_of_seq(webhook.user, counter, seq).await?
        else {
            return Err(lost());
        };
        let event = store.event_at(webhook.user, place).await?.ok_or_else(lost)?;
        let (rendered, _) = self.events.render(webhook.user, &[event]).await?;
        let rendered = rendered.into_iter().next().ok_or_else(lost)?;
        let target = self.target(webhook)?;
        let body = rendered.json.to_string();
        let sent = self.sender.send(&share, &target, &rendered.id, body, attempt::TIMEOUT).await;
        self.events.count(Way::Webhook, std::slice::from_ref(&rendered), false);
        let attempt = sent.recorded(&rendered, 1, None, false);
        store.add_attempt(webhook.id, attempt.clone()).await?;
        Ok(Some(attempt))
    }

    /// Where and with which secrets events are sent now.
    fn target(&self, webhook: &Webhook) -> Result<Target, DbError> {
        let broken = |what: &str| DbError::Corrupt(format!("the {what} of the webhook {}", webhook.id));
        let url = webhook.url.parse().map_err(|_| broken("URL"))?;
        let open = |sealed: &[u8]| {
            Secret::open(&self.keys, &webhook.public_id, sealed).map_err(|_| broken("secret"))
        };
        let secret = open(&webhook.secrets.present)?;
        let old_secret = match &webhook.secrets.old {
            Some((old, until)) => Some((open(old)?, *until)),
            None => None,
        };
        Ok(Target { user: webhook.user, url, secret, old_secret })
    }

    fn store(&self) -> &Store {
        self.events.store()
    }
}

/// The types that a webhook names; `None`: all that are stored.
fn types_of(webhook: &Webhook) -> Option<KindFilter> {
    // They were checked when they were set; what an older version does not know matches nothing.
    webhook.types.as_ref().map(|types| {
        let known = types.iter().filter_map(|word| kinds::parse(word).ok());
        known.fold(KindFilter::default(), |mut all, next| {
            all.names.extend(next.names);
            all.groups.extend(next.groups);
            all
        })
    })
}
