//! The people whose profiles an account watches: their presences become profile news.
//!
//! A presence says a whole state, not a change, and a server sends it again at each login. So what was reported is kept for
//! the life of a connection, and only differences are news.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::address;
use super::apps::Published;
use super::view::View;
use super::xml::{Element, child_text, ns};
use crate::clock;
use crate::domain::{PeerPresence, ProfileNews};
use crate::upstream::{Address, UpstreamEvent};

/// The subscription between the account and a person (RFC 6121, section 2.1.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The account receives the person's presence.
    pub to: bool,
    /// The person receives the account's presence.
    pub from: bool,
}

/// The people around one account. Addresses are without resources.
#[derive(Default)]
pub(super) struct Watching {
    own_domain: String,
    /// The account is online itself, so it receives the presence of others.
    online: bool,
    people: HashMap<String, Person>,
    /// `None`: all to whose presence the account is subscribed, since an earlier connection watched them.
    watched: Option<HashSet<String>>,
    blocked: HashSet<String>,
    news: Vec<UpstreamEvent>,
    /// People with other apps of whom more has to be asked for.
    lookups: BTreeSet<String>,
}

#[derive(Default)]
struct Person {
    subscription: Subscription,
    /// As the last presence showed it.
    view: Option<View>,
    /// As it was last reported.
    reported: Option<View>,
    /// Of a person with another app, while it is online: the picture that its last presence named, if it named one.
    picture: Option<String>,
}

/// What has to be sent after a presence was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The person may receive the account's presence.
    Approve(String),
    /// Ask for the person's presence.
    Subscribe(String),
    /// The person has come online, and has to be shown what only some may see.
    Show(String),
}

impl Watching {
    pub fn new(own_domain: String) -> Self {
        Self { own_domain, ..Self::default() }
    }

    /// Takes the account's contact list on the server, as it was at the login.
    pub fn set_roster(&mut self, answer: &Element) {
        let Some(query) = answer.get_child("query", ns::ROSTER) else { return };
        for item in query.children() {
            let Some(who) = item.attr("jid") else { continue };
            let kind = item.attr("subscription").unwrap_or_default();
            let subscription =
                Subscription { to: matches!(kind, "to" | "both"), from: matches!(kind, "from" | "both") };
            self.people.entry(who.to_owned()).or_default().subscription = subscription;
        }
    }

    /// The people who receive the account's presence.
    pub fn subscribers(&self) -> Vec<String> {
        let subscribers = self.people.iter().filter(|(_, person)| person.subscription.from);
        subscribers.map(|(who, _)| who.clone()).collect()
    }

    pub fn is_subscriber(&self, who: &str) -> bool {
        self.people.get(who).is_some_and(|person| person.subscription.from)
    }

    /// The person does not receive the account's presence any more.
    pub fn unsubscribe(&mut self, who: &str) {
        if let Some(person) = self.people.get_mut(who) {
            person.subscription.from = false;
        }
    }

    pub fn is_blocked(&self, who: &str) -> bool {
        self.blocked.contains(who)
    }

    pub fn blocked(&self) -> impl Iterator<Item = &str> {
        self.blocked.iter().map(String::as_str)
    }

    pub fn is_number(&self, who: &str) -> bool {
        address::number(who, &self.own_domain).is_some()
    }

    /// Replaces the watched people; returns those whose presence has to be asked for.
    pub fn watch(&mut self, peers: &[Address]) -> Vec<String> {
        let watched = peers.iter().filter(|peer| address::room(peer).is_none()).map(|peer| peer.0.clone());
        self.watched = Some(watched.collect());
        let watched = self.watched();
        for who in &watched {
            self.report(who);
        }
        watched.into_iter().filter(|who| !self.is_subscribed(who)).collect()
    }

    /// The account receives the person's presence.
    pub fn is_subscribed(&self, who: &str) -> bool {
        self.people.get(who).is_some_and(|person| person.subscription.to)
    }

    fn watched(&self) -> Vec<String> {
        match &self.watched {
            Some(watched) => watched.iter().cloned().collect(),
            None => self.people.keys().filter(|who| self.is_subscribed(who)).cloned().collect(),
        }
    }

    pub fn is_watched(&self, who: &str) -> bool {
        self.watched.as_ref().map_or_else(|| self.is_subscribed(who), |watched| watched.contains(who))
    }

    /// Sets whether the account is online. Those who come online hear what they have missed.
    pub fn set_online(&mut self, online: bool) {
        self.online = online;
        if online {
            for who in self.watched() {
                self.report(&who);
            }
        }
    }

    /// Replaces the blocked people; returns those who are blocked from now on and those who are not any more.
    pub fn set_blocked(&mut self, blocked: &[Address]) -> (Vec<String>, Vec<String>) {
        let blocked: HashSet<String> = blocked.iter().map(|who| who.0.clone()).collect();
        let added: Vec<String> = blocked.difference(&self.blocked).cloned().collect();
        let removed: Vec<String> = self.blocked.difference(&blocked).cloned().collect();
        self.blocked = blocked;
        for who in added.iter().chain(&removed) {
            self.report(who);
        }
        (added, removed)
    }

    /// Takes a presence; returns what has to be sent because of it.
    pub fn receive(&mut self, presence: &Element) -> Vec<Reaction> {
        let Some(who) = presence.attr("from").map(address::bare) else { return Vec::new() };
        let who = who.to_owned();
        let (is_number, is_blocked) = (self.is_number(&who), self.is_blocked(&who));
        let is_watched = self.is_watched(&who);
        // Anybody may send presences: who is nothing to the account must not fill its memory.
        let is_known = is_number || is_watched || self.people.contains_key(&who);
        if !is_known && presence.attr("type") != Some("subscribe") {
            return Vec::new();
        }
        let person = self.people.entry(who.clone()).or_default();
        let mut reactions = Vec::new();
        match presence.attr("type") {
            None | Some("unavailable") => {
                let is_available = presence.attr("type").is_none();
                let view = if is_number {
                    // That a session of Windu has ended shows nothing: its account is as its user wants it.
                    View::of_windu(presence)
                } else {
                    // With each login, and with each picture.
                    let picture = is_available.then(|| picture_of(presence));
                    if picture.is_some() && picture != person.picture && is_watched && !is_blocked {
                        self.lookups.insert(who.clone());
                    }
                    person.picture = picture;
                    Some(View::of_app(presence, person.view.as_ref(), clock::now()))
                };
                let shows_something = view.as_ref().is_some_and(|view| !view.is_nothing());
                person.view = view.or_else(|| person.view.take());
                if is_available && person.subscription.from {
                    reactions.push(Reaction::Show(who.clone()));
                }
                if is_watched && shows_something && !person.subscription.to {
                    reactions.push(Reaction::Subscribe(who.clone()));
                }
                self.report(&who);
            }
            Some("subscribe") if is_blocked => {}
            Some("subscribe") => {
                person.subscription.from = true;
                reactions.push(Reaction::Approve(who.clone()));
                // Only in both directions does the account hear when the other one comes online. People with other apps
                // would see a request.
                if is_number && !person.subscription.to {
                    reactions.push(Reaction::Subscribe(who.clone()));
                }
                reactions.push(Reaction::Show(who));
            }
            Some("subscribed") => person.subscription.to = true,
            Some("unsubscribe") => person.subscription.from = false,
            Some("unsubscribed") => {
                person.subscription.to = false;
                // A server says so when the account is deleted. A block shows nothing before it.
                let is_block = person.view.as_ref().is_some_and(View::is_nothing);
                if is_number && !is_block && person.reported.take().is_some() {
                    person.view = None;
                    self.news.push(news(&who, ProfileNews::Gone));
                }
            }
            Some(_) => {}
        }
        reactions
    }

    /// Whether the presence of somebody who has just written has to be asked for: a server may have dropped an earlier request,
    /// because the number did not exist yet.
    pub fn is_missing(&self, who: &str) -> bool {
        self.is_number(who) && self.is_watched(who) && !self.is_subscribed(who)
    }

    /// A person with another app whose nickname and picture have to be asked for, once.
    pub fn next_lookup(&mut self) -> Option<String> {
        self.lookups.pop_first()
    }

    /// Takes what a person with another app publishes.
    pub fn found(&mut self, who: &str, published: Published) {
        let view = self.people.get_mut(who).and_then(|person| person.view.as_mut());
        let Some(view) = view else { return };
        if let Some(nickname) = published.nickname {
            view.nickname = nickname;
        }
        if let Some(photo) = published.photo {
            view.photo = photo;
        }
        self.report(who);
    }

    /// What was not reported yet.
    pub fn take_news(&mut self) -> Vec<UpstreamEvent> {
        std::mem::take(&mut self.news)
    }

    /// Reports what has changed of a watched person.
    fn report(&mut self, who: &str) {
        if !self.is_watched(who) {
            return;
        }
        let is_blocked = self.blocked.contains(who);
        let Some(person) = self.people.get_mut(who) else { return };
        if is_blocked {
            // The account sees no changes of those whom it has blocked, and no presence.
            if let Some(reported) = &mut person.reported
                && reported.presence != PeerPresence::Hidden
            {
                reported.presence = PeerPresence::Hidden;
                self.news.push(news(who, ProfileNews::Presence(PeerPresence::Hidden)));
            }
            return;
        }
        let Some(view) = &person.view else { return };
        let found = view.news(person.reported.as_ref(), who, self.online);
        let mut reported = view.clone();
        let presence = found.iter().find_map(|news| match news {
            ProfileNews::Presence(presence) => Some(*presence),
            _ => None,
        });
        // What was not reported of the presence is news later.
        let before = person.reported.as_ref().map(|reported| reported.presence);
        reported.presence = presence.or(before).unwrap_or(PeerPresence::Offline { last_seen: None });
        if view.is_nothing() {
            reported.nickname = person.reported.take().map(|reported| reported.nickname).unwrap_or_default();
        }
        person.reported = Some(reported);
        self.news.extend(found.into_iter().map(|found| news(who, found)));
    }
}

/// The picture that a presence names (XEP-0153), which is another form of the published one.
fn picture_of(presence: &Element) -> String {
    const UPDATE: &str = "vcard-temp:x:update";
    let named = presence.get_child("x", UPDATE).and_then(|update| child_text(update, "photo", UPDATE));
    named.unwrap_or_default()
}

fn news(of: &str, news: ProfileNews) -> UpstreamEvent {
    UpstreamEvent::Profile { of: Address(of.to_owned()), news }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Visible;

    const ANNA: &str = "15550100001@windu.example";

    fn watching() -> Watching {
        let mut watching = Watching::new("windu.example".to_owned());
        watching.set_online(true);
        assert_eq!(watching.watch(&[Address(ANNA.to_owned())]), [ANNA]);
        watching
    }

    fn shown(status: &str) -> Element {
        let view = View {
            nickname: "Anna".to_owned(),
            status: Visible::Value(status.to_owned()),
            photo: Visible::Value(None),
            presence: PeerPresence::Online,
        };
        from_anna(view.presence(None, true))
    }

    fn from_anna(presence: Element) -> Element {
        use super::super::xml::Build as _;
        presence.attribute("from", &format!("{ANNA}/windu"))
    }

    #[test]
    fn a_state_is_reported_once_and_a_change_again() {
        let mut watching = watching();
        watching.receive(&shown("At work"));
        assert_eq!(watching.take_news().len(), 4);
        watching.receive(&shown("At work"));
        assert_eq!(watching.take_news(), []);
        watching.receive(&shown("At home"));
        let at_home = ProfileNews::StatusMessage(Visible::Value("At home".to_owned()));
        assert_eq!(watching.take_news(), [news(ANNA, at_home)]);
    }

    #[test]
    fn presences_of_strangers_are_not_kept() {
        use super::super::xml::Build as _;
        let mut watching = watching();
        for index in 0..3 {
            let from = format!("stranger{index}@elsewhere.example/app");
            let presence: Element = "<presence xmlns='jabber:client'/>".parse().expect("XML");
            assert_eq!(watching.receive(&presence.attribute("from", &from)), []);
        }
        assert_eq!(watching.people.len(), 0);
    }

    #[test]
    fn a_blocked_person_shows_no_changes_until_the_block_ends() {
        let mut watching = watching();
        watching.receive(&shown("At work"));
        watching.take_news();
        watching.set_blocked(&[Address(ANNA.to_owned())]);
        assert_eq!(watching.take_news(), [news(ANNA, ProfileNews::Presence(PeerPresence::Hidden))]);
        watching.receive(&shown("At home"));
        assert_eq!(watching.take_news(), []);
        watching.set_blocked(&[]);
        assert_eq!(watching.take_news().len(), 2);
    }

    #[test]
    fn an_end_without_a_block_means_that_the_number_is_gone() {
        let mut watching = watching();
        watching.receive(&shown("At work"));
        watching.take_news();
        let unsubscribed: Element =
            "<presence xmlns='jabber:client' type='unsubscribed'/>".parse().expect("XML");
        watching.receive(&from_anna(unsubscribed.clone()));
        assert_eq!(watching.take_news(), [news(ANNA, ProfileNews::Gone)]);
        watching.receive(&shown("At work"));
        watching.receive(&from_anna(View::nothing().presence(None, true)));
        watching.take_news();
        watching.receive(&from_anna(unsubscribed));
        assert_eq!(watching.take_news(), []);
    }
}
