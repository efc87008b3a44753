//! The view of one number on the profile of another, built from events.

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use windu::domain::{PeerPresence, PhotoReference, ProfileNews, Visible};
use windu::upstream::UpstreamEvent;

use crate::phone::{Line, Phone};
use crate::support::wait::DEADLINE;

/// The profile, as a session would store it.
#[derive(Debug, Default)]
pub struct Observer {
    pub status: Visible<String>,
    pub photo: Visible<Option<PhotoReference>>,
    pub presence_hidden: bool,
    /// Online, or offline since this time; `None`: never reported.
    pub seen: Option<(bool, Option<DateTime<Utc>>)>,
    pub gone: bool,
    /// Number of events, without nicknames.
    pub events: usize,
    /// Number of nickname events.
    pub names: usize,
}

impl Observer {
    /// Applies all events of `line` about `whom`, up to a message that `fence` sends to it now.
    pub async fn follow(&mut self, line: &mut Line, owner: &Phone, whom: &Phone, fence: &Line) {
        let id = format!("fence {}", windu::secrets::random_id());
        fence.send(&owner.address(), &id, "text").await.unwrap();
        let mut fenced = false;
        // After a login messages may come before the states.
        while !fenced || (line.reports_states() && !line.caught_up) {
            let Some(event) = line.take_or_caught_up().await else { continue };
            match event {
                UpstreamEvent::Message { id: received, .. } if received == id => fenced = true,
                UpstreamEvent::Profile { of, news: ProfileNews::Nickname(_) } if of == whom.address() => {
                    self.names += 1;
                }
                UpstreamEvent::Profile { of, news } if of == whom.address() => self.apply(news),
                _ => {}
            }
        }
    }

    /// Follows until something is seen. Where messages of others may overtake states, it may take several fences.
    pub async fn until(
        &mut self,
        line: &mut Line,
        (owner, whom): (&Phone, &Phone),
        fence: &Line,
        is_seen: impl Fn(&Self) -> bool,
    ) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.follow(line, owner, whom, fence).await;
            if is_seen(self) {
                return;
            }
            assert!(line.reports_states() && Instant::now() < deadline, "{self:?}");
        }
    }

    fn apply(&mut self, news: ProfileNews) {
        self.events += 1;
        match news {
            ProfileNews::Nickname(_) => {}
            ProfileNews::StatusMessage(text) => self.status = text,
            ProfileNews::Presence(presence) => {
                self.presence_hidden = presence == PeerPresence::Hidden;
                match presence {
                    PeerPresence::Hidden | PeerPresence::Shown => {}
                    PeerPresence::Online => self.seen = Some((true, None)),
                    PeerPresence::Offline { last_seen } => self.seen = Some((false, last_seen)),
                }
            }
            ProfileNews::Photo(photo) => self.photo = photo,
            ProfileNews::Gone => *self = Self { gone: true, events: self.events, ..Self::default() },
        }
    }

    /// The status message; `None` when it is hidden.
    pub fn text(&self) -> Option<&str> {
        match &self.status {
            Visible::Hidden => None,
            Visible::Value(text) => Some(text),
        }
    }

    /// The photo, that there is none, or that it is hidden.
    pub fn picture(&self) -> Visible<bool> {
        match &self.photo {
            Visible::Hidden => Visible::Hidden,
            Visible::Value(photo) => Visible::Value(photo.is_some()),
        }
    }

    /// Whether they are online; `None` when that is hidden or was never reported.
    pub fn online(&self) -> Option<bool> {
        self.seen.filter(|_| !self.presence_hidden).map(|(online, _)| online)
    }
}
