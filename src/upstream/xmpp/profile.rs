//! The account's own profile: what others are shown of it.
//!
//! What all subscribers may see goes out as one presence, which the server repeats to those who come online. As soon as a
//! setting distinguishes contacts, each subscriber gets a presence of its own, again whenever it comes online.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::apps::Published;
use super::connection::XmppConnection;
use super::link::Link;
use super::picture::{PICTURE, Picture};
use super::view::View;
use super::watching::{Reaction, Watching};
use super::xml::{Build as _, Element, element, ns};
use crate::clock;
use crate::domain::{Audience, PeerPresence, Photo, Privacy, Visible};
use crate::upstream::{AdapterState, Address, BlobStorage, Failure, Profile, UpstreamEvent};

/// Since when the account is shown as offline, in the adapter's state: a new connection is no news.
const OFFLINE_SINCE: &str = "profile.offline_since";

/// For the approvals of those who are connected.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The profile of one connection. Clones share it.
#[derive(Clone)]
pub(super) struct OwnProfile(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) link: Link,
    pub(super) blobs: Arc<dyn BlobStorage>,
    pub(super) state: Arc<dyn AdapterState>,
    /// Held while presences are sent, so that the last one shows the last state.
    pub(super) own: tokio::sync::Mutex<Own>,
    watching: Mutex<Watching>,
    has_news: Notify,
    /// There are people to look up.
    has_lookups: Notify,
    /// Somebody has approved a subscription.
    approved: Notify,
}

/// The desired state, and what of it was sent.
#[derive(Default)]
pub(super) struct Own {
    /// The account may receive messages by now, so presences may be sent.
    is_announced: bool,
    nickname: String,
    status: String,
    pub(super) picture: Picture,
    online: bool,
    offline_since: Option<DateTime<Utc>>,
    pub(super) privacy: Privacy,
    pub(super) contacts: HashSet<String>,
    /// The last presence to all subscribers.
    broadcast: Option<Element>,
    /// The last presences to single people.
    directed: HashMap<String, View>,
}

impl Own {
    /// What a person sees who is not blocked.
    fn view(&self, is_contact: bool) -> View {
        let sees = |audience| match audience {
            Audience::All => true,
            Audience::Contacts => is_contact,
            Audience::None => false,
        };
        View {
            nickname: self.nickname.clone(),
            status: visible(sees(self.privacy.status_message), || self.status.clone()),
            photo: visible(sees(self.privacy.photo), || {
                self.picture.published.as_ref().map(|published| published.id.clone())
            }),
            presence: match (sees(self.privacy.last_seen), self.online) {
                (false, _) => PeerPresence::Hidden,
                (true, true) => PeerPresence::Online,
                (true, false) => PeerPresence::Offline { last_seen: self.offline_since },
            },
        }
    }

    /// Whether contacts see more than others.
    fn distinguishes(&self) -> bool {
        let Privacy { status_message, photo, last_seen } = self.privacy;
        [status_message, photo, last_seen].contains(&Audience::Contacts)
    }

    /// The presence to all subscribers, if it has changed.
    fn broadcast(&mut self) -> Option<Element> {
        let presence = self.view(false).presence(None, !self.distinguishes());
        if self.broadcast.as_ref() == Some(&presence) {
            return None;
        }
        // It reaches all, after what they were shown before.
        self.directed.clear();
        self.broadcast = Some(presence.clone());
        Some(presence)
    }

    /// The presence to one subscriber, if it needs one and it has changed.
    fn directed(&mut self, to: &str) -> Option<Element> {
        if !self.distinguishes() {
            return None;
        }
        let view = self.view(self.contacts.contains(to));
        if self.directed.get(to) == Some(&view) {
            return None;
        }
        let presence = view.presence(Some(to), true);
        self.directed.insert(to.to_owned(), view);
        Some(presence)
    }
}

impl OwnProfile {
    pub async fn new(
        own_domain: String,
        link: Link,
        blobs: Arc<dyn BlobStorage>,
        state: Arc<dyn AdapterState>,
    ) -> Result<Self, Failure> {
        let mut kept = state.get(&[OFFLINE_SINCE, PICTURE]).await?.into_iter();
        let (since, picture) = (kept.next().flatten(), kept.next().flatten());
        let own = Own {
            offline_since: since.and_then(|since| serde_json::from_slice(&since).ok()),
            picture: picture.and_then(|picture| serde_json::from_slice(&picture).ok()).unwrap_or_default(),
            ..Own::default()
        };
        Ok(Self(Arc::new(Shared {
            link,
            blobs,
            state,
            own: tokio::sync::Mutex::new(own),
            watching: Mutex::new(Watching::new(own_domain)),
            has_news: Notify::new(),
            has_lookups: Notify::new(),
            approved: Notify::new(),
        })))
    }

    /// Begins to send presences: from now on the account receives messages.
    pub async fn announce(&self, roster: Option<&Element>) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        if let Some(roster) = roster {
            self.watching().set_roster(roster);
        }
        own.is_announced = true;
        self.show(&mut own, Vec::new()).await
    }

    /// Takes a received presence.
    pub async fn receive(&self, presence: &Element) -> Result<(), Failure> {
        let reactions = self.watching().receive(presence);
        self.0.has_lookups.notify_one();
        if presence.attr("type") == Some("subscribed") {
            self.0.approved.notify_waiters();
        }
        if reactions.is_empty() {
            return Ok(());
        }
        let mut own = self.0.own.lock().await;
        let mut stanzas = Vec::new();
        for reaction in reactions {
            match reaction {
                Reaction::Approve(who) => stanzas.push(about("subscribed", &who)),
                Reaction::Subscribe(who) => stanzas.push(about("subscribe", &who)),
                Reaction::Show(who) => {
                    // A new login of theirs knows nothing of what was sent to the one before.
                    own.directed.remove(&who);
                    if own.is_announced && !self.watching().is_blocked(&who) {
                        stanzas.extend(own.directed(&who));
                    }
                }
            }
        }
        self.send(stanzas).await
    }

    /// Somebody has written to the account.
    pub async fn heard_of(&self, who: &str) -> Result<(), Failure> {
        let is_missing = self.watching().is_missing(who);
        if is_missing { self.send(vec![about("subscribe", who)]).await } else { Ok(()) }
    }

    pub fn is_blocked(&self, who: &str) -> bool {
        self.watching().is_blocked(who)
    }

    /// Whether a person is a contact, or there is a chat with them.
    pub fn knows(&self, who: &str) -> bool {
        self.watching().is_watched(who)
    }

    pub(super) fn link(&self) -> &Link {
        &self.0.link
    }

    /// The next person to look up.
    pub(super) async fn next_lookup(&self) -> String {
        loop {
            let next = self.watching().next_lookup();
            match next {
                Some(who) => return who,
                None => self.0.has_lookups.notified().await,
            }
        }
    }

    /// Takes what somebody publishes.
    pub(super) fn found(&self, who: &str, published: Published) {
        self.watching().found(who, published);
        self.0.has_news.notify_one();
    }

    /// News of watched people, in their order.
    pub fn take_news(&self) -> Vec<UpstreamEvent> {
        self.watching().take_news()
    }

    /// Returns when there may be news that no received stanza has brought.
    pub async fn has_news(&self) {
        self.0.has_news.notified().await;
    }

    /// Changes the desired state, and shows it to whom it concerns.
    async fn change(&self, change: impl FnOnce(&mut Own)) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        change(&mut own);
        self.show(&mut own, Vec::new()).await
    }

    /// As [`Self::change`]; who may fetch the picture changes before anybody sees anything.
    async fn restrict(&self, change: impl FnOnce(&mut Own)) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        change(&mut own);
        self.guard_picture(&mut own).await?;
        self.show(&mut own, Vec::new()).await
    }

    /// Sends `first`, and then what has changed.
    pub(super) async fn show(&self, own: &mut Own, first: Vec<Element>) -> Result<(), Failure> {
        let mut stanzas = first;
        if own.is_announced {
            stanzas.extend(own.broadcast());
            if own.distinguishes() {
                let subscribers = self.watching().subscribers();
                stanzas.extend(subscribers.iter().filter_map(|who| own.directed(who)));
            }
        }
        self.send(stanzas).await
    }

    async fn send(&self, stanzas: Vec<Element>) -> Result<(), Failure> {
        if stanzas.is_empty() {
            return Ok(());
        }
        self.0.link.send(stanzas).await.map_err(|_| Failure::Retry("disconnected"))
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        if online {
            if own.offline_since.take().is_some() {
                self.0.state.delete(&[OFFLINE_SINCE]).await?;
            }
        } else if own.online {
            let now = clock::now();
            let value = serde_json::to_vec(&now).unwrap_or_default();
            self.0.state.put(&[(OFFLINE_SINCE, value)]).await?;
            own.offline_since = Some(now);
        }
        own.online = online;
        self.watching().set_online(online);
        self.0.has_news.notify_one();
        self.show(&mut own, Vec::new()).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        let (mut stanzas, mut unblocked) = (Vec::new(), Vec::new());
        {
            let mut watching = self.watching();
            let (added, removed) = watching.set_blocked(blocked);
            for who in added {
                if watching.is_subscriber(&who) {
                    // The server answers a new login of theirs with the presence for all, so they may not be subscribers.
                    stanzas.push(View::nothing().presence(Some(&who), watching.is_number(&who)));
                    stanzas.push(about("unsubscribed", &who));
                    watching.unsubscribe(&who);
                }
            }
            // They subscribe again when they see something.
            unblocked.extend(removed.into_iter().filter(|who| watching.is_number(who)));
        }
        for who in unblocked {
            if own.is_announced {
                stanzas.push(own.view(own.contacts.contains(&who)).presence(Some(&who), true));
            }
        }
        self.0.has_news.notify_one();
        self.guard_picture(&mut own).await?;
        self.show(&mut own, stanzas).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        let mut missing = self.watching().watch(peers);
        self.0.has_news.notify_one();
        self.send(missing.iter().map(|who| about("subscribe", who)).collect()).await?;
        // Who is connected approves at once. Of the others nobody knows when they will.
        let deadline = Instant::now() + APPROVAL_TIMEOUT;
        loop {
            let mut approved = pin!(self.0.approved.notified());
            approved.as_mut().enable();
            missing.retain(|who| !self.watching().is_subscribed(who));
            if missing.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = approved => {}
                () = sleep_until(deadline) => return Ok(()),
            }
        }
    }

    pub(super) fn watching(&self) -> MutexGuard<'_, Watching> {
        self.0.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Profile for XmppConnection {
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure> {
        self.profile.change(|own| nickname.clone_into(&mut own.nickname)).await
    }

    async fn set_status_message(&self, text: &str) -> Result<(), Failure> {
        self.profile.change(|own| text.clone_into(&mut own.status)).await
    }

    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        self.profile.set_photo(photo).await
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        self.profile.set_online(online).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure> {
        self.profile.restrict(|own| own.privacy = privacy).await
    }

    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure> {
        self.profile.restrict(|own| own.contacts = contacts.iter().map(|who| who.0.clone()).collect()).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        self.profile.set_blocked(blocked).await?;
        self.groups.set_blocked(&Address(self.own.clone()), blocked).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        self.profile.watch(peers).await
    }
}

/// A presence about a subscription (RFC 6121, section 3).
fn about(kind: &'static str, to: &str) -> Element {
    element("presence", ns::CLIENT).attribute("type", kind).attribute("to", to)
}

fn visible<T>(is_visible: bool, value: impl FnOnce() -> T) -> Visible<T> {
    if is_visible { Visible::Value(value()) } else { Visible::Hidden }
}
