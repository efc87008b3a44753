//! Failures of logins and requests, as what a connector reports.

use std::io;

use tokio_xmpp::Error;
use tokio_xmpp::error::AuthError;
use tokio_xmpp::parsers::sasl::DefinedCondition;
use tokio_xmpp::xmlstream::RecvFeaturesError;

use super::xml::{Element, ns};
use crate::domain::{FailureReason, NeedsUser};
use crate::upstream::{End, Failure, SendFailure};

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginFailure {
    #[error("the server is not reachable: {0}")]
    Unreachable(#[source] io::Error),
    /// The certificate is not trusted, or the server does not encrypt.
    #[error("the connection cannot be encrypted: {0}")]
    Tls(String),
    /// The password is wrong, or the account does not exist.
    #[error("the server refused the password")]
    NotAuthorized,
    #[error("the server has disabled the account")]
    Disabled,
    /// The server closed the stream with this condition (RFC 6120, section 4.9.3).
    #[error("the server closed the stream: {0}")]
    Closed(String),
    /// The server does not speak as this adapter needs it to.
    #[error("the server answered unexpectedly: {0}")]
    Protocol(String),
}

impl LoginFailure {
    pub fn end(&self) -> End {
        match self {
            Self::Unreachable(_) => End::Retry("network_unreachable"),
            Self::Tls(_) => End::Retry("network_not_trusted"),
            Self::NotAuthorized => End::NeedsUser(NeedsUser::LoggedOut),
            Self::Disabled => End::NeedsUser(NeedsUser::Banned(None)),
            Self::Closed(_) => End::Retry("network_refused"),
            Self::Protocol(_) => End::Retry("network_failed"),
        }
    }

    pub fn failure(&self) -> Failure {
        Failure::Retry(match self.end() {
            End::Retry(reason) => reason,
            // The administrator's login: the operator has to correct it.
            End::NeedsUser(_) | End::RateLimited(_) | End::Never(_) => "network_login_refused",
        })
    }
}

impl From<io::Error> for LoginFailure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl From<RecvFeaturesError> for LoginFailure {
    fn from(error: RecvFeaturesError) -> Self {
        match error {
            RecvFeaturesError::Io(error) => Self::Unreachable(error),
            RecvFeaturesError::StreamError(error) => Self::Closed(error.to_string()),
        }
    }
}

impl From<Error> for LoginFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => Self::Unreachable(error),
            Error::Disconnected => Self::Unreachable(io::ErrorKind::UnexpectedEof.into()),
            Error::Auth(AuthError::Fail(condition)) => match condition {
                DefinedCondition::NotAuthorized
                | DefinedCondition::CredentialsExpired
                | DefinedCondition::InvalidAuthzid => Self::NotAuthorized,
                DefinedCondition::AccountDisabled => Self::Disabled,
                DefinedCondition::TemporaryAuthFailure | DefinedCondition::Aborted => {
                    Self::Unreachable(io::Error::other("the server cannot check passwords now"))
                }
                DefinedCondition::EncryptionRequired => Self::Tls("the server wants encryption".to_owned()),
                DefinedCondition::IncorrectEncoding
                | DefinedCondition::InvalidMechanism
                | DefinedCondition::MalformedRequest
                | DefinedCondition::MechanismTooWeak => Self::Protocol(format!("{condition:?}")),
            },
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// Why an IQ has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IqFailure {
    /// The connection ended, or nothing came in time.
    #[error("no answer")]
    NoAnswer,
    /// An error of the other side (RFC 6120, section 8.3).
    #[error("{condition}")]
    Error {
        /// Such as `item-not-found`.
        condition: String,
        /// A retry makes sense: the error is of type `wait`.
        temporary: bool,
        text: Option<String>,
        /// What the error is in the words of its specification, such as `file-too-large`.
        detail: Option<String>,
    },
}

impl IqFailure {
    /// The error in a stanza of type `error`.
    pub fn of(stanza: &Element) -> Self {
        let Some(error) = stanza.get_child("error", ns::CLIENT) else {
            return Self::Error {
                condition: "undefined-condition".to_owned(),
                temporary: false,
                text: None,
                detail: None,
            };
        };
        let detail = error.children().find(|child| !child.has_ns(ns::STANZAS));
        let condition = error.children().find(|child| child.has_ns(ns::STANZAS) && child.name() != "text");
        Self::Error {
            condition: condition.map_or("undefined-condition", Element::name).to_owned(),
            temporary: error.attr("type") == Some("wait"),
            text: super::xml::child_text(error, "text", ns::STANZAS),
            detail: detail.map(|detail| detail.name().to_owned()),
        }
    }

    pub fn condition(&self) -> Option<&str> {
        match self {
            Self::NoAnswer => None,
            Self::Error { condition, .. } => Some(condition),
        }
    }

    /// Whether it says nothing of what the other side has or allows.
    pub fn is_of_the_moment(&self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::Error { condition, temporary, .. } => *temporary || condition == "internal-server-error",
        }
    }

    pub fn failure(self) -> Failure {
        match self {
            Self::NoAnswer => Failure::OutcomeUnknown,
            Self::Error { temporary: true, .. } => Failure::Retry("network_busy"),
            Self::Error { condition, text, .. } => Failure::Refused(text.unwrap_or(condition)),
        }
    }
}

/// As [`bounce`], of a message to a room.
pub(super) fn room_bounce(error: &IqFailure) -> SendFailure {
    match error.condition() {
        // The account is not inside at this moment (XEP-0045, section 7.4).
        Some("not-acceptable") => SendFailure::Retry,
        _ => bounce(error),
    }
}

/// What the error that came back for a message means for it.
pub(super) fn bounce(error: &IqFailure) -> SendFailure {
    match error {
        IqFailure::NoAnswer | IqFailure::Error { temporary: true, .. } => SendFailure::Retry,
        IqFailure::Error { condition, .. } => match condition.as_str() {
            "service-unavailable"
            | "item-not-found"
            | "recipient-unavailable"
            | "gone"
            | "remote-server-not-found" => SendFailure::Refused(FailureReason::RecipientGone),
            "remote-server-timeout" | "internal-server-error" | "resource-constraint" => SendFailure::Retry,
            _ => SendFailure::Refused(FailureReason::Refused),
        },
    }
}
