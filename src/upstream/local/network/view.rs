//! What one subscriber may see of another, and what is news in it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::{Audience, PeerPresence, Photo, Privacy, Visible};

/// Something that a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The name.
    Nickname(String),
    /// The status message.
    StatusMessage(Visible<String>),
    /// The photo.
    Photo(Visible<Option<Photo>>),
    /// Online, offline, or not to be seen.
    Presence(PeerPresence),
}

/// A subscriber as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub nickname: String,
    pub status_message: String,
    pub photo: Option<Photo>,
    pub seen: PresenceRow,
    pub privacy: Privacy,
}

/// What is between it and one who watches it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
pub(super) struct Relation {
    /// They are one and the same.
    pub is_self: bool,
    /// The watcher is in the contact list of the watched.
    pub is_contact: bool,
    /// The watched has blocked the watcher.
    pub is_blocked: bool,
    /// The watcher has blocked the watched.
    pub has_blocked: bool,
    /// The watcher is online.
    pub is_online: bool,
}

/// A presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PresenceRow {
    pub online: bool,
    pub last_seen: Option<DateTime<Utc>>,
}

/// What a watcher was told last. Nothing was told: nobody shows anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct View {
    nickname: String,
    status_message: Visible<String>,
    photo: Visible<Option<Photo>>,
    presence_hidden: bool,
    /// Told last, before it was hidden, and while the watcher was online.
    seen: PresenceRow,
}

impl View {
    /// What the watcher may see now.
    ///
    /// Of somebody who has blocked it, nothing; of somebody whom it has blocked what it saw before, and no presence.
    /// Whether somebody is online it is told only while it is online itself.
    pub fn now(&self, watched: &Watched, relation: Relation) -> Self {
        let Relation { is_self, is_contact, is_blocked, has_blocked, is_online } = relation;
        let shows = |audience| {
            is_self
                || !is_blocked
                    && match audience {
                        Audience::None => false,
                        Audience::Contacts => is_contact,
                        Audience::All => true,
                    }
        };
        let keeps = has_blocked && !is_self;
        let presence_hidden = keeps || !shows(watched.privacy.last_seen);
        Self {
            nickname: if keeps || is_blocked { &self.nickname } else { &watched.nickname }.clone(),
            status_message: if keeps {
                self.status_message.clone()
            } else {
                value(shows(watched.privacy.status_message), &watched.status_message)
            },
            photo: if keeps { self.photo } else { value(shows(watched.privacy.photo), &watched.photo) },
            presence_hidden,
            seen: if is_online && !presence_hidden { watched.seen } else { self.seen },
        }
    }

    /// Whether the watcher was told of this photo.
    pub fn shows(&self, photo: Photo) -> bool {
        self.photo == Visible::Value(Some(photo))
    }

    /// What to tell a watcher that was told this, so that it sees `now`.
    pub fn news(&self, now: &Self) -> Vec<News> {
        let mut news = Vec::new();
        if self.nickname != now.nickname {
            news.push(News::Nickname(now.nickname.clone()));
        }
        if self.status_message != now.status_message {
            news.push(News::StatusMessage(now.status_message.clone()));
        }
        if self.photo != now.photo {
            news.push(News::Photo(now.photo));
        }
        let presence = match (self.presence_hidden, now.presence_hidden) {
            (false, true) => Some(PeerPresence::Hidden),
            (_, false) if self.seen != now.seen => Some(match now.seen {
                PresenceRow { online: true, .. } => PeerPresence::Online,
                PresenceRow { online: false, last_seen } => PeerPresence::Offline { last_seen },
            }),
            (true, false) => Some(PeerPresence::Shown),
            (true, true) | (false, false) => None,
        };
        news.extend(presence.map(News::Presence));
        news
    }
}

fn value<T: Clone>(is_shown: bool, value: &T) -> Visible<T> {
    if is_shown { Visible::Value(value.clone()) } else { Visible::Hidden }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BlobHash;

    fn watched() -> Watched {
        Watched {
            nickname: "Anna".to_owned(),
            status_message: "Hello".to_owned(),
            photo: Some(Photo { photo: BlobHash([1; 32]), preview: BlobHash([2; 32]) }),
            seen: PresenceRow { online: true, last_seen: None },
            privacy: Privacy::default(),
        }
    }

    /// Programs of different versions read each other's watches, so this JSON does not change.
    #[test]
    fn the_json_of_a_view_is_fixed() {
        let mut subscriber = watched();
        subscriber.seen.last_seen = Some("2026-11-25T12:00:00Z".parse().expect("a time"));
        let view = View::default().now(&subscriber, Relation { is_online: true, ..Relation::default() });
        let hashes = ["01".repeat(32), "02".repeat(32)];
        let json = serde_json::json!({
            "nickname": "Anna",
            "status_message": {"value": "Hello"},
            "photo": {"value": {"photo": hashes[0], "preview": hashes[1]}},
            "presence_hidden": false,
            "seen": {"online": true, "last_seen": "2026-11-25T12:00:00Z"},
        });
        assert_eq!(serde_json::to_value(&view).expect("JSON"), json);
        assert_eq!(serde_json::from_value::<View>(json).expect("a view"), view);
        // A watch begins with an empty object.
        assert_eq!(serde_json::from_value::<View>(serde_json::json!({})).expect("a view"), View::default());
    }

    #[test]
    fn what_was_told_is_no_news() {
        let online = Relation { is_online: true, ..Relation::default() };
        let told = View::default().now(&watched(), online);
        assert_eq!(View::default().news(&told).len(), 4);
        assert_eq!(told.news(&told.now(&watched(), online)), []);
        // Nobody who shows nothing is news.
        assert_eq!(View::default().news(&View::default().now(&Watched::default(), online)), []);
        let kept = serde_json::from_value(serde_json::to_value(&told).expect("JSON")).expect("a view");
        assert_eq!(told, kept);
    }

    #[test]
    fn presence_is_told_to_those_who_are_online() {
        let (away, online) = (Relation::default(), Relation { is_online: true, ..Relation::default() });
        let told = View::default().now(&watched(), away);
        assert_eq!(View::default().news(&told).len(), 3, "nickname, status message and photo");
        let seen = told.now(&watched(), online);
        assert_eq!(told.news(&seen), [News::Presence(PeerPresence::Online)]);
        // What it saw stays when it goes offline, and comes back when it is no longer hidden.
        let mut hiding = watched();
        hiding.privacy.last_seen = Audience::None;
        hiding.seen = PresenceRow::default();
        let hidden = seen.now(&hiding, away);
        assert_eq!(seen.news(&hidden), [News::Presence(PeerPresence::Hidden)]);
        hiding.privacy.last_seen = Audience::All;
        let again = hidden.now(&hiding, away);
        assert_eq!(hidden.news(&again), [News::Presence(PeerPresence::Shown)]);
        assert_eq!(again, seen);
    }

    #[test]
    fn who_has_blocked_somebody_keeps_what_it_saw() {
        let online = Relation { is_online: true, ..Relation::default() };
        let told = View::default().now(&watched(), online);
        let blocking = Relation { has_blocked: true, ..online };
        let mut changed = watched();
        changed.nickname = "Annika".to_owned();
        changed.status_message = "Goodbye".to_owned();
        changed.photo = None;
        let now = told.now(&changed, blocking);
        assert_eq!(told.news(&now), [News::Presence(PeerPresence::Hidden)]);
        assert_eq!(now.news(&now.now(&changed, online)).len(), 4);
    }

    #[test]
    fn who_is_blocked_sees_nothing_more() {
        let online = Relation { is_online: true, ..Relation::default() };
        let told = View::default().now(&watched(), online);
        let now = told.now(&watched(), Relation { is_blocked: true, is_contact: true, ..online });
        let hidden = [
            News::StatusMessage(Visible::Hidden),
            News::Photo(Visible::Hidden),
            News::Presence(PeerPresence::Hidden),
        ];
        assert_eq!(told.news(&now), hidden);
        // Whoever blocks themselves still sees themselves.
        let own = Relation { is_self: true, is_blocked: true, has_blocked: true, ..online };
        assert_eq!(told.news(&told.now(&watched(), own)), []);
    }
}
