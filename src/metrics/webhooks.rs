//! The figures of webhooks.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Counters, Deployment, Gauges, Label, Metrics, Seconds};

#[derive(Default)]
pub(super) struct Webhooks {
    attempts: Counters<1>,
    dead: Counter,
    states: Family<[Label; 1], Gauge>,
    waiting: Gauges<0>,
    oldest: Family<[(&'static str, String); 0], Seconds>,
}

impl Metrics {
    pub fn webhook_attempt(&self, outcome: &'static str) {
        self.webhooks.attempts.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn webhook_dead(&self, count: usize) {
        self.webhooks.dead.inc_by(count as u64);
    }
}

impl Webhooks {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "windu_webhook_attempts",
            "Requests to the receivers of webhooks. receiver_failed: no answer, or one that says to come later; \
             event_refused: another status",
            self.attempts.clone(),
        );
        registry.register("windu_webhook_dead", "Events that were given up", self.dead.clone());
        registry.register(
            "windu_webhooks",
            "Webhooks, of the whole deployment: take max, do not add",
            self.states.clone(),
        );
        registry.register(
            "windu_webhook_waiting",
            "Events that active webhooks have not accepted yet, with those that they leave out and have not passed yet, of \
             the whole deployment: take max, do not add",
            self.waiting.clone(),
        );
        registry.register(
            "windu_webhook_oldest_seconds",
            "The age of the oldest of these, of the whole deployment: take max, do not add",
            self.oldest.clone(),
        );
    }

    /// See [`Metrics::begin_at_zero`].
    pub fn begin_at_zero(&self) {
        for outcome in ["accepted", "gone", "receiver_failed", "event_refused", "not_tried"] {
            drop(self.attempts.get_or_create(&[("outcome", outcome)]));
        }
    }

    /// See [`Metrics::deployment`].
    pub fn set(&self, deployment: Option<&Deployment>) {
        self.states.clear();
        self.waiting.clear();
        self.oldest.clear();
        let Some(deployment) = deployment else { return };
        for state in ["ok", "failing", "paused", "disabled"] {
            self.states.get_or_create(&[("state", state)]).set(0);
        }
        for (state, count) in &deployment.webhooks {
            self.states.get_or_create(&[("state", *state)]).set(*count);
        }
        self.waiting.get_or_create(&[]).set(deployment.webhook_waiting);
        self.oldest.get_or_create(&[]).set(deployment.webhook_oldest.as_secs_f64());
    }
}
