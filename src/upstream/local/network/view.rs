//! The view that a watcher has of a subscriber's profile, and the stanzas that update it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::{Audience, PeerPresence, Photo, Privacy, Visible};
use crate::upstream::local::stanza::Stanza;

/// The profile of a watched subscriber.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedProfile {
    pub nickname: String,
    pub status_message: String,
    pub photo: Option<Photo>,
    pub presence: PresenceState,
    pub privacy: Privacy,
}

/// The relation between a watched subscriber and one of its watchers.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
pub(super) struct Relation {
    /// They are one subscriber.
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PresenceState {
    pub online: bool,
    pub last_seen: Option<DateTime<Utc>>,
}

/// The profile as the watcher knows it from the stanzas so far. The default is the view of an empty profile.
///
/// Its JSON lies in `localnet_watch.told`, where programs of the previous version read and write it too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct View {
    nickname: String,
    status_message: Visible<String>,
    photo: Visible<Option<Photo>>,
    presence_hidden: bool,
    /// As last sent: it does not change while it is hidden or the watcher is offline.
    seen: PresenceState,
}

impl View {
    /// The view after this one, by what the watcher may see now.
    ///
    /// A watcher that is blocked keeps the name that it knows and sees nothing else. A watcher that has blocked the
    /// subscriber keeps all that it knows, but the presence is hidden. Presence is visible only while the watcher is
    /// online itself.
    pub fn now(&self, watched: &WatchedProfile, relation: Relation) -> Self {
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
        let is_frozen = has_blocked && !is_self;
        let presence_hidden = is_frozen || !shows(watched.privacy.last_seen);
        Self {
            nickname: if is_frozen || is_blocked { &self.nickname } else { &watched.nickname }.clone(),
            status_message: if is_frozen {
                self.status_message.clone()
            } else {
                value(shows(watched.privacy.status_message), &watched.status_message)
            },
            photo: if is_frozen { self.photo } else { value(shows(watched.privacy.photo), &watched.photo) },
            presence_hidden,
            seen: if is_online && !presence_hidden { watched.presence } else { self.seen },
        }
    }

    /// Whether the view has this photo.
    pub fn shows(&self, photo: Photo) -> bool {
        self.photo == Visible::Value(Some(photo))
    }

    /// The stanzas that turn this view into `now`.
    pub fn updates(&self, now: &Self) -> Vec<Stanza> {
        let mut updates = Vec::new();
        if self.nickname != now.nickname {
            updates.push(Stanza::Profile { nickname: now.nickname.clone() });
        }
        if self.status_message != now.status_message {
            updates.push(Stanza::StatusMessage { shown: now.status_message.clone() });
        }
        if self.photo != now.photo {
            updates.push(Stanza::Photo { shown: now.photo });
        }
        let presence = match (self.presence_hidden, now.presence_hidden) {
            (false, true) => Some(PeerPresence::Hidden),
            (_, false) if self.seen != now.seen => Some(match now.seen {
                PresenceState { online: true, .. } => PeerPresence::Online,
                PresenceState { online: false, last_seen } => PeerPresence::Offline { last_seen },
            }),
            (true, false) => Some(PeerPresence::Shown),
            (true, true) | (false, false) => None,
        };
        updates.extend(presence.map(|presence| Stanza::Presence { presence }));
        updates
    }
}

fn value<T: Clone>(is_shown: bool, value: &T) -> Visible<T> {
    if is_shown { Visible::Value(value.clone()) } else { Visible::Hidden }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BlobHash;

    fn watched() -> WatchedProfile {
        WatchedProfile {
            nickname: "Anna".to_owned(),
            status_message: "Hello".to_owned(),
            photo: Some(Photo { photo: BlobHash([1; 32]), preview: BlobHash([2; 32]) }),
            presence: PresenceState { online: true, last_seen: None },
            privacy: Privacy::default(),
        }
    }

    /// Programs of different versions read each other's watches, so this JSON does not change.
    #[test]
    fn the_json_of_a_view_is_fixed() {
        let mut subscriber = watched();
        subscriber.presence.last_seen = Some("2026-11-25T12:00:00Z".parse().expect("a time"));
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
    fn a_view_that_is_up_to_date_needs_no_update() {
        let online = Relation { is_online: true, ..Relation::default() };
        let before = View::default().now(&watched(), online);
        assert_eq!(View::default().updates(&before).len(), 4);
        assert_eq!(before.updates(&before.now(&watched(), online)), []);
        // An empty profile needs no update.
        assert_eq!(View::default().updates(&View::default().now(&WatchedProfile::default(), online)), []);
        let stored = serde_json::from_value(serde_json::to_value(&before).expect("JSON")).expect("a view");
        assert_eq!(before, stored);
    }

    #[test]
    fn presence_is_sent_to_watchers_that_are_online() {
        let (away, online) = (Relation::default(), Relation { is_online: true, ..Relation::default() });
        let before = View::default().now(&watched(), away);
        assert_eq!(View::default().updates(&before).len(), 3, "nickname, status message and photo");
        let seen = before.now(&watched(), online);
        assert_eq!(before.updates(&seen), [Stanza::Presence { presence: PeerPresence::Online }]);
        // The view does not change when the watcher goes offline, and is restored when it is no longer hidden.
        let mut hiding = watched();
        hiding.privacy.last_seen = Audience::None;
        hiding.presence = PresenceState::default();
        let hidden = seen.now(&hiding, away);
        assert_eq!(seen.updates(&hidden), [Stanza::Presence { presence: PeerPresence::Hidden }]);
        hiding.privacy.last_seen = Audience::All;
        let again = hidden.now(&hiding, away);
        assert_eq!(hidden.updates(&again), [Stanza::Presence { presence: PeerPresence::Shown }]);
        assert_eq!(again, seen);
    }

    #[test]
    fn a_watcher_that_has_blocked_keeps_what_it_saw() {
        let online = Relation { is_online: true, ..Relation::default() };
        let before = View::default().now(&watched(), online);
        let blocking = Relation { has_blocked: true, ..online };
        let mut changed = watched();
        changed.nickname = "Annika".to_owned();
        changed.status_message = "Goodbye".to_owned();
        changed.photo = None;
        let now = before.now(&changed, blocking);
        assert_eq!(before.updates(&now), [Stanza::Presence { presence: PeerPresence::Hidden }]);
        assert_eq!(now.updates(&now.now(&changed, online)).len(), 4);
    }

    #[test]
    fn a_blocked_watcher_sees_nothing_more() {
        let online = Relation { is_online: true, ..Relation::default() };
        let before = View::default().now(&watched(), online);
        let now = before.now(&watched(), Relation { is_blocked: true, is_contact: true, ..online });
        let hidden = [
            Stanza::StatusMessage { shown: Visible::Hidden },
            Stanza::Photo { shown: Visible::Hidden },
            Stanza::Presence { presence: PeerPresence::Hidden },
        ];
        assert_eq!(before.updates(&now), hidden);
        // A subscriber that blocks itself still sees itself.
        let own = Relation { is_self: true, is_blocked: true, has_blocked: true, ..online };
        assert_eq!(before.updates(&before.now(&watched(), own)), []);
    }
}
