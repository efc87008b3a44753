//! The figures of the message broker.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Deployment, Gauges, Seconds};

/// What the broker has not acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct BrokerLag {
    pub events: i64,
    /// Whose events they are.
    pub accounts: i64,
    /// The age of the oldest event.
    pub oldest: Duration,
}

#[derive(Default)]
pub(super) struct Broker {
    accounts: Gauges<0>,
    oldest: Family<[(&'static str, String); 0], Seconds>,
}

impl Broker {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "windu_broker_waiting_accounts",
            "Accounts with events that the message broker has not acknowledged, of the whole deployment: take max, do not \
             add. Not there without a broker",
            self.accounts.clone(),
        );
        registry.register(
            "windu_broker_oldest_seconds",
            "The age of the oldest of these events, of the whole deployment: take max, do not add",
            self.oldest.clone(),
        );
    }

    /// See [`super::Metrics::deployment`].
    pub fn set(&self, deployment: Option<&Deployment>) {
        self.accounts.clear();
        self.oldest.clear();
        let Some(lag) = deployment.and_then(|deployment| deployment.broker) else { return };
        self.accounts.get_or_create(&[]).set(lag.accounts);
        self.oldest.get_or_create(&[]).set(lag.oldest.as_secs_f64());
    }
}
