//! Conversions of the errors of the layers below: sessions, networks, verification and the database.

use http::header;

use super::{ApiError, ErrorCode};
use crate::db::DbError;
use crate::sessions::group_creation::CreateGroupError;
use crate::sessions::roster::ContactError;
use crate::sessions::{AskError, CodeRequestError, GroupRefusal, NoSuchNetwork, RegisterError, SubmitError};
use crate::store::{LARGEST_OFFSET, ListError};
use crate::telemetry::chain;
use crate::upstream::Failure;
use crate::verification::{CheckError, RequestError};

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotNow { retry_after } => Self::unavailable(
                ErrorCode::SessionNotReady,
                "the account's session is not connected to its network now; try again soon",
                retry_after,
            ),
            AskError::OutcomeUnknown => Self::outcome_unknown(),
            AskError::Refused(reason) => network_refused(&reason),
            AskError::Unsupported(feature) => Self::unsupported(&feature),
            AskError::Group(refusal) => refusal.into(),
            AskError::Store(error) => error.into(),
        }
    }
}

impl From<GroupRefusal> for ApiError {
    fn from(refusal: GroupRefusal) -> Self {
        match refusal {
            GroupRefusal::NotInGroup => Self::no_such_group(),
            GroupRefusal::NotAnAdmin => Self::forbidden(
                ErrorCode::NotAnAdmin,
                "only admins of the group may do this, and this account is not an admin",
            ),
            GroupRefusal::NotAMember => {
                Self::not_found(ErrorCode::ParticipantNotFound, "this number is not in the group")
            }
            GroupRefusal::TooLarge => Self::bad_request(
                ErrorCode::GroupTooLarge,
                "the network accepts no group of so many participants",
            ),
            GroupRefusal::CannotAdd { who } => Self::bad_request(
                ErrorCode::CannotBeAdded,
                format!(
                    "these cannot be added, because they are not on the network or have blocked this account: {}",
                    who.join(", ")
                ),
            )
            .with_field("participants", who),
        }
    }
}

impl From<CreateGroupError> for ApiError {
    fn from(error: CreateGroupError) -> Self {
        match error {
            CreateGroupError::Unsupported => Self::unsupported("have groups"),
            CreateGroupError::NotContacts(participants) => {
                let message = format!(
                    "these cannot be added, because they are neither existing contacts nor have written to this account, \
                     or because they have blocked it: {}",
                    participants.join(", ")
                );
                Self::bad_request(ErrorCode::NotAContact, message).with_field("participants", participants)
            }
            CreateGroupError::NoSuchNetwork(error) => error.into(),
            CreateGroupError::Ask(error) => error.into(),
            CreateGroupError::Store(error) => error.into(),
        }
    }
}

impl From<ContactError> for ApiError {
    fn from(error: ContactError) -> Self {
        match error {
            ContactError::Exists => Self::bad_request(
                ErrorCode::ContactExists,
                "this contact is already in the contact list; PATCH changes its name",
            ),
            ContactError::UnknownPublicId(id) => Self::bad_request(
                ErrorCode::ContactUnknown,
                format!("nobody on the network has the public id {id}"),
            ),
            ContactError::TooMany => Self::list_full("contacts"),
            ContactError::NoValidEntry => Self::no_valid_number(),
            ContactError::NoSuchNetwork(error) => error.into(),
            ContactError::Ask(error) => error.into(),
            ContactError::Store(error) => error.into(),
        }
    }
}

impl From<NoSuchNetwork> for ApiError {
    fn from(error: NoSuchNetwork) -> Self {
        network_missing(&error)
    }
}

/// The networks come from the settings, so this is the operator's mistake.
fn network_missing(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "an account's network is not among WINDU_NETWORKS");
    ApiError::unavailable(
        ErrorCode::NetworkUnavailable,
        "this server is not connected to the account's network now",
        60,
    )
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(_) => Self::unavailable(
                ErrorCode::NetworkUnavailable,
                "the network cannot be reached now; try again soon",
                5,
            ),
            Failure::RateLimited(pause) => Self::unavailable(
                ErrorCode::NetworkRateLimited,
                "the network limits the rate of requests; try again later",
                pause.as_secs().max(1),
            ),
            Failure::Refused(reason) => network_refused(&reason),
            Failure::OutcomeUnknown => Self::outcome_unknown(),
            Failure::Unsupported(feature) => Self::unsupported(feature),
        }
    }
}

fn network_refused(reason: &str) -> ApiError {
    ApiError::bad_gateway(ErrorCode::NetworkRefused, format!("the network refused: {reason}"))
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Network(failure) => failure.into(),
            RegisterError::UnderWay => Self::unavailable(
                ErrorCode::RegistrationUnderWay,
                "another request is registering this number; see GET /api/account/",
                2,
            ),
            RegisterError::Removed => Self::account_unknown(),
            RegisterError::NoSuchNetwork(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<CodeRequestError> for ApiError {
    fn from(error: CodeRequestError) -> Self {
        match error {
            CodeRequestError::TooSoon { retry_after } => Self::too_many(
                ErrorCode::NetworkRateLimited,
                format!("the network sends no code to this number now; try again in {retry_after} s"),
                retry_after,
            ),
            CodeRequestError::Register(error) => error.into(),
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::WrongCode => CheckError::Wrong.into(),
            SubmitError::WrongPassword => Self::forbidden(ErrorCode::PasswordWrong, "the password is wrong")
                .with_field("reason", "wrong"),
            SubmitError::Expired => Self::forbidden(
                ErrorCode::CodeExpired,
                "the network does not accept this code any more; ask for a new one",
            )
            .with_field("reason", "expired"),
            SubmitError::NoneAsked => CheckError::NoneAsked.into(),
            SubmitError::NeedsPassword => Self::forbidden(
                ErrorCode::PasswordNeeded,
                "the code is right, and the account has a password on its network; send it as password",
            )
            .with_field("reason", "password"),
            SubmitError::NeedsCode => Self::bad_request(
                ErrorCode::MissingParameter,
                "code is missing: the network asks for the password after the code",
            ),
            SubmitError::NoSuchAccount => Self::forbidden(
                ErrorCode::NoNetworkAccount,
                "this number has no account on the network; create one there first, for example in its app",
            )
            .with_field("reason", "no_account"),
            SubmitError::TooMany { retry_after } => CheckError::TooMany { retry_after }.into(),
            SubmitError::Register(error) => error.into(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TooSoon { retry_after } => Self::too_many(
                ErrorCode::CodeTooSoon,
                format!("a code was sent to this number a moment ago; try again in {retry_after} s"),
                retry_after,
            ),
            RequestError::DailyLimit { retry_after } => Self::too_many(
                ErrorCode::TooManyCodes,
                format!("too many codes were sent today; try again in {retry_after} s"),
                retry_after,
            ),
            RequestError::NotAllowed => Self::forbidden(
                ErrorCode::NumberNotAllowed,
                "this server sends no codes to numbers of this kind",
            ),
            RequestError::NoAccount => Self::account_unknown(),
            RequestError::SenderFailed { retry_after } => {
                let failed = Self::bad_gateway(
                    ErrorCode::CodeSenderFailed,
                    "no code could be sent: the code sender refused or failed",
                );
                match retry_after {
                    Some(seconds) => failed.with_header(header::RETRY_AFTER, seconds.into()),
                    None => failed,
                }
            }
            RequestError::SenderTimedOut => Self::bad_gateway(
                ErrorCode::CodeSenderFailed,
                "the code sender did not answer in time; a code may arrive all the same",
            ),
            RequestError::GivenUp => Self::deadline_exceeded(),
            RequestError::Store(error) => error.into(),
        }
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Wrong => {
                Self::forbidden(ErrorCode::CodeWrong, "the code is wrong").with_field("reason", "wrong")
            }
            CheckError::Expired => Self::forbidden(
                ErrorCode::CodeExpired,
                "the code is older than ten minutes; ask for a new one",
            )
            .with_field("reason", "expired"),
            CheckError::NoneAsked => {
                Self::forbidden(ErrorCode::CodeNone, "no code was requested; ask for one")
                    .with_field("reason", "none")
            }
            CheckError::TooMany { retry_after } => Self::too_many(
                ErrorCode::TooManyGuesses,
                format!("too many wrong codes; ask for a new one in {retry_after} s"),
                retry_after,
            ),
            CheckError::Store(error) => error.into(),
        }
    }
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooFar => Self::bad_request(
                ErrorCode::InvalidParameter,
                format!(
                    "offset: in a list as long as this one at most {LARGEST_OFFSET} entries can be skipped; with after= \
                     only the entries after a time count"
                ),
            ),
            ListError::TooLarge { fit } => Self::bad_request(
                ErrorCode::InvalidParameter,
                format!("limit: these messages are too large for one answer; ask for at most {fit} of them"),
            ),
            ListError::Store(error) => error.into(),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) if error.is_conflict() => Self::unavailable(
                ErrorCode::Changing,
                "another request changed the same data at the same time; try again",
                1,
            ),
            DbError::Unavailable(_) if error.is_shutdown() => {
                Self::unavailable(ErrorCode::Unavailable, "this server is stopping; try again soon", 2)
            }
            DbError::Unavailable(_) => {
                tracing::warn!(error = chain(&error), "the database is unavailable");
                Self::unavailable(
                    ErrorCode::DatabaseUnavailable,
                    "the database is unavailable; try again soon",
                    2,
                )
            }
            // The account was removed after the request had read it.
            DbError::Refused(_)
                if error.constraint().is_some_and(|name| name.ends_with("_account_id_fkey")) =>
            {
                Self::account_unknown()
            }
            // A claim is the only lease under which requests write.
            DbError::Fenced => Self::idempotency_key_in_use(),
            DbError::Corrupt(_) | DbError::Refused(_) => Self::internal(&error),
        }
    }
}
