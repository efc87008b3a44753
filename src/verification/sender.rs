//! The senders that deliver codes to phones, behind one enum.

use std::sync::Arc;
use std::time::Duration;

use super::SetupError;
use super::delivery::{Delivery, SendError};
use super::log::LogSender;
use super::twilio::TwilioSender;
use super::webhook::WebhookSender;
use crate::config::SenderSettings;
use crate::fetch::{Fetch, Policy};

/// The sender of `WINDU_CODE_SENDER`.
pub enum Sender {
    Log(LogSender),
    Webhook(WebhookSender),
    Twilio(TwilioSender),
}

impl Sender {
    /// Prepares the sender. One that needs an HTTP client gets it now, so that a machine without CA certificates is
    /// noticed at the start.
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

    /// The value of `WINDU_CODE_SENDER`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Webhook(_) => "webhook",
            Self::Twilio(_) => "twilio",
        }
    }

    /// See [`super::Verification::destination`].
    pub fn destination(&self) -> String {
        match self {
            Self::Log(sender) => sender.destination(),
            Self::Webhook(_) => "to the webhook".to_owned(),
            Self::Twilio(_) => "through Twilio".to_owned(),
        }
    }

    /// Sends a code, without a retry.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        match self {
            Self::Log(sender) => sender.send(delivery).await,
            Self::Webhook(sender) => sender.send(delivery).await,
            Self::Twilio(sender) => sender.send(delivery).await,
        }
    }
}
