//! Who brings a code to the phone, behind one enum; and how what went wrong is told apart.

use std::sync::Arc;
use std::time::Duration;

use super::code::Code;
use super::log::LogSender;
use super::twilio::TwilioSender;
use super::webhook::WebhookSender;
use super::{Method, SetupError};
use crate::config::SenderSettings;
use crate::domain::PhoneNumber;
use crate::fetch::{Fetch, FetchError, Policy};
use crate::telemetry::chain;

/// The sender that the settings chose.
pub enum Sender {
    /// See [`LogSender`].
    Log(LogSender),
    /// See [`WebhookSender`].
    Webhook(WebhookSender),
    /// See [`TwilioSender`].
    Twilio(TwilioSender),
}

/// A code on its way to a number.
pub struct Delivery<'a> {
    /// Where to.
    pub number: &'a PhoneNumber,
    /// What.
    pub code: &'a Code,
    /// How.
    pub method: Method,
}

/// Why a sender did not say that the code is on its way. A reason shows no number, code, URL or secret.
#[derive(Debug)]
pub enum SendError {
    /// It refused, or could not be reached: no code went out.
    Failed {
        /// For the log.
        reason: String,
        /// Seconds after which the sender wants to be asked again.
        retry_after: Option<u64>,
    },
    /// It was asked and did not answer: a code may have gone out.
    Unknown {
        /// For the log.
        reason: String,
    },
}

impl Sender {
    /// Makes the sender ready; one that speaks HTTP gets its client now, so that a machine without CA
    /// certificates is found at the start.
    pub fn new(settings: SenderSettings, timeout: Duration, fetch: Arc<Fetch>) -> Result<Self, SetupError> {
        match settings {
            SenderSettings::Log(target) => Ok(Self::Log(LogSender::new(target))),
            SenderSettings::Webhook { url, secret } => {
                fetch.prepare(Policy::Operator)?;
                Ok(Self::Webhook(WebhookSender::new(url, secret.as_deref(), timeout, fetch)?))
            }
            SenderSettings::Twilio { account_sid, auth_token, from, base_url } => {
                fetch.prepare(Policy::Operator)?;
                Ok(Self::Twilio(TwilioSender::new(
                    &base_url,
                    account_sid,
                    auth_token,
                    &from,
                    timeout,
                    fetch,
                )?))
            }
        }
    }

    /// What WINDU_CODE_SENDER calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Webhook(_) => "webhook",
            Self::Twilio(_) => "twilio",
        }
    }

    /// Where codes go, in words.
    pub fn destination(&self) -> String {
        match self {
            Self::Log(sender) => sender.destination(),
            Self::Webhook(_) => "to the webhook".to_owned(),
            Self::Twilio(_) => "through Twilio".to_owned(),
        }
    }

    /// Sends a code, once.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        match self {
            Self::Log(sender) => sender.send(delivery).await,
            Self::Webhook(sender) => sender.send(delivery).await,
            Self::Twilio(sender) => sender.send(delivery).await,
        }
    }
}

impl SendError {
    /// A clear failure without advice about trying again.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), retry_after: None }
    }

    /// An answer other than a success, with the number that the sender gives to its reason.
    pub fn answered(status: u16, code: Option<u32>, retry_after: Option<u64>) -> Self {
        let code = code.map(|code| format!(", error {code}")).unwrap_or_default();
        let reason = format!("it answered {status}{code}");
        match status {
            // A proxy gave up waiting for the sender behind it, which may have done its work.
            408 | 504 => Self::Unknown { reason },
            _ => Self::Failed { reason, retry_after },
        }
    }
}

impl From<FetchError> for SendError {
    fn from(error: FetchError) -> Self {
        let reason = chain(&error);
        match error {
            FetchError::Unusable(_) | FetchError::NotAllowed | FetchError::NotConnected(_) => {
                Self::failed(reason)
            }
            FetchError::TimedOut(_) | FetchError::Broken(_) | FetchError::TooLong { .. } => {
                Self::Unknown { reason }
            }
        }
    }
}
