//! A connection to NATS and the JetStream stream that takes the events.
//!
//! A connection that broke is not used again: what it had still in its buffers must not be sent after later events.

use std::collections::HashSet;
use std::error::Error as _;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamErrorKind, GetStreamByNameErrorKind, GetStreamErrorKind, PublishError,
    PublishErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode, stream};
use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use tokio::sync::watch;

use super::error::{BrokerError, PublishFailure, refusal};
use super::fitness::unfit;
use super::message::{LARGEST_SMALL, SUBJECTS};
use crate::config::{BrokerLogin, BrokerSettings};

/// For a connection to one server, with TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer of JetStream, such as an acknowledgement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is found after two of them.
const PING: Duration = Duration::from_secs(20);

/// How the server begins to say that its user lacks a permission; one to publish to a subject, in quotes, comes after it.
const DENIAL: &str = "Permissions Violation for ";
const DENIED_EVENT: &str = "Publish to \"windu.";

/// A connection, and the stream's name.
pub struct Nats {
    context: Context,
    place: String,
    stream: String,
    heard: Arc<watch::Sender<Heard>>,
}

/// What is known of a connection besides answers.
#[derive(Default)]
struct Heard {
    is_lost: bool,
    /// What the server's user may not do, in the server's words.
    denied: Option<String>,
    /// What follows [`DENIED_EVENT`]: the subjects of events whose publication was denied and is still waited for.
    denied_events: HashSet<String>,
}

impl Nats {
    /// Connects to the first server that answers.
    pub async fn connect(settings: &BrokerSettings) -> Result<Self, BrokerError> {
        let place = settings.servers.join(",");
        let heard = Arc::new(watch::Sender::new(Heard::default()));
        let noted = Arc::clone(&heard);
        let mut options = ConnectOptions::new()
            .name("windu")
            .event_callback(move |event| {
                noted.send_modify(|heard| heard.note(&event));
                ready(())
            })
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING)
            // So few attempts that what is left of a broken connection soon ends.
            .max_reconnects(settings.servers.len())
            .ignore_discovered_servers();
        options = match settings.login.clone() {
            None => options,
            Some(BrokerLogin::Password { user, password }) => options.user_and_password(user, password),
            Some(BrokerLogin::Token(token)) => options.token(token),
        };
        let client = match options.connect(&settings.servers[..]).await {
            Ok(client) => client,
            Err(error) => {
                return Err(match error.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        BrokerError::LoginRefused(place)
                    }
                    ConnectErrorKind::ServerParse
                    | ConnectErrorKind::Dns
                    | ConnectErrorKind::TimedOut
                    | ConnectErrorKind::Tls
                    | ConnectErrorKind::Io
                    | ConnectErrorKind::MaxReconnects => {
                        BrokerError::Unreachable { place, problem: error.to_string() }
                    }
                });
            }
        };
        let max_payload = client.max_payload();
        if max_payload < LARGEST_SMALL {
            let problem =
                format!("{place}: max_payload is {max_payload}; at least {LARGEST_SMALL} is needed");
            return Err(BrokerError::WrongStream(problem));
        }
        let context = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client);
        Ok(Self { context, place, stream: settings.stream.clone(), heard })
    }

    /// Waits until the connection breaks, or the server denies what is needed for all events.
    pub async fn ended(&self) -> BrokerError {
        let mut heard = self.heard.subscribe();
        let ended = heard.wait_for(|heard| heard.is_lost || heard.denied.is_some()).await;
        match ended.ok().and_then(|heard| heard.denied.clone()) {
            Some(permission) => BrokerError::Denied { place: self.place.clone(), permission },
            None => self.broken(&"the connection broke"),
        }
    }

    /// The answer to something that is asked, unless the connection ends before.
    pub async fn unless_ended<T>(
        &self,
        asked: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        tokio::select! {
            answer = asked => answer,
            error = self.ended() => Err(error),
        }
    }

    /// Waits until the server denies the publication of an event.
    async fn is_denied(&self, subject: &str) {
        let subject = subject.strip_prefix("windu.").unwrap_or(subject);
        let _ = self.heard.subscribe().wait_for(|heard| heard.denied_events.contains(subject)).await;
        self.heard.send_modify(|heard| {
            heard.denied_events.remove(subject);
        });
    }

    /// The stream; `None`: it is not there.
    ///
    /// # Errors
    /// [`BrokerError::WrongStream`] when it does not take all events.
    pub async fn stream(&self) -> Result<Option<stream::Info>, BrokerError> {
        let found = match self.context.get_stream(&self.stream).await {
            Ok(found) => found,
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(error)
                        if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(None)
                    }
                    GetStreamErrorKind::JetStream(error) => Err(refusal(&self.place, &self.stream, &error)),
                    GetStreamErrorKind::Request => {
                        let request = error.source().and_then(|source| source.downcast_ref::<RequestError>());
                        Err(match request.map(RequestError::kind) {
                            Some(RequestErrorKind::NoResponders) => {
                                BrokerError::NoJetStream(self.place.clone())
                            }
                            _ => BrokerError::NoAnswer(self.place.clone()),
                        })
                    }
                    GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
                        Err(BrokerError::WrongStream(error.to_string()))
                    }
                };
            }
        };
        let found = found.cached_info();
        match unfit(&found.config) {
            None => Ok(Some(found.clone())),
            Some(problem) => Err(BrokerError::WrongStream(format!("the stream {} {problem}", self.stream))),
        }
    }

    /// Whether the stream, which is missing, could be created: no other one takes its subjects.
    ///
    /// # Errors
    /// [`BrokerError::OtherStream`]
    pub async fn would_create(&self) -> Result<(), BrokerError> {
        match self.context.stream_by_subject(SUBJECTS).await {
            Ok(other) => Err(BrokerError::OtherStream(self.stream.clone(), other)),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Ok(()),
            Err(_) => Err(BrokerError::NoAnswer(self.place.clone())),
        }
    }

    /// Creates the stream, which keeps events on disk for `retention`.
    pub async fn create_stream(&self, retention: Duration) -> Result<(), BrokerError> {
        let config = stream::Config {
            name: self.stream.clone(),
            description: Some("Events of Windu".to_owned()),
            subjects: vec![SUBJECTS.to_owned()],
            max_age: retention,
            ..stream::Config::default()
        };
        let Err(error) = self.context.create_stream(config).await else { return Ok(()) };
        Err(match error.kind() {
            CreateStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP =>
            {
                BrokerError::OtherStream(self.stream.clone(), "another one".to_owned())
            }
            CreateStreamErrorKind::JetStream(error) => refusal(&self.place, &self.stream, &error),
            CreateStreamErrorKind::JetStreamUnavailable => BrokerError::NoJetStream(self.place.clone()),
            CreateStreamErrorKind::TimedOut => BrokerError::NoAnswer(self.place.clone()),
            CreateStreamErrorKind::EmptyStreamName
            | CreateStreamErrorKind::InvalidStreamName
            | CreateStreamErrorKind::DomainAndExternalSet
            | CreateStreamErrorKind::NotFound
            | CreateStreamErrorKind::ResponseParse => BrokerError::WrongStream(error.to_string()),
            CreateStreamErrorKind::Response => self.broken(&error),
        })
    }

    /// Publishes an event, and waits until the stream has it. An event whose id the stream got lately is not stored again.
    pub async fn publish(&self, subject: String, id: &str, object: Bytes) -> Result<(), PublishFailure> {
        let message = PublishMessage::build().message_id(id).expected_stream(&self.stream).payload(object);
        let acknowledged = async { self.context.send_publish(subject.clone(), message).await?.await };
        tokio::select! {
            acknowledged = acknowledged => acknowledged.map(drop).map_err(|error| self.failure(&error)),
            () = self.is_denied(&subject) => Err(PublishFailure::Event(BrokerError::Denied {
                place: self.place.clone(),
                // Not the rest, which has a phone number.
                permission: format!("Publish to some of {}.>", of_user(&subject)),
            })),
        }
    }

    fn failure(&self, error: &PublishError) -> PublishFailure {
        let refused = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        PublishFailure::Broker(match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => return PublishFailure::TooLarge,
            PublishErrorKind::TimedOut => BrokerError::NoAnswer(self.place.clone()),
            PublishErrorKind::BrokenPipe => self.broken(&"the connection broke"),
            PublishErrorKind::StreamNotFound => {
                BrokerError::WrongStream(format!("the stream {} is not there any more", self.stream))
            }
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::Other => match refused {
                Some(error) if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                    return PublishFailure::TooLarge;
                }
                Some(error) => match refusal(&self.place, &self.stream, error) {
                    error @ BrokerError::Refused { .. } => return PublishFailure::Event(error),
                    error => error,
                },
                None => self.broken(error),
            },
        })
    }

    /// The connection has ended.
    fn broken(&self, error: &impl ToString) -> BrokerError {
        BrokerError::Unreachable { place: self.place.clone(), problem: error.to_string() }
    }

    /// An event was refused.
    pub fn refused(&self, problem: String) -> BrokerError {
        BrokerError::Refused { stream: self.stream.clone(), problem }
    }
}

impl Heard {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.is_lost = true,
            Event::ServerError(ServerError::Other(text)) => {
                let Some(permission) = text.strip_prefix(DENIAL) else { return };
                if let Some(subject) = permission.strip_prefix(DENIED_EVENT) {
                    self.denied_events.insert(subject.trim_end_matches('"').to_owned());
                } else if permission.contains("\"_INBOX.") {
                    // Without the name of the inbox, which is another one each time.
                    self.denied = Some("Subscription to _INBOX.>".to_owned());
                } else {
                    self.denied = Some(permission.to_owned());
                }
            }
            Event::ServerError(_)
            | Event::Connected
            | Event::LameDuckMode
            | Event::Draining
            | Event::SlowConsumer(_)
            | Event::ClientError(_) => {}
        }
    }
}

/// `windu.USER` of an event's subject.
fn of_user(subject: &str) -> &str {
    let end = subject.match_indices('.').nth(1).map_or(subject.len(), |(end, _)| end);
    &subject[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_no_phone_number() {
        let mut heard = Heard::default();
        let mut note = |text: &str| {
            heard.note(&Event::ServerError(ServerError::Other(format!("Permissions Violation for {text}"))));
            (heard.denied.clone(), heard.denied_events.clone())
        };
        let subject = "ann.15550100001.message.received";
        let (denied, events) = note(&format!("Publish to \"windu.{subject}\""));
        assert_eq!((denied, events), (None, HashSet::from([subject.to_owned()])));
        assert_eq!(of_user(&format!("windu.{subject}")), "windu.ann");
        for (text, permission) in [
            ("Subscription to \"_INBOX.x1.*\"", "Subscription to _INBOX.>"),
            ("Publish to \"$JS.API.STREAM.INFO.windu\"", "Publish to \"$JS.API.STREAM.INFO.windu\""),
        ] {
            assert_eq!(note(text).0.as_deref(), Some(permission));
        }
    }
}
