//! Why nothing is published, or not one event. All of it is tried again.

use async_nats::jetstream::{self, ErrorCode};

use super::message::SUBJECTS;

/// What a stream that is full says, and one that has as much as it may of one subject.
const FULL: [&str; 2] = ["maximum messages exceeded", "maximum bytes exceeded"];
const FULL_SUBJECT: &str = "maximum messages per subject exceeded";

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{place} cannot be reached ({problem})")]
    Unreachable { place: String, problem: String },
    #[error("{0} refuses the user, password or token of WINDU_EVENTS_NATS_URL")]
    LoginRefused(String),
    #[error("{place} denies its user a permission: {permission}")]
    Denied { place: String, permission: String },
    #[error("{0} has no JetStream: its configuration needs a section jetstream")]
    NoJetStream(String),
    #[error("{0} did not answer in time; its log may say why, such as a full disk")]
    NoAnswer(String),
    #[error("{0}")]
    WrongStream(String),
    #[error(
        "the stream {0} cannot be created: {1} takes subjects of {SUBJECTS}; name it in WINDU_EVENTS_NATS_STREAM if it \
         takes all of them"
    )]
    OtherStream(String, String),
    #[error("the stream {stream} is full ({problem})")]
    Full { stream: String, problem: String },
    #[error("the stream {stream} could not be written ({problem}); the log of the broker says more")]
    NotWritten { stream: String, problem: String },
    #[error("the stream {stream} refuses an event ({problem})")]
    Refused { stream: String, problem: String },
}

/// Why one event was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// The event exceeds what the server or the stream takes.
    #[error("the event is too large")]
    TooLarge,
    /// Others may be taken.
    #[error(transparent)]
    Event(BrokerError),
    /// No event is taken.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What JetStream says.
pub fn refusal(place: &str, stream: &str, error: &jetstream::Error) -> BrokerError {
    let (stream, problem) = (stream.to_owned(), error.to_string());
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            BrokerError::NoJetStream(place.to_owned())
        }
        ErrorCode::STREAM_NOT_MATCH => {
            BrokerError::WrongStream(format!("another stream than {stream} takes subjects of {SUBJECTS}"))
        }
        // The server has one code for all that its storage says.
        ErrorCode::STREAM_STORE_FAILED if problem.contains(FULL_SUBJECT) => {
            BrokerError::Refused { stream, problem }
        }
        ErrorCode::STREAM_STORE_FAILED if !FULL.iter().any(|words| problem.contains(words)) => {
            BrokerError::NotWritten { stream, problem }
        }
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED => BrokerError::Full { stream, problem },
        _ => BrokerError::Refused { stream, problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_stream_is_another_thing_than_a_broken_disk() {
        let refusal = |description: &str| {
            let error = serde_json::json!({"code": 503, "err_code": 10077, "description": description});
            refusal("place", "windu", &serde_json::from_value(error).expect("an error"))
        };
        for full in ["maximum messages exceeded", "maximum bytes exceeded"] {
            assert!(matches!(refusal(full), BrokerError::Full { .. }), "{full}");
        }
        let of_subject = "maximum messages per subject exceeded";
        assert!(matches!(refusal(of_subject), BrokerError::Refused { .. }));
        let broken = refusal("error writing msg: input/output error");
        assert!(matches!(broken, BrokerError::NotWritten { .. }), "{broken}");
    }
}
