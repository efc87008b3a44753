//! The figures of sessions and outboxes, by network.

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Deployment, Gauges, Seconds};

#[derive(Default)]
pub(super) struct Networks {
    sessions: Gauges<2>,
    outbox_messages: Gauges<1>,
    outbox_oldest: Family<[(&'static str, String); 1], Seconds>,
}

impl Networks {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "windu_sessions",
            "Sessions of registered accounts, of the whole deployment: take max, do not add. unheld: no running \
             process has it",
            self.sessions.clone(),
        );
        registry.register(
            "windu_outbox_messages",
            "Messages that wait for their network, of the whole deployment: take max, do not add",
            self.outbox_messages.clone(),
        );
        registry.register(
            "windu_outbox_oldest_seconds",
            "How long the oldest message of the outbox has waited, of the whole deployment: take max, do not add",
            self.outbox_oldest.clone(),
        );
    }

    /// See [`super::Metrics::deployment`].
    pub fn set(&self, deployment: Option<&Deployment>) {
        self.sessions.clear();
        self.outbox_messages.clear();
        self.outbox_oldest.clear();
        let Some(deployment) = deployment else { return };
        for (network, state, count) in &deployment.sessions {
            let labels = [("network", network.clone()), ("state", (*state).to_owned())];
            self.sessions.get_or_create(&labels).set(*count);
        }
        for (network, count, oldest) in &deployment.outboxes {
            let labels = [("network", network.clone())];
            self.outbox_messages.get_or_create(&labels).set(*count);
            self.outbox_oldest.get_or_create(&labels).set(oldest.as_secs_f64());
        }
    }
}
