//! What a watcher sees of a person, and its form in presences.
//!
//! Windu's accounts tell each other by an element of their own, because no other form says that something is hidden. For
//! other apps the same presence has the status, the state and the nickname in the usual forms (RFC 6121, section 4.7,
//! XEP-0319, XEP-0172).

use chrono::{DateTime, SecondsFormat, Utc};

use super::apps::cut;
use super::xml::{Build as _, Element, child_text, element, ns};
use crate::domain::{PeerPresence, ProfileNews, Visible};

/// The element of Windu's accounts.
const SHOWN: &str = "urn:windu:shown:0";

/// A profile as one watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub nickname: String,
    pub status: Visible<String>,
    /// The id of the picture (XEP-0084): the SHA-1 of its bytes in hexadecimal digits.
    pub photo: Visible<Option<String>>,
    pub presence: PeerPresence,
}

impl View {
    /// What a blocked person sees.
    pub fn nothing() -> Self {
        Self {
            nickname: String::new(),
            status: Visible::Hidden,
            photo: Visible::Hidden,
            presence: PeerPresence::Hidden,
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// The presence that shows this to `to`, or to all subscribers. `explicit`: with the element of Windu's accounts; without
    /// it they wait for a presence of their own.
    pub fn presence(&self, to: Option<&str>, explicit: bool) -> Element {
        let mut presence = element("presence", ns::CLIENT);
        if let Some(to) = to {
            presence = presence.attribute("to", to);
        }
        if let PeerPresence::Offline { .. } | PeerPresence::Hidden | PeerPresence::Shown = self.presence {
            // An account that is shown as offline receives its messages all the same.
            presence = presence.child(element("show", ns::CLIENT).content("xa"));
        }
        if let Visible::Value(text) = &self.status
            && !text.is_empty()
        {
            presence = presence.child(element("status", ns::CLIENT).content(text));
        }
        if let PeerPresence::Offline { last_seen: Some(since) } = self.presence {
            presence = presence.child(element("idle", ns::IDLE).attribute("since", &stamp(since)));
        }
        if !self.nickname.is_empty() {
            presence = presence.child(element("nick", ns::NICK).content(&self.nickname));
        }
        if explicit { presence.child(self.shown()) } else { presence }
    }

    fn shown(&self) -> Element {
        let mut shown = element("shown", SHOWN).child(element("nickname", SHOWN).content(&self.nickname));
        shown = shown.child(match &self.status {
            Visible::Hidden => hidden("status"),
            Visible::Value(text) => element("status", SHOWN).content(text),
        });
        shown = shown.child(match &self.photo {
            Visible::Hidden => hidden("photo"),
            Visible::Value(id) => element("photo", SHOWN).content(id.as_deref().unwrap_or_default()),
        });
        shown.child(match self.presence {
            PeerPresence::Hidden | PeerPresence::Shown => hidden("presence"),
            PeerPresence::Online => element("presence", SHOWN).content("online"),
            PeerPresence::Offline { last_seen } => {
                let offline = element("presence", SHOWN).content("offline");
                match last_seen {
                    Some(since) => offline.attribute("since", &stamp(since)),
                    None => offline,
                }
            }
        })
    }

    /// What a presence of a Windu account shows; `None`: another presence says it.
    pub fn of_windu(presence: &Element) -> Option<Self> {
        let shown = presence.get_child("shown", SHOWN)?;
        let part = |name| match shown.get_child(name, SHOWN) {
            Some(part) if part.attr("hidden").is_none() => Visible::Value(part.text()),
            Some(_) | None => Visible::Hidden,
        };
        let presence = match part("presence") {
            Visible::Hidden => PeerPresence::Hidden,
            Visible::Value(state) if state == "online" => PeerPresence::Online,
            Visible::Value(_) => {
                let part = shown.get_child("presence", SHOWN);
                PeerPresence::Offline { last_seen: part.and_then(|part| time(part.attr("since")?)) }
            }
        };
        Some(Self {
            nickname: child_text(shown, "nickname", SHOWN).unwrap_or_default(),
            status: part("status"),
            photo: match part("photo") {
                Visible::Hidden => Visible::Hidden,
                Visible::Value(id) => Visible::Value(Some(id).filter(|id| !id.is_empty())),
            },
            presence,
        })
    }

    /// What a presence of another app shows. Its nickname and photo do not come with it, so `before` has them.
    pub fn of_app(presence: &Element, before: Option<&Self>, now: DateTime<Utc>) -> Self {
        let is_away = matches!(child_text(presence, "show", ns::CLIENT).as_deref(), Some("away" | "xa"));
        let idle = presence.get_child("idle", ns::IDLE).and_then(|idle| time(idle.attr("since")?));
        let state = if presence.attr("type") == Some("unavailable") {
            PeerPresence::Offline { last_seen: Some(now) }
        } else if is_away && idle.is_some() {
            PeerPresence::Offline { last_seen: idle }
        } else {
            PeerPresence::Online
        };
        let nickname = child_text(presence, "nick", ns::NICK).map(|nickname| cut(&nickname));
        Self {
            nickname: nickname.or_else(|| before.map(|before| before.nickname.clone())).unwrap_or_default(),
            status: Visible::Value(child_text(presence, "status", ns::CLIENT).unwrap_or_default()),
            photo: before.map_or(Visible::Value(None), |before| before.photo.clone()),
            presence: state,
        }
    }

    /// What has changed since `before`, in the order in which it is reported. `live`: the account is online, so presence is
    /// news.
    pub fn news(&self, before: Option<&Self>, reference: &str, live: bool) -> Vec<ProfileNews> {
        let mut news = Vec::new();
        // A blocked person keeps the last nickname.
        if !self.is_nothing() && before.is_none_or(|before| before.nickname != self.nickname) {
            news.push(ProfileNews::Nickname(self.nickname.clone()));
        }
        if before.is_none_or(|before| before.status != self.status) {
            news.push(ProfileNews::StatusMessage(self.status.clone()));
        }
        if before.is_none_or(|before| before.photo != self.photo) {
            news.push(ProfileNews::Photo(match &self.photo {
                Visible::Hidden => Visible::Hidden,
                Visible::Value(None) => Visible::Value(None),
                Visible::Value(Some(id)) => {
                    let photo = format!("{reference}/{id}");
                    Visible::Value(Some(crate::domain::PhotoReference { photo, preview: None }))
                }
            }));
        }
        let was = before.map(|before| before.presence);
        let is_hidden = self.presence == PeerPresence::Hidden;
        let presence = match was {
            Some(was) if was == self.presence => None,
            _ if is_hidden || live => Some(self.presence),
            Some(PeerPresence::Hidden) => Some(PeerPresence::Shown),
            _ => None,
        };
        // That somebody was never online is no news.
        let never = was.is_none() && self.presence == (PeerPresence::Offline { last_seen: None });
        news.extend(presence.filter(|_| !never).map(ProfileNews::Presence));
        news
    }
}

fn hidden(name: &'static str) -> Element {
    element(name, SHOWN).attribute("hidden", "true")
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            nickname: "Anna".to_owned(),
            status: Visible::Value("At work".to_owned()),
            photo: Visible::Value(Some("ab".to_owned())),
            presence: PeerPresence::Offline { last_seen: DateTime::from_timestamp(1_466_000_000, 5_000) },
        }
    }

    #[test]
    fn a_view_arrives_as_it_was_shown() {
        for view in [
            view(),
            View::nothing(),
            View { presence: PeerPresence::Online, status: Visible::Value(String::new()), ..view() },
            View {
                photo: Visible::Value(None),
                presence: PeerPresence::Offline { last_seen: None },
                ..view()
            },
        ] {
            assert_eq!(View::of_windu(&view.presence(Some("a@b"), true)), Some(view.clone()));
            assert_eq!(View::of_windu(&view.presence(None, false)), None);
        }
    }

    #[test]
    fn another_app_sees_the_usual_forms_and_nothing_hidden() {
        let seen = View::of_app(&view().presence(None, false), None, DateTime::UNIX_EPOCH);
        assert_eq!((seen.nickname.as_str(), seen.status), ("Anna", Visible::Value("At work".to_owned())));
        assert_eq!(seen.presence, view().presence);
        let hidden = String::from(&View::nothing().presence(None, false));
        assert_eq!(hidden, "<presence xmlns='jabber:client'><show>xa</show></presence>");
    }

    #[test]
    fn only_changes_are_news() {
        assert_eq!(view().news(Some(&view()), "r", true), []);
        let hidden = View { presence: PeerPresence::Hidden, ..view() };
        assert_eq!(hidden.news(Some(&view()), "r", false), [ProfileNews::Presence(PeerPresence::Hidden)]);
        assert_eq!(view().news(Some(&hidden), "r", false), [ProfileNews::Presence(PeerPresence::Shown)]);
        assert_eq!(view().news(Some(&hidden), "r", true), [ProfileNews::Presence(view().presence)]);
    }
}
