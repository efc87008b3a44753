//! The delivery of one code, and its errors.

use super::Method;
use super::code::Code;
use crate::domain::PhoneNumber;
use crate::fetch::FetchError;
use crate::telemetry::chain;

/// A code to send to a number.
pub struct Delivery<'a> {
    pub number: &'a PhoneNumber,
    pub code: &'a Code,
    pub method: Method,
}

/// Why a sender did not accept a code. A reason, for the log, shows no number, code, URL or secret.
#[derive(Debug)]
pub enum SendError {
    /// The sender refused, or no connection was made: no code was sent.
    Failed {
        reason: String,
        /// Seconds until the sender accepts another request.
        retry_after: Option<u64>,
    },
    /// The sender may have sent the code.
    Unknown { reason: String },
}

impl SendError {
    /// A definite failure without `retry_after`.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), retry_after: None }
    }

    /// A response other than a success. `code` is the provider's own error code.
    pub fn from_status(status: u16, code: Option<u32>, retry_after: Option<u64>) -> Self {
        let code = code.map(|code| format!(", error {code}")).unwrap_or_default();
        let reason = format!("it responded with {status}{code}");
        match status {
            // A proxy timed out; the sender behind it may have sent the code.
            408 | 504 => Self::Unknown { reason },
            _ => Self::Failed { reason, retry_after },
        }
    }
}

impl From<FetchError> for SendError {
    fn from(error: FetchError) -> Self {
        let reason = chain(&error);
        match error {
            FetchError::Unusable(_)
            | FetchError::NotAllowed
            | FetchError::Busy
            | FetchError::NotConnected(_) => Self::failed(reason),
            FetchError::TimedOut(_) | FetchError::Broken(_) | FetchError::TooLong { .. } => {
                Self::Unknown { reason }
            }
        }
    }
}
