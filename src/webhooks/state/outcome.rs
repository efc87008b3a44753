//! What the outcome of a request means for the event, for its account and for the webhook.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Source, State};
use crate::domain::CounterId;
use crate::events::RenderedEvent;
use crate::store::{Health, NewRedelivery, RedeliveryProgress};
use crate::webhooks::attempt::{Sent, Verdict};
use crate::webhooks::schedule::{LIFETIME, REFUSALS, next_attempt};

impl State {
    /// Takes what came of a request.
    pub fn take(&mut self, source: Source, rendered: &RenderedEvent, sent: &Sent, now: DateTime<Utc>) {
        self.in_progress -= 1;
        self.note();
        self.take_health(sent, now);
        match source {
            Source::Account(counter) => self.take_account(counter, rendered, sent, now),
            Source::Redelivery(id) => self.take_redelivery(id, rendered, sent, now),
        }
    }

    fn take_health(&mut self, sent: &Sent, now: DateTime<Utc>) {
        match sent.verdict {
            Verdict::Accepted => self.health = Health::default(),
            Verdict::NotTried => {}
            Verdict::Gone | Verdict::EventRefused | Verdict::ReceiverFailed => {
                self.health.failing_since.get_or_insert(sent.at);
                self.health.failure = sent.error.map(str::to_owned);
            }
        }
        // Of requests that were sent together one counts.
        let is_first = self.health.retry_at.is_none_or(|at| at <= sent.at);
        if sent.verdict == Verdict::ReceiverFailed && is_first {
            self.health.failures += 1;
            self.health.retry_at = Some(next_attempt(now, self.health.failures, sent.retry_after));
        } else if sent.verdict == Verdict::EventRefused {
            // It answers again.
            (self.health.failures, self.health.retry_at) = (0, None);
        }
    }

    fn take_account(
        &mut self,
        counter: CounterId,
        rendered: &RenderedEvent,
        sent: &Sent,
        now: DateTime<Utc>,
    ) {
        let Some(queue) = self.queues.get_mut(&counter) else { return };
        queue.in_progress = false;
        if sent.verdict == Verdict::NotTried {
            queue.retry_at = Some(now + TimeDelta::seconds(1));
            return;
        }
        queue.attempts += 1;
        let nth = queue.attempts;
        let next = match sent.verdict {
            Verdict::Accepted | Verdict::NotTried => {
                queue.pop();
                None
            }
            Verdict::Gone => None,
            Verdict::ReceiverFailed => {
                queue.hold(1);
                self.health.retry_at
            }
            Verdict::EventRefused => {
                queue.refusals += 1;
                let next = next_attempt(now, queue.refusals, sent.retry_after);
                if queue.refusals >= REFUSALS
                    && let Some(first) = queue.events.front()
                {
                    self.progress.set_aside.push(NewRedelivery {
                        counter,
                        place: first.event.place,
                        attempts: queue.attempts,
                        refusals: queue.refusals,
                        retry_at: next,
                        expires_at: first.event.at + LIFETIME,
                    });
                    queue.pop();
                } else {
                    queue.retry_at = Some(next);
                    queue.hold(1);
                }
                Some(next)
            }
        };
        self.progress.attempts.push(sent.recorded(rendered, nth, next, false));
        self.tidy(counter);
    }

    fn take_redelivery(&mut self, id: i64, rendered: &RenderedEvent, sent: &Sent, now: DateTime<Utc>) {
        let Some(mut beside) = self.beside.remove(&id) else { return };
        let redelivery = &mut beside.redelivery;
        if sent.verdict == Verdict::NotTried {
            redelivery.retry_at = now + TimeDelta::seconds(1);
            beside.in_progress = false;
            self.beside.insert(id, beside);
            return;
        }
        redelivery.attempts += 1;
        let next = match sent.verdict {
            Verdict::Accepted | Verdict::NotTried | Verdict::Gone => None,
            Verdict::ReceiverFailed => self.health.retry_at,
            Verdict::EventRefused => {
                redelivery.refusals += 1;
                Some(next_attempt(now, redelivery.refusals, sent.retry_after))
            }
        };
        if sent.verdict == Verdict::Accepted {
            self.progress.redelivered.push(id);
        } else if sent.verdict != Verdict::Gone {
            self.progress.retried.push(RedeliveryProgress {
                id,
                is_alone: redelivery.is_alone || redelivery.refusals >= REFUSALS,
                attempts: redelivery.attempts,
                refusals: redelivery.refusals,
                retry_at: next.unwrap_or(now),
            });
        }
        let (nth, is_replay) = (redelivery.attempts, redelivery.is_replay);
        self.progress.attempts.push(sent.recorded(rendered, nth, next, is_replay));
    }
}
