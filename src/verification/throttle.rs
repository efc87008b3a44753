//! Limits of sending and guessing codes, counted in PostgreSQL over the whole deployment.

use std::time::Duration;

use crate::domain::PhoneNumber;
use crate::store::CodeLimits;

/// A code is valid this long.
pub const LIFETIME: Duration = Duration::from_mins(10);
/// The shortest time between two codes for one number.
pub const PAUSE: Duration = Duration::from_mins(1);
/// Guesses at one code.
pub const GUESSES_PER_CODE: i32 = 5;
/// Wrong guesses of one user within 24 hours.
pub const WRONG_GUESSES_PER_USER: i64 = 20;
/// Accounts of one user whose numbers are not verified yet.
pub const UNPROVED_ACCOUNTS_PER_USER: i64 = 10;

const CODES_PER_USER: i64 = 20;
const CODES_PER_NUMBER: i64 = 30;
const CODES_PER_USER_AND_NUMBER: i64 = 5;

/// `per_deployment` comes from the settings.
pub fn limits(per_deployment: u32) -> CodeLimits {
    CodeLimits {
        pause: PAUSE,
        per_user_and_number: CODES_PER_USER_AND_NUMBER,
        per_number: CODES_PER_NUMBER,
        per_user: CODES_PER_USER,
        per_deployment: per_deployment.into(),
    }
}

/// Whether this server sends codes to this number. Without prefixes it does to all.
pub fn is_allowed(number: &PhoneNumber, prefixes: &[String]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| number.as_str().starts_with(prefix))
}
