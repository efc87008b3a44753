//! One account's connection to its XMPP server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::archive::ArchiveStart;
use super::in_flight::{Entry, InFlight, is_stanza};
use super::invitations::Invitations;
use super::iq::is_handled;
use super::ledger::Ledger;
use super::link::{self, Link, LinkEnd};
use super::login::{LoggedIn, log_in, try_password};
use super::memberships::{Memberships, Place};
use super::note::Note;
use super::outbound;
use super::pep;
use super::profile::OwnProfile;
use super::reader::{LeftToArchive, Reader, RoomWork};
use super::rooms::Rooms;
use super::rooms::stanza::give_up;
use super::seen::Seen;
use super::sender::Sender;
use super::uploads::Uploads;
use super::xml::Element;
use super::{Server, address};
use crate::domain::{NeedsUser, Typing};
use crate::upstream::{
    Acknowledgement, AdapterState, Address, Connection, End, Failure, FileStream, Login, Opened, Outgoing,
    ReadReceipt, SendFailure, Sent, Signal,
};

/// The resource of all accounts: a server gives what was not acknowledged to the next login with the same one.
pub(super) const RESOURCE: &str = "windu";
/// Signals that may wait for the session.
const CHANNEL: usize = 4;

pub(super) struct XmppConnection {
    server: Arc<Server>,
    domain: String,
    sender: Sender,
    pub(super) link: Link,
    ledger: Ledger,
    in_flight: InFlight,
    state: Arc<dyn AdapterState>,
    /// The account's address without a resource.
    pub(super) own: String,
    pub(super) groups: Arc<Rooms>,
    invitations: Invitations,
    pub(super) profile: OwnProfile,
    // Ends the reading task when the session drops the connection.
    _stop: DropGuard,
}

/// Logs in and starts the tasks of the connection.
pub(super) async fn open(
    server: &Arc<Server>,
    groups: &Arc<Rooms>,
    login: Login,
    password: String,
    state: Arc<dyn AdapterState>,
) -> Result<Opened, End> {
    let own = address::of_number(&login.number, &server.settings.domain).0;
    let logged_in =
        log_in(&server.dialer, &own, &password, Some(RESOURCE)).await.map_err(|failure| failed(&failure))?;
    let archive = ArchiveStart::new(state.clone(), login.resume_point.as_ref())
        .await
        .map_err(|_| End::Retry("not_stored"))?;
    start(server.clone(), groups.clone(), own, password, logged_in, Arc::new(archive), state).await
}

fn failed(failure: &super::failure::LoginFailure) -> End {
    tracing::debug!(%failure, "a login failed");
    failure.end()
}

async fn start(
    server: Arc<Server>,
    groups: Arc<Rooms>,
    own: String,
    password: String,
    logged_in: LoggedIn,
    archive: Arc<ArchiveStart>,
    state: Arc<dyn AdapterState>,
) -> Result<Opened, End> {
    let in_flight = InFlight::default();
    let is_prosody = logged_in.is_prosody;
    let (link, ledger, received) = link::start(logged_in, &in_flight, &server.lifecycle);
    let (sender, signals) = mpsc::channel(CHANNEL);
    let stop = CancellationToken::new();
    let domain = server.settings.domain.clone();
    let profile = OwnProfile::new(domain.clone(), link.clone(), server.blobs.clone(), state.clone())
        .await
        .map_err(|_| End::Retry("not_stored"))?;
    let memberships = Memberships::load(&*state).await.map_err(|_| End::Retry("not_stored"))?;
    let invitations = Invitations::load(
        own.clone(),
        link.clone(),
        groups.clone(),
        profile.clone(),
        memberships.clone(),
        state.clone(),
    )
    .await
    .map_err(|_| End::Retry("not_stored"))?;
    let mut reader = Reader {
        invitations: invitations.clone(),
        invited: Vec::new(),
        memberships: memberships.clone(),
        groups: groups.clone(),
        state: state.clone(),
        rooms: RoomWork::new(server.settings.room_ping),
        profile: profile.clone(),
        note: Note::new(own.clone(), server.settings.encryption_note.clone(), state.clone()),
        encrypted: Vec::new(),
        own: own.clone(),
        domain: domain.clone(),
        link: link.clone(),
        ledger: ledger.clone(),
        received,
        in_flight: in_flight.clone(),
        signals: sender,
        point: archive.point().cloned(),
        query: String::new(),
        is_prosody,
        left_to_archive: if is_prosody { LeftToArchive::All } else { LeftToArchive::None },
        archive,
        seen: Seen::default(),
        batch: Vec::new(),
        batch_has_archived: false,
        held: Some(Vec::new()),
        last_archived: 0,
        unconfirmed: VecDeque::new(),
    };
    let sender = Sender {
        domain: domain.clone(),
        link: link.clone(),
        in_flight: in_flight.clone(),
        uploads: Uploads::new(server.clone(), link.clone(), state.clone(), stop.clone()),
        own: own.clone(),
        memberships,
        groups: groups.clone(),
    };
    let of_account = own.clone();
    let (stopped, lifecycle, of) = (stop.clone(), server.lifecycle.clone(), server.clone());
    let (looking_up, asking) = (profile.clone(), invitations.clone());
    let (of_limit, limit_link) = (server.clone(), link.clone());
    lifecycle.spawn(async move {
        let learning = async {
            of_limit.files.learn_limit(&limit_link).await;
            std::future::pending::<std::convert::Infallible>().await
        };
        let reading = async {
            if let Some(end) = reader.run().await {
                let end = meaning(&server, &own, &password, end).await;
                // Fails when the session has stopped listening; then it knows of the end.
                let _ = reader.signals.send(Signal::End(end)).await;
            }
        };
        tokio::select! {
            () = reading => {}
            never = looking_up.look_up() => match never {},
            never = learning => match never {},
            never = asking.work_on() => match never {},
            () = stopped.cancelled() => {}
        }
    });
    let connection = XmppConnection {
        server: of,
        domain,
        sender,
        link,
        ledger,
        in_flight,
        state,
        own: of_account,
        groups,
        invitations,
        profile,
        _stop: stop.drop_guard(),
    };
    Ok(Opened { connection: Arc::new(connection), signals })
}

/// What the end of a stream means. No condition alone says that the account is gone or taken over, so the password decides.
async fn meaning(server: &Server, own: &str, password: &str, end: LinkEnd) -> End {
    match end {
        LinkEnd::Silent => End::Retry("network_silent"),
        LinkEnd::Broken => End::Retry("disconnected"),
        LinkEnd::Closed(condition) => match try_password(&server.dialer, own, password).await {
            Err(failure) => match failed(&failure) {
                End::NeedsUser(NeedsUser::LoggedOut) => End::NeedsUser(NeedsUser::LoggedOut),
                End::Retry(_) | End::RateLimited(_) | End::NeedsUser(_) | End::Never(_) => {
                    End::Retry("disconnected")
                }
            },
            Ok(()) if condition.as_deref() == Some("conflict") => server.replaced(own),
            Ok(()) => End::Retry("disconnected"),
        },
    }
}

#[async_trait]
impl Connection for XmppConnection {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<Sent, SendFailure>> {
        let outcomes = self.sender.send(messages).await;
        outcomes.into_iter().map(|outcome| outcome.map(|()| Sent::default())).collect()
    }

    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure> {
        let numbers = numbers(stored);
        let entries = self.in_flight.remove(&numbers);
        let receipts = outbound::delivered(entries.iter().filter_map(|entry| entry.receipt.as_ref()));
        let of_rooms = entries.iter().any(|entry| entry.place.is_some() && entry.receipt.is_some());
        self.deliver(receipts).await?;
        // A place in a room's archive moves when the server certainly has the receipts of what is before it.
        if of_rooms && !is_handled(&self.link, &self.domain).await {
            return Err(Failure::Retry("network_silent"));
        }
        self.keep_places(entries).await?;
        self.close(numbers).await;
        Ok(())
    }

    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure> {
        let numbers = numbers(dropped);
        self.keep_places(self.in_flight.remove(&numbers)).await?;
        self.close(numbers).await;
        Ok(())
    }

    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure> {
        let receipts = receipts.iter().map(|receipt| outbound::read(receipt, &self.domain)).collect();
        self.deliver(receipts).await?;
        // Only what the server has answered behind is certainly there.
        if is_handled(&self.link, &self.domain).await {
            Ok(())
        } else {
            Err(Failure::Retry("network_silent"))
        }
    }

    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure> {
        self.deliver(vec![outbound::typing(to, typing)]).await
    }

    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure> {
        match reference.rsplit_once('/') {
            Some((of, id)) if !of.contains(':') => {
                let bytes = pep::picture(&self.link, of, id).await?;
                Ok(Box::pin(futures_util::stream::iter([Ok(bytes)])))
            }
            _ => self.server.files.fetch(&self.link, reference).await,
        }
    }
}

impl XmppConnection {
    pub(super) fn is_made_elsewhere(&self, room: &str) -> bool {
        self.sender.memberships.is_made_elsewhere(room)
    }

    /// Leaves a room that another app has made, after the account has left its group.
    pub(super) async fn leave_elsewhere(&self, room: &str) {
        let nickname = self.own.split('@').next().unwrap_or_default();
        // Without a connection the server takes the account out by itself.
        let _ = self.link.send(give_up(room, &self.own, nickname)).await;
        self.invitations.report(room);
    }

    /// Stores how far rooms are stored.
    async fn keep_places(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        // The last one of each room counts.
        let places: BTreeMap<String, Place> = entries.into_iter().filter_map(|entry| entry.place).collect();
        if places.is_empty() {
            return Ok(());
        }
        Memberships::store(&*self.state, &Vec::from_iter(places)).await
    }

    /// Lets the server forget these stanzas, whose receipts were sent.
    async fn close(&self, numbers: Vec<u64>) {
        self.ledger.close(numbers.into_iter().filter(|number| is_stanza(*number)));
        self.link.mark(self.ledger.handled()).await;
    }

    async fn deliver(&self, stanzas: Vec<Element>) -> Result<(), Failure> {
        if stanzas.is_empty() {
            return Ok(());
        }
        self.link.send(stanzas).await.map_err(|_| Failure::Retry("disconnected"))
    }
}

fn numbers(acknowledgements: &[Acknowledgement]) -> Vec<u64> {
    acknowledgements.iter().map(|acknowledgement| acknowledgement.0).collect()
}
