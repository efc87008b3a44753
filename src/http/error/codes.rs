//! Error codes of the API, by which programs distinguish errors.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Defines [`ErrorCode`]: each code once, with the sentence that describes it here and in the OpenAPI document.
macro_rules! codes {
    ($($(#[doc = $sentence:literal])+ $code:ident = $text:literal,)+) => {
        /// The code of an error. A code that was published never changes and never goes away.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[doc = $sentence])+ $code,)+
        }

        impl ErrorCode {
            /// The code in the body of an error.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)+
                }
            }

            /// The codes with their sentences, in the order of this file.
            const DESCRIBED: &[(&str, &str)] = &[$(($text, concat!($($sentence),+)),)+];
        }
    };
}

codes! {
    // The request.
    /// A parameter has a value that is not accepted; the error begins with the parameter's name.
    InvalidParameter = "invalid_parameter",
    /// A parameter is missing; the error names it.
    MissingParameter = "missing_parameter",
    /// The body or the query does not have the form that its type requires.
    Malformed = "malformed",
    /// The body of the request ended too early.
    BrokenBody = "broken_body",
    /// The request took too long to arrive.
    Timeout = "timeout",
    /// The body, or a file in it, is too large.
    TooLarge = "too_large",
    /// The endpoint does not accept this type of body.
    UnsupportedMediaType = "unsupported_media_type",
    /// The path does not decode to text.
    InvalidPath = "invalid_path",
    /// The request cannot be understood.
    InvalidRequest = "invalid_request",
    /// There is nothing at this path.
    NotFound = "not_found",
    /// The path does not accept this method.
    MethodNotAllowed = "method_not_allowed",
    /// The requested range is outside the file.
    RangeNotSatisfiable = "range_not_satisfiable",
    /// The request has no bearer token.
    TokenMissing = "token_missing",
    /// The bearer token is unknown, expired or revoked.
    TokenInvalid = "token_invalid",
    /// The ticket is unknown, late, or was used before.
    TicketInvalid = "ticket_invalid",
    /// The bearer token lacks the scope that the method needs: read for GET and HEAD, write for all others.
    InsufficientScope = "insufficient_scope",
    /// Too many connections or requests of this address, or requests of this user, are open.
    TooManyConnections = "too_many_connections",
    /// The token has made too many requests, or the account has sent too many messages, in the last seconds.
    RateLimited = "rate_limited",
    /// The list has too many items, or the account's list would have more than it may.
    TooMany = "too_many",
    /// The server holds too many large bodies of requests now.
    TooManyBodies = "too_many_bodies",
    /// The header Idempotency-Key must occur once and have 1 to 255 visible ASCII characters.
    IdempotencyKeyInvalid = "idempotency_key_invalid",
    /// The first request with this Idempotency-Key is still running.
    IdempotencyKeyInUse = "idempotency_key_in_use",
    /// The Idempotency-Key belongs to a request with other parameters.
    IdempotencyKeyReused = "idempotency_key_reused",

    // Accounts and the codes that prove numbers.
    /// The caller has no account with this number.
    AccountUnknown = "account_unknown",
    /// The caller has no account yet.
    NoAccount = "no_account",
    /// The caller has several accounts and has to name one.
    AccountAmbiguous = "account_ambiguous",
    /// The account exists but its number has not been proved.
    AccountNotRegistered = "account_not_registered",
    /// None of the caller's accounts is waiting for a code.
    NoAccountWaits = "no_account_waits",
    /// The caller already has an account with this number.
    AccountExists = "account_exists",
    /// Too many of the caller's accounts are waiting for their codes (429), or the caller has as many as this server allows
    /// (400).
    TooManyAccounts = "too_many_accounts",
    /// Another request is registering this number.
    RegistrationUnderWay = "registration_under_way",
    /// This server has no network of this name.
    NetworkUnknown = "network_unknown",
    /// This server sends no codes to numbers of this kind.
    NumberNotAllowed = "number_not_allowed",
    /// A code was sent to this number a moment ago.
    CodeTooSoon = "code_too_soon",
    /// Too many codes were sent today.
    TooManyCodes = "too_many_codes",
    /// The code could not be sent.
    CodeSenderFailed = "code_sender_failed",
    /// The code is wrong.
    CodeWrong = "code_wrong",
    /// The code has expired.
    CodeExpired = "code_expired",
    /// No code was requested.
    CodeNone = "code_none",
    /// The account has a password on its network, which is needed besides the code.
    PasswordNeeded = "password_needed",
    /// The password of the account on its network is wrong.
    PasswordWrong = "password_wrong",
    /// The number has no account on the network.
    NoNetworkAccount = "no_network_account",
    /// Too many wrong codes were sent.
    TooManyGuesses = "too_many_guesses",

    // Contacts, groups and messages.
    /// The files in the caller's messages are as many bytes as this server allows.
    MediaQuota = "media_quota",
    /// This contact is already in the contact list.
    ContactExists = "contact_exists",
    /// This contact is not in the contact list.
    ContactNotFound = "contact_not_found",
    /// Nobody on the network has this public id.
    ContactUnknown = "contact_unknown",
    /// The number is neither an existing contact nor has it written to the account.
    NotAContact = "not_a_contact",
    /// The contact does not show this to the account.
    Hidden = "hidden",
    /// There is no photo.
    PhotoNotFound = "photo_not_found",
    /// The account is in no such group.
    GroupNotFound = "group_not_found",
    /// The number is not in the group.
    ParticipantNotFound = "participant_not_found",
    /// Only an admin of the group may do this.
    NotAnAdmin = "not_an_admin",
    /// The group would have more participants than the network accepts.
    GroupTooLarge = "group_too_large",
    /// These numbers cannot be added to a group: they are not on the network, or have blocked the account.
    CannotBeAdded = "cannot_be_added",
    /// Too many messages of the account are waiting for the network.
    OutboxFull = "outbox_full",
    /// The account or its contacts changed while the message was being accepted.
    Changing = "changing",

    // Events.
    /// The cursor cannot be read.
    InvalidCursor = "invalid_cursor",
    /// There is no type of event of this name.
    UnknownType = "unknown_type",
    /// The events after the cursor cannot be given: it is of another epoch or user, or they were deleted.
    CursorGone = "cursor_gone",
    /// The endpoint is a WebSocket, and the request asks for no upgrade.
    UpgradeRequired = "upgrade_required",
    /// Pages of this origin may not call this server.
    OriginNotAllowed = "origin_not_allowed",
    /// The client took nothing for a minute: why a stream or socket ended.
    TooSlow = "too_slow",
    /// The user has too many streams, sockets and waiting polls.
    TooManyStreams = "too_many_streams",
    /// The caller has no webhook with this id.
    WebhookNotFound = "webhook_not_found",
    /// The caller has as many webhooks as one may have.
    TooManyWebhooks = "too_many_webhooks",

    // Files.
    /// The file does not exist, or its URL has expired.
    MediaNotFound = "media_not_found",
    /// The endpoint does not accept this type of file.
    UnsupportedFile = "unsupported_file",
    /// The picture cannot be read.
    InvalidPicture = "invalid_picture",
    /// The server must not fetch this URL.
    UrlNotAllowed = "url_not_allowed",
    /// The URL could not be fetched.
    UrlFailed = "url_failed",
    /// Too many files are being uploaded.
    TooManyUploads = "too_many_uploads",
    /// The storage of files is unavailable.
    StorageUnavailable = "storage_unavailable",

    // The account's network.
    /// The account's session is not connected to its network.
    SessionNotReady = "session_not_ready",
    /// The network cannot be reached.
    NetworkUnavailable = "network_unavailable",
    /// The network limits the rate of requests.
    NetworkRateLimited = "network_rate_limited",
    /// The network refused.
    NetworkRefused = "network_refused",
    /// The network did not answer in time, so the outcome is unknown.
    OutcomeUnknown = "outcome_unknown",
    /// The network lets the account write to this person only for a while after they wrote.
    WindowClosed = "window_closed",
    /// The network cannot do this.
    Unsupported = "unsupported",

    // This server.
    /// The server is starting.
    Starting = "starting",
    /// The server is stopping.
    ShuttingDown = "shutting_down",
    /// The database is unavailable.
    DatabaseUnavailable = "database_unavailable",
    /// The server could not do this in time and gave it up.
    DeadlineExceeded = "deadline_exceeded",
    /// The server cannot do this now.
    Unavailable = "unavailable",
    /// The server made a mistake.
    Internal = "internal",
}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let mut description = "The codes by which programs distinguish errors.\n".to_owned();
        for (code, sentence) in Self::DESCRIBED {
            description.push_str("\n* `");
            description.push_str(code);
            description.push_str("`:");
            description.push_str(sentence);
        }
        let codes = Self::DESCRIBED.iter().map(|(code, _)| *code);
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description))
            .enum_values(Some(codes))
            .into()
    }
}

impl ToSchema for ErrorCode {
    fn name() -> Cow<'static, str> {
        "ErrorCode".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_described() {
        let codes: BTreeSet<&str> = ErrorCode::DESCRIBED.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), ErrorCode::DESCRIBED.len());
        let schema = serde_json::to_value(ErrorCode::schema()).expect("JSON");
        let listed = schema["enum"].as_array().expect("a list");
        let description = schema["description"].as_str().expect("a description");
        for (code, sentence) in ErrorCode::DESCRIBED {
            assert!(listed.iter().any(|listed| listed == code), "{code}");
            assert!(description.contains(&format!("`{code}`:{sentence}")), "{code}");
            assert!(sentence.ends_with('.'), "{code}");
        }
    }
}
