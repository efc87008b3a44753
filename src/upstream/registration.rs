//! Registration of a number on a network: who proves the number, and whose the account is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{AdapterState, Credentials, Failure};
use crate::domain::PhoneNumber;

/// The way in which a number is registered on a network. It also says whose the account is.
#[derive(Clone)]
pub enum RegistrationKind {
    /// We verify the number by a code of our own. The account is ours: [`super::Connector::register`] creates it, and
    /// [`super::Connector::unregister`] deletes it.
    OurCode,
    /// The network sends a code and verifies it. The account is the person's: we log in with the code, and log out with
    /// [`super::Connector::log_out`].
    NetworkCode(Arc<dyn NetworkCode>),
    /// The network shows a code that the user enters on the phone. It needs a live connection. The account is the
    /// person's.
    Pairing,
}

impl RegistrationKind {
    /// Whether an account belongs to a person, so that it stays on the network when we log out.
    #[must_use]
    pub fn is_persons(&self) -> bool {
        match self {
            Self::OurCode => false,
            Self::NetworkCode(_) | Self::Pairing => true,
        }
    }
}

/// The way in which a network's code reaches the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeMethod {
    /// A text message.
    Sms,
    /// A call that reads the code out.
    Voice,
    /// A message in the network's own app, where the person is logged in already.
    App,
}

impl CodeMethod {
    /// `sms`, `voice` or `app`, as in HTTP responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::App => "app",
        }
    }
}

/// A code that the network has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentCode {
    /// The network may have chosen another one than was asked for.
    pub method: CodeMethod,
    /// Digits of the code.
    pub length: usize,
    /// The network sends no other code before this has passed.
    pub again_after: Duration,
}

/// What the person enters. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// The code, without what people type between the digits.
    Code(String),
    /// The password that the person has set for the account on the network.
    Password(String),
}

impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Code(_) => "Code(..)",
            Self::Password(_) => "Password(..)",
        })
    }
}

/// The network's answer to a [`Proof`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// Logged in. The state of the registration becomes that of the account.
    Done(Credentials),
    /// The code, or the password, is wrong.
    Wrong,
    /// The code is too old, or the network has forgotten the registration: a new code is needed.
    Expired,
    /// The code is right, and the account has a password besides.
    NeedsPassword,
    /// The number has no account on the network, and the network does not create one in this way.
    NoSuchAccount,
}

/// Registration by codes of the network.
///
/// All calls for one number come one after the other, whichever processes and users they are from, each with the state
/// that the last one of the same account left. The state is empty before the first code, and none of a login that the
/// account may have: that may be in use meanwhile. Writes fail when the request has lost its lease; the call should fail
/// then, too. Calls are dropped when they take too long, so what must not be lost is written before the network is asked.
///
/// Failures mean the same everywhere: [`Failure::RateLimited`] when the network refuses for now, because of codes or of
/// guesses, [`Failure::Refused`] when it refuses for good, for example a banned number, and [`Failure::Unsupported`] for
/// a method that it lacks.
#[async_trait]
pub trait NetworkCode: Send + Sync {
    /// The usual number of digits, for an answer before the network has sent a code.
    fn usual_length(&self) -> usize;

    /// Asks the network for the first code, by SMS or voice, or however the network does it.
    async fn start(
        &self,
        number: &PhoneNumber,
        method: CodeMethod,
        state: Arc<dyn AdapterState>,
    ) -> Result<SentCode, Failure>;

    /// Asks for another code. Begins anew when the network has forgotten the registration.
    async fn again(
        &self,
        number: &PhoneNumber,
        method: CodeMethod,
        state: Arc<dyn AdapterState>,
    ) -> Result<SentCode, Failure>;

    /// Submits what the person has entered: the code first, and the password after [`Submitted::NeedsPassword`], which is
    /// also the answer to any code once the right one was accepted.
    async fn submit(
        &self,
        number: &PhoneNumber,
        proof: &Proof,
        state: Arc<dyn AdapterState>,
    ) -> Result<Submitted, Failure>;
}
