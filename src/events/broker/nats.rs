//! A connection to NATS and the JetStream stream that takes the events.
//!
//! A connection that broke is not used again: what it had still in its buffers must not be sent after later events.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind, RequestError,
    RequestErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, ErrorCode, stream};
use async_nats::{ConnectErrorKind, ConnectOptions};
use bytes::Bytes;

use super::message::{LARGEST_SMALL, SUBJECTS};
use crate::config::{BrokerLogin, BrokerSettings};

/// For a connection to one server, with TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer of JetStream, such as an acknowledgement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is found after two of them.
const PING: Duration = Duration::from_secs(20);

/// What the subjects of all events have in common: the type has one dot.
const EVERY_SUBJECT: &str = "windu.*.*.*.*";

/// Why nothing can be published. All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{place} cannot be reached ({problem})")]
    Unreachable { place: String, problem: String },
    #[error("{0} refuses the user, password or token of WINDU_EVENTS_NATS_URL")]
    LoginRefused(String),
    #[error("{0} has no JetStream: its configuration needs a section jetstream")]
    NoJetStream(String),
    #[error(
        "{0} did not answer in time; its user may lack a permission to the subjects $JS.API.STREAM.> and {SUBJECTS}"
    )]
    NoAnswer(String),
    #[error("{0}")]
    WrongStream(String),
    #[error("the stream {stream} is full ({problem})")]
    Full { stream: String, problem: String },
    #[error("the stream {stream} takes no event ({problem})")]
    Refused { stream: String, problem: String },
}

/// Why one event was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// The event exceeds what the server or the stream takes.
    #[error("the event is too large")]
    TooLarge,
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// A connection, and the stream's name.
pub struct Nats {
    context: Context,
    place: String,
    stream: String,
}

impl Nats {
    /// Connects to the first server that answers.
    pub async fn connect(settings: &BrokerSettings) -> Result<Self, BrokerError> {
        let place = settings.servers.join(",");
        let mut options = ConnectOptions::new()
            .name("windu")
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING)
            // So few attempts that a broken connection soon ends for good.
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
        Ok(Self { context, place, stream: settings.stream.clone() })
    }

    /// Whether the stream is there.
    ///
    /// # Errors
    /// [`BrokerError::WrongStream`] when it is, and does not take all events.
    pub async fn has_stream(&self) -> Result<bool, BrokerError> {
        let found = match self.context.get_stream(&self.stream).await {
            Ok(found) => found,
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(error)
                        if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(false)
                    }
                    GetStreamErrorKind::JetStream(error) => Err(self.refusal(&error)),
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
        match unfit(&found.cached_info().config) {
            None => Ok(true),
            Some(problem) => Err(BrokerError::WrongStream(format!("the stream {} {problem}", self.stream))),
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
                BrokerError::WrongStream(format!(
                    "the stream {} cannot be created: another one takes subjects of {SUBJECTS}; name it in \
                     WINDU_EVENTS_NATS_STREAM if it takes all of them",
                    self.stream
                ))
            }
            CreateStreamErrorKind::JetStream(error) => self.refusal(&error),
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
        let sent = self.context.send_publish(subject, message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        acknowledged.map(drop).map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &PublishError) -> PublishFailure {
        let refusal = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
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
            | PublishErrorKind::Other => match refusal {
                Some(refusal) if refusal.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                    return PublishFailure::TooLarge;
                }
                Some(refusal) => self.refusal(refusal),
                None => self.broken(error),
            },
        })
    }

    /// The connection has ended.
    fn broken(&self, error: &impl ToString) -> BrokerError {
        BrokerError::Unreachable { place: self.place.clone(), problem: error.to_string() }
    }

    /// What JetStream says.
    fn refusal(&self, error: &async_nats::jetstream::Error) -> BrokerError {
        let (stream, problem) = (self.stream.clone(), error.to_string());
        match error.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                BrokerError::NoJetStream(self.place.clone())
            }
            ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED => BrokerError::Full { stream, problem },
            _ => BrokerError::Refused { stream, problem },
        }
    }
}

/// Why a stream does not take all events.
fn unfit(config: &stream::Config) -> Option<String> {
    let smallest = usize::try_from(config.max_message_size).ok().filter(|size| *size > 0);
    if !config.subjects.iter().any(|filter| covers(filter, EVERY_SUBJECT)) {
        Some(format!("does not take the subjects {SUBJECTS}"))
    } else if config.no_ack {
        Some("acknowledges nothing (no_ack): what it lost would not be noticed".to_owned())
    } else if config.sealed {
        Some("is sealed".to_owned())
    } else {
        let too_small = smallest.filter(|size| *size < LARGEST_SMALL);
        too_small.map(|size| {
            format!("takes messages of {size} bytes (max_msg_size); at least {LARGEST_SMALL} is needed")
        })
    }
}

/// Whether a filter of subjects takes all that another one takes.
fn covers(filter: &str, other: &str) -> bool {
    let (mut filter, mut other) = (filter.split('.'), other.split('.'));
    loop {
        match (filter.next(), other.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(same), Some(token)) if same == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_must_take_the_subjects_of_all_events() {
        for filter in ["windu.>", ">", "*.>", "windu.*.>", "windu.*.*.*.*", "*.*.*.*.>"] {
            assert!(covers(filter, EVERY_SUBJECT), "{filter}");
        }
        for filter in
            ["windu.ann.>", "windu.*", "windu.*.*.*", "windu.*.*.message.*", "windu.*.*.*.*.>", "events.>"]
        {
            assert!(!covers(filter, EVERY_SUBJECT), "{filter}");
        }
    }
}
