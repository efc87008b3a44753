//! Proof that the account is still inside its rooms (XEP-0410): a room that dropped it without a word, as one whose server
//! was killed, is joined again, and the gap is read from its archive.
//!
//! Only a room that said nothing for the interval is asked, one at a time, and not again before the next interval. So an
//! account in 100 silent rooms sends 100 pings of about 200 bytes in each interval and gets as many answers: with the usual
//! ten minutes one in six seconds, 70 bytes a second both ways together. Rooms that talk cost nothing.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::RoomWork;
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::iq::{ANSWER_TIMEOUT, ping};
use crate::upstream::xmpp::link::LinkEnd;
use crate::upstream::xmpp::memberships::Presence;
use crate::upstream::xmpp::reader::{Reader, Stop};
use crate::upstream::xmpp::xml::Element;

/// The answers of a room in which the account still is, or whose server is not reachable now (XEP-0410, section 3.2). All
/// other errors say that it is not.
const NO_LOSS: [&str; 6] = [
    // Its other device answered, or nobody may be asked this.
    "service-unavailable",
    "feature-not-implemented",
    "remote-server-not-found",
    "remote-server-timeout",
    "internal-server-error",
    "resource-constraint",
];

/// The pings of one connection.
pub(super) struct Pings {
    interval: Duration,
    /// When rooms last showed that the account is inside, or were last asked.
    shown: HashMap<String, Instant>,
    asked: Option<Asked>,
}

struct Asked {
    room: String,
    answer: oneshot::Receiver<Result<Element, IqFailure>>,
    deadline: Instant,
}

/// What is next.
pub(in crate::upstream::xmpp::reader) enum Ping {
    /// This room is to be asked.
    Due(String),
    Answered(String, Result<Element, IqFailure>),
}

impl Pings {
    pub fn new(interval: Duration) -> Self {
        Self { interval, shown: HashMap::new(), asked: None }
    }

    /// A room that is asked when it says nothing more.
    pub fn show(&mut self, room: &str) {
        self.shown.insert(room.to_owned(), Instant::now());
    }

    pub fn forget(&mut self, room: &str) {
        self.shown.remove(room);
    }

    async fn next(&mut self) -> Ping {
        if let Some(asked) = &mut self.asked {
            let answer = timeout_at(asked.deadline, &mut asked.answer).await;
            let room = std::mem::take(&mut asked.room);
            self.asked = None;
            return Ping::Answered(
                room,
                answer.map_or(Err(IqFailure::NoAnswer), |answer| answer.unwrap_or(Err(IqFailure::NoAnswer))),
            );
        }
        let longest = self.shown.iter().min_by_key(|(_, at)| **at).map(|(room, at)| (room.clone(), *at));
        let Some((room, at)) = longest else { return std::future::pending().await };
        tokio::time::sleep_until(at + self.interval).await;
        Ping::Due(room)
    }
}

impl RoomWork {
    /// Returns when a room is to be asked, or has answered.
    pub(in crate::upstream::xmpp::reader) async fn ping(&mut self) -> Ping {
        self.pings.next().await
    }
}

impl Reader {
    pub(in crate::upstream::xmpp::reader) async fn take_ping(&mut self, next: Ping) -> Result<(), Stop> {
        match next {
            Ping::Due(room) => {
                if self.memberships.presence(&room) != Some(Presence::Inside) {
                    self.rooms.pings.forget(&room);
                    return Ok(());
                }
                self.rooms.pings.show(&room);
                let question = ping(&format!("{room}/{}", self.nickname()));
                let answer =
                    self.link.begin_to_ask(question).await.map_err(|_| Stop::Link(LinkEnd::Broken))?;
                let deadline = Instant::now() + ANSWER_TIMEOUT;
                self.rooms.pings.asked = Some(Asked { room, answer, deadline });
            }
            Ping::Answered(room, Err(failure)) => {
                let is_lost = failure.condition().is_some_and(|condition| !NO_LOSS.contains(&condition));
                if is_lost && self.memberships.presence(&room) == Some(Presence::Inside) {
                    tracing::debug!(%failure, "a room has dropped the account, which joins again");
                    self.memberships.set_presence(&room, Presence::Outside);
                    self.rooms.refresh(&room);
                }
            }
            Ping::Answered(_, Ok(_)) => {}
        }
        Ok(())
    }
}
