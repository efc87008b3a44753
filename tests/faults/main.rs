//! What is around the program fails while clients send: PostgreSQL stops, hangs, is cut off, is killed, has no room
//! left; clients do not take their answers. Afterwards everything is as the guarantees say.
//!
//! With `WINDU_TEST_SOAK=1` the same longer and more often.

#[path = "../support/mod.rs"]
mod support;

#[path = "../kill/aftermath.rs"]
#[expect(dead_code, reason = "each suite uses its own part")]
mod aftermath;
#[path = "../kill/repeaters.rs"]
mod repeaters;
#[path = "../kill/storm.rs"]
#[expect(dead_code, reason = "each suite uses its own part")]
mod storm;

mod cut;
mod frozen;
mod full;
mod killed;
mod outage;
mod proxy;
mod queue;
mod slow;
mod stopped;
