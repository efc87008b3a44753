//! The administrator's commands (XEP-0133): accounts are made, deleted and looked up.
//!
//! One connection per process, opened at the first command and kept.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use moka::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::failure::{IqFailure, LoginFailure};
use super::in_flight::InFlight;
use super::iq::{ask, iq};
use super::link::{self, Link, Received};
use super::login::log_in;
use super::rooms::{Awaited, Control};
use super::services::service;
use super::xml::{Build as _, Element, child_text, element, ns, submitted};
use super::{Server, address, check};
use crate::domain::PhoneNumber;
use crate::upstream::{Address, Failure, Finding};

const ADMIN: &str = "http://jabber.org/protocol/admin#";
/// Lookups that are under way at one time.
const LOOKUPS: usize = 100;
/// Lookups at one time for which answers are remembered.
const MANY: usize = 1_000;
/// Accounts that are remembered because they exist.
const KNOWN: u64 = 50_000;
/// An account that another process has deleted counts as existing for as long.
const KNOWN_FOR: Duration = Duration::from_mins(5);
/// After a failed login, the next one has to wait for so long.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Admin {
    server: Arc<Server>,
    session: Mutex<Session>,
    /// Those that exist, remembered for a while.
    known: Cache<Address, ()>,
}

#[derive(Default)]
struct Session {
    open: Option<Open>,
    /// The last failed login.
    failed: Option<FailedLogin>,
}

struct FailedLogin {
    at: Instant,
    failure: Failure,
    /// For people.
    problem: String,
}

#[derive(Clone)]
struct Open {
    link: Link,
    lookup: Lookup,
    awaited: Awaited,
    /// The address of the service that has the rooms.
    rooms: Option<String>,
}

/// The command that tells whether a user exists. No server answers that to anybody but its administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// Prosody: an error for an unknown user.
    UserStats,
    /// ejabberd: "Never" for an unknown user; the registration itself counts as a login.
    LastLogin,
}

impl Admin {
    pub fn new(server: Arc<Server>) -> Self {
        let known = Cache::builder().max_capacity(KNOWN).time_to_live(KNOWN_FOR).build();
        Self { server, session: Mutex::default(), known }
    }

    /// Makes an account. [`Failure::Refused`] when there is one.
    pub async fn add_user(&self, address: &str, password: &str) -> Result<(), Failure> {
        let fields = [("accountjid", address), ("password", password), ("password-verify", password)];
        match self.command("add-user", &fields).await? {
            Ok(answer) => match refusal(&answer) {
                None => Ok(()),
                Some(reason) => Err(Failure::Refused(reason)),
            },
            Err(failure) => Err(failure.failure()),
        }
    }

    /// Deletes an account. Succeeds when there is none.
    pub async fn delete_user(&self, address: &str) -> Result<(), Failure> {
        let answer = self.command("delete-user", &[("accountjids", address)]).await?;
        self.known.invalidate(&Address(address.to_owned()));
        match answer {
            // Prosody lists those that were not deleted, because they do not exist.
            Ok(_) => Ok(()),
            Err(failure) if failure.condition() == Some("item-not-found") => Ok(()),
            Err(failure) => Err(failure.failure()),
        }
    }

    /// The numbers that have an account, of these, in their order.
    pub async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        let domain = &self.server.settings.domain;
        let addresses: Vec<Address> =
            numbers.iter().map(|number| address::of_number(number, domain)).collect();
        let existing = self.existing_addresses(&addresses).await?;
        let existing = existing.into_iter().filter_map(|address| address::number(&address.0, domain));
        Ok(existing.collect())
    }

    /// The addresses of the own domain that have an account, of these, in their order.
    pub async fn existing_addresses(&self, addresses: &[Address]) -> Result<Vec<Address>, Failure> {
        let open = self.open().await?;
        // Ten thousand lookups take longer than a request may: a repeated request goes on where the first one ended.
        let known = (addresses.len() >= MANY).then_some(&self.known);
        let lookups = stream::iter(addresses.to_vec()).map(|address| {
            let (open, domain) = (open.clone(), &self.server.settings.domain);
            async move {
                if known.is_some_and(|known| known.contains_key(&address)) {
                    return Ok(Some(address));
                }
                if !exists(&open, domain, &address.0).await? {
                    return Ok(None);
                }
                if let Some(known) = known {
                    known.insert(address.clone(), ());
                }
                Ok(Some(address))
            }
        });
        let found: Vec<Result<Option<Address>, IqFailure>> = lookups.buffered(LOOKUPS).collect().await;
        let found: Result<Vec<Option<Address>>, IqFailure> = found.into_iter().collect();
        match found {
            Ok(found) => Ok(found.into_iter().flatten().collect()),
            Err(failure) => {
                self.close_if_silent(&failure).await;
                Err(failure.failure())
            }
        }
    }

    /// The administrator, as rooms need it.
    pub async fn control(&self) -> Result<Control, Failure> {
        let Open { link, awaited, rooms, .. } = self.open().await?;
        Ok(Control { link, awaited, domain: self.server.settings.domain.clone(), service: rooms })
    }

    /// What the server has of what this adapter needs.
    pub async fn check(&self) -> Vec<Finding> {
        let settings = &self.server.settings;
        match self.open().await {
            Ok(open) => check::check(&open.link, &settings.domain, &settings.admin_jid).await,
            Err(failure) => {
                let failed = &self.session.lock().await.failed;
                let problem =
                    failed.as_ref().map_or_else(|| failure.to_string(), |failed| failed.problem.clone());
                vec![check::bad(problem)]
            }
        }
    }

    async fn command(
        &self,
        node: &str,
        fields: &[(&str, &str)],
    ) -> Result<Result<Element, IqFailure>, Failure> {
        let open = self.open().await?;
        let answer = execute(&open.link, &self.server.settings.domain, node, fields).await;
        if let Err(failure) = &answer {
            self.close_if_silent(failure).await;
        }
        Ok(answer)
    }

    /// Lets the next request connect anew, after one without an answer.
    pub async fn close_if_silent(&self, failure: &IqFailure) {
        if *failure == IqFailure::NoAnswer {
            self.session.lock().await.open = None;
        }
    }

    /// The open session; a new one, if there is none.
    async fn open(&self) -> Result<Open, Failure> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.open.as_ref().filter(|open| !open.link.is_closed()) {
            return Ok(open.clone());
        }
        if let Some(failed) = &session.failed
            && failed.at.elapsed() < PAUSE
        {
            return Err(failed.failure.clone());
        }
        match self.log_in().await {
            Ok(open) => {
                *session = Session { open: Some(open.clone()), failed: None };
                Ok(open)
            }
            Err((failure, problem)) => {
                let failed = FailedLogin { at: Instant::now(), failure: failure.clone(), problem };
                *session = Session { open: None, failed: Some(failed) };
                Err(failure)
            }
        }
    }

    async fn log_in(&self) -> Result<Open, (Failure, String)> {
        let settings = &self.server.settings;
        let logged_in = log_in(&self.server.dialer, &settings.admin_jid, &settings.admin_password, None);
        let logged_in = logged_in.await.map_err(|failure| {
            match &failure {
                LoginFailure::NotAuthorized | LoginFailure::Disabled => tracing::error!(
                    "the XMPP server refused the password of WINDU_XMPP_ADMIN_JID: accounts cannot be registered"
                ),
                _ => tracing::warn!(%failure, "the administrator's login at the XMPP server failed"),
            }
            (failure.failure(), failure.to_string())
        })?;
        let (link, ledger, mut received) =
            link::start(logged_in, &InFlight::default(), &self.server.lifecycle);
        // What nobody waits for is dropped. The program does not wait for this connection when it stops.
        let awaited = Awaited::default();
        let coming = awaited.clone();
        let stopping = self.server.lifecycle.soft().clone();
        self.server.lifecycle.spawn(async move {
            loop {
                let received = tokio::select! {
                    received = received.recv() => received,
                    () = stopping.cancelled() => None,
                };
                match received {
                    Some(Received::Stanza(number, stanza)) => {
                        coming.hand_over(*stanza);
                        ledger.close([number]);
                    }
                    Some(Received::Alive) => {}
                    Some(Received::End(_)) | None => return,
                }
            }
        });
        let lookup = lookup(&link, &settings.domain).await.map_err(|failure| {
            let failure = failure.failure();
            let problem = failure.to_string();
            (failure, problem)
        })?;
        let rooms = service(&link, &settings.domain, ns::MUC).await.map_err(|failure| {
            let failure = failure.failure();
            let problem = failure.to_string();
            (failure, problem)
        })?;
        Ok(Open { link, lookup, awaited, rooms })
    }
}

/// The way in which this server tells who exists, by the commands that it offers (XEP-0050, section 2.2).
async fn lookup(link: &Link, domain: &str) -> Result<Lookup, IqFailure> {
    let query = element("query", ns::DISCO_ITEMS).attribute("node", ns::COMMANDS);
    let answer = ask(link, iq("get").attribute("to", domain).child(query)).await?;
    let commands = answer.get_child("query", ns::DISCO_ITEMS);
    let offers = |command: &str| {
        let node = format!("{ADMIN}{command}");
        commands.is_some_and(|commands| commands.children().any(|item| item.attr("node") == Some(&node)))
    };
    if !offers("add-user") || !offers("delete-user") {
        let text = "the account of WINDU_XMPP_ADMIN_JID may not add and delete users on this server";
        return Err(IqFailure::Error {
            condition: "forbidden".to_owned(),
            temporary: false,
            text: Some(text.to_owned()),
            detail: None,
        });
    }
    Ok(if offers("get-user-lastlogin") { Lookup::LastLogin } else { Lookup::UserStats })
}

async fn exists(open: &Open, domain: &str, address: &str) -> Result<bool, IqFailure> {
    let node = match open.lookup {
        Lookup::UserStats => "user-stats",
        Lookup::LastLogin => "get-user-lastlogin",
    };
    let answer = execute(&open.link, domain, node, &[("accountjid", address)]).await?;
    if refusal(&answer).is_some() {
        return Ok(false);
    }
    Ok(match open.lookup {
        Lookup::UserStats => true,
        Lookup::LastLogin => result_value(&answer, "lastlogin").is_some_and(|value| value != "Never"),
    })
}

/// Executes a command in one step, with its form filled in.
async fn execute(
    link: &Link,
    domain: &str,
    node: &str,
    fields: &[(&str, &str)],
) -> Result<Element, IqFailure> {
    let command = element("command", ns::COMMANDS)
        .attribute("node", &format!("{ADMIN}{node}"))
        .attribute("action", "execute")
        .child(submitted("http://jabber.org/protocol/admin", fields));
    ask(link, iq("set").attribute("to", domain).child(command)).await
}

/// The error in the result of a command (XEP-0050, section 3.4).
fn refusal(answer: &Element) -> Option<String> {
    let command = answer.get_child("command", ns::COMMANDS)?;
    let note = command
        .children()
        .find(|child| child.is("note", ns::COMMANDS) && child.attr("type") == Some("error"))?;
    Some(note.text())
}

/// A field's value in the form of a command's result.
fn result_value(answer: &Element, name: &str) -> Option<String> {
    let form = answer.get_child("command", ns::COMMANDS)?.get_child("x", ns::DATA)?;
    let field = form.children().find(|field| field.attr("var") == Some(name))?;
    child_text(field, "value", ns::DATA)
}
