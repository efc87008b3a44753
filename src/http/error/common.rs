//! Errors that several endpoints and layers answer with.

use http::StatusCode;

use super::{ApiError, ErrorCode};
use crate::store::LIST_LIMIT;

impl ApiError {
    /// 400 for a body or a query that cannot be parsed.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorCode::Malformed, message)
    }

    /// 404 for a path of the form of an endpoint that names nothing.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::not_found(ErrorCode::NotFound, "there is no such path")
    }

    /// 413 for a body or a file of more than `limit` bytes.
    #[must_use]
    pub fn too_large(name: &str, limit: u64) -> Self {
        let message = format!("the {name} is larger than {} KiB", limit / 1024);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, message)
    }

    /// 409 while a request with the same `Idempotency-Key` is running.
    #[must_use]
    pub fn idempotency_key_in_use() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            ErrorCode::IdempotencyKeyInUse,
            "the first request with this Idempotency-Key is still running; repeat the request later to get its answer",
        )
    }

    /// The same for a number that nobody has and for a number of another user.
    #[must_use]
    pub fn account_unknown() -> Self {
        Self::bad_request(
            ErrorCode::AccountUnknown,
            "you have no account with this number; GET /api/account/ lists them",
        )
    }

    /// The same for a group that does not exist and for a group of others.
    #[must_use]
    pub fn no_such_group() -> Self {
        Self::not_found(ErrorCode::GroupNotFound, "this account is in no such group")
    }

    /// 400 for a number that the account may not write to.
    #[must_use]
    pub fn not_a_contact() -> Self {
        Self::bad_request(
            ErrorCode::NotAContact,
            "this number is neither an existing contact nor has it written to this account; add it to the contacts",
        )
    }

    /// 400 for a list of contacts without any that exists.
    #[must_use]
    pub fn no_valid_number() -> Self {
        Self::bad_request(
            ErrorCode::InvalidParameter,
            "contacts: the list has no valid number; a number has 5 to 15 digits, such as 15551230000",
        )
    }

    /// 400: a list of the account would have more entries than it may.
    #[must_use]
    pub fn list_full(list: &str) -> Self {
        let message = format!("an account may have at most {LIST_LIMIT} {list}; remove some first");
        Self::bad_request(ErrorCode::TooMany, message)
    }

    /// 501: the account's network has no such feature.
    #[must_use]
    pub fn unsupported(feature: &str) -> Self {
        let message = format!("the account's network cannot {feature}");
        Self::new(StatusCode::NOT_IMPLEMENTED, ErrorCode::Unsupported, message)
    }

    /// 504: nobody knows whether the network did what was asked.
    #[must_use]
    pub fn outcome_unknown() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::OutcomeUnknown,
            "the network did not answer in time, so the outcome is unknown; check it before you try again",
        )
    }

    /// 429 for an address that has too many requests open.
    #[must_use]
    pub fn too_many_connections() -> Self {
        Self::too_many(
            ErrorCode::TooManyConnections,
            "too many requests of your address are open; wait for their answers",
            5,
        )
    }

    /// 429 for a user who has too many requests open, as seen from what all have open.
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::too_many(
            ErrorCode::TooManyConnections,
            "too many of your requests are open; wait for their answers",
            5,
        )
    }

    /// 429 for a user who has too many streams, sockets and waiting polls open.
    #[must_use]
    pub fn too_many_streams() -> Self {
        Self::too_many(
            ErrorCode::TooManyStreams,
            "too many of your streams, sockets and waiting polls are open; close some",
            5,
        )
    }

    /// 503 for a request that was given up at its deadline. Nothing happens for it any more.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::unavailable(
            ErrorCode::DeadlineExceeded,
            "the request took too long and was given up; try again later",
            5,
        )
    }

    /// 503 until the program has started.
    #[must_use]
    pub fn starting() -> Self {
        Self::unavailable(ErrorCode::Starting, "this server is starting; try again soon", 1)
    }
}
