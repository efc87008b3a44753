//! `Idempotency-Key`: a POST that is repeated under its key runs once and gets the saved response again, for 24 hours.
//!
//! The middleware [`run_once`] claims the key, runs the handler to its end, and saves the response (also when the caller
//! hangs up or PostgreSQL's answer is lost: a key must not stay claimed; only a request that is given up ends earlier). That is too late when the program is killed after
//! the effect is committed, so a handler with an effect takes [`crate::http::extract::IdempotencyClaim`] and commits with
//! it what a repeat needs.
//!
//! Not saved, so that the same request may run again: 5xx, 429, 401, and failures of a caller's URL. Another request never
//! gets the key.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::Instrument as _;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use crate::db::DbError;
use crate::domain::{ProcessId, UserId};
use crate::http::AppState;
use crate::http::api::events::ticket;
use crate::http::error::responses::problem;
use crate::http::error::{ApiError, ErrorCode, Transient};
use crate::http::extract::caller::Caller;
use crate::http::extract::params;
use crate::lifecycle::Deadline;
use crate::store::{Claim, IdempotentRequest, KeyState, SavedResponse};
use crate::telemetry::chain;

pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks a saved response.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Characters of a key.
const LONGEST_KEY: usize = 255;
/// The endpoints that accept no key. A code is valid only once anyway, and a ticket is a secret, which is not saved.
const WITHOUT_KEY: &[&str] = &["/api/account/register-code/", ticket::PATH];
/// How long a request waits until this process has joined the others, as it does after its start.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts to settle a key while the database is unavailable.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Middleware of the endpoints below `/api`, inside [`params::read`].
pub async fn run_once(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let keyed = match keyed_request(&state, &mut parts).await {
        Ok(Some(keyed)) => keyed,
        Ok(None) => return next.run(Request::from_parts(parts, body)).await,
        Err(error) => return error.into_response(),
    };
    let running =
        Deadline::carry(claim_and_run(state.clone(), keyed, Request::from_parts(parts, body), next));
    match state.lifecycle.spawn(running.in_current_span()).await {
        Ok(response) => response,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// Adds the header and its responses to the description of every endpoint that accepts a key.
pub fn describe(openapi: &mut OpenApi) {
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(1))
        .max_length(Some(LONGEST_KEY))
        .pattern(Some("^[!-~]+$"))
        .build();
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Chosen by the caller, visible ASCII. For 24 hours the same request with the same key gets the first \
             response again, with the header Idempotency-Replayed, and has no second effect.",
        ))
        .schema(Some(schema))
        .build();
    for (path, item) in &mut openapi.paths.paths {
        if !takes_key(path) {
            continue;
        }
        if let Some(operation) = &mut item.post {
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter.clone()));
            let responses = &mut operation.responses.responses;
            responses.insert(
                "409".to_owned(),
                problem("the first request with this Idempotency-Key is still running"),
            );
            responses.insert(
                "422".to_owned(),
                problem("the Idempotency-Key belongs to a request with other parameters"),
            );
        }
    }
}

fn takes_key(route: &str) -> bool {
    route.starts_with("/api/") && !WITHOUT_KEY.contains(&route)
}

/// A request with a key, and the process that will run it.
struct KeyedRequest {
    user: UserId,
    route: String,
    key: String,
    fingerprint: [u8; 32],
    process: ProcessId,
}

/// `None` for a request that has no key or accepts none.
async fn keyed_request(state: &AppState, parts: &mut Parts) -> Result<Option<KeyedRequest>, ApiError> {
    let Some(path) = parts.extensions.get::<MatchedPath>() else { return Ok(None) };
    if parts.method != Method::POST || !takes_key(path.as_str()) {
        return Ok(None);
    }
    let route = format!("{} {}", parts.method, path.as_str());
    let Some(key) = key(&parts.headers)? else { return Ok(None) };
    // A claim ends with its process's heartbeat. When a process stops or joins again, its claims are free at once: of two
    // runs of a request only the later one has an effect.
    let process = state.sessions.process(JOIN_TIMEOUT).await.ok_or_else(ApiError::starting)?;
    let user = Caller::from_request_parts(parts, state).await?.user;
    let fingerprint = params::raw(parts)?.fingerprint();
    Ok(Some(KeyedRequest { user, route, key, fingerprint, process }))
}

/// The one key of a request.
fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(
            ErrorCode::IdempotencyKeyInvalid,
            format!("Idempotency-Key: one header of 1 to {LONGEST_KEY} visible ASCII characters is expected"),
        )),
    }
}

/// Runs the handler if the key is free, otherwise answers from the state of the key.
async fn claim_and_run(state: AppState, keyed: KeyedRequest, request: Request, next: Next) -> Response {
    let KeyedRequest { user, ref route, ref key, ref fingerprint, process } = keyed;
    match state.store.claim_key(IdempotentRequest { user, route, key, fingerprint, process }).await {
        Ok(KeyState::Claimed(claim)) => run(state, claim, request, next).await,
        Ok(KeyState::Answered(saved)) => replayed(saved),
        Ok(KeyState::Running) => ApiError::idempotency_key_in_use().into_response(),
        Ok(KeyState::Reused) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::IdempotencyKeyReused,
            "this Idempotency-Key was used for a request with other parameters; choose a new one",
        )
        .into_response(),
        Ok(KeyState::InDoubt(claim, error)) => {
            settle(&state, claim, None).await;
            ApiError::from(error).into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// Runs the handler under its claim. When the request is given up, the handler is dropped and the key is free again.
async fn run(state: AppState, claim: Claim, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(claim.clone());
    let outcome = tokio::select! {
        biased;
        () = Deadline::current_given_up() => None,
        outcome = AssertUnwindSafe(next.run(request)).catch_unwind() => Some(outcome),
    };
    let response = match outcome {
        Some(Ok(response)) => response,
        Some(Err(panic)) => {
            settle(&state, claim, None).await;
            resume_unwind(panic)
        }
        None => {
            settle(&state, claim, None).await;
            // The caller has another answer by now.
            return ApiError::idempotency_key_in_use().into_response();
        }
    };
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => {
            settle(&state, claim, None).await;
            return ApiError::internal(&error).into_response();
        }
    };
    let transient = parts.extensions.get::<Transient>().is_some();
    let saved = (is_saved(parts.status) && !transient).then(|| SavedResponse {
        status: parts.status.as_u16(),
        content_type: parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body: body.to_vec(),
    });
    settle(&state, claim, saved).await;
    Response::from_parts(parts, Body::from(body))
}

fn is_saved(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::UNAUTHORIZED
}

/// Saves the response, or frees the key. While the database is unavailable this is retried after the response was sent: this
/// process lives, so nobody else would free the key.
async fn settle(state: &AppState, claim: Claim, saved: Option<SavedResponse>) {
    if try_to_settle(state, &claim, saved.as_ref()).await {
        return;
    }
    let (again, soft) = (state.clone(), state.lifecycle.soft().clone());
    state.lifecycle.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = soft.cancelled() => return,
            }
            if try_to_settle(&again, &claim, saved.as_ref()).await {
                return;
            }
        }
    });
}

/// False when it should be retried.
async fn try_to_settle(state: &AppState, claim: &Claim, saved: Option<&SavedResponse>) -> bool {
    match state.store.settle_key(claim, saved).await {
        Ok(()) => true,
        Err(DbError::Unavailable(_)) => false,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "an idempotency key stays claimed until this process ends"
            );
            true
        }
    }
}

fn replayed(saved: SavedResponse) -> Response {
    let mut response = Response::new(Body::from(saved.body));
    match StatusCode::from_u16(saved.status) {
        Ok(status) => *response.status_mut() = status,
        Err(error) => return ApiError::internal(&error).into_response(),
    }
    if let Some(value) = saved.content_type.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        key(&headers).map_err(|error| error.code().as_str())
    }

    #[test]
    fn a_key_is_one_header_of_visible_characters() {
        assert_eq!(read(&[]), Ok(None));
        let longest = "k".repeat(255);
        for good in ["1", "!~", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &longest] {
            assert_eq!(read(&[good]), Ok(Some(good.to_owned())));
        }
        for bad in [&[""][..], &["a b"], &["ä"], &["a\tb"], &[&"k".repeat(256)], &["a", "a"]] {
            assert_eq!(read(bad), Err("idempotency_key_invalid"), "{bad:?}");
        }
    }

    #[test]
    fn only_lasting_responses_are_saved() {
        for status in [200, 201, 400, 403, 404, 413, 415] {
            assert!(is_saved(StatusCode::from_u16(status).expect("a status")), "{status}");
        }
        for status in [401, 429, 500, 501, 502, 503, 504] {
            assert!(!is_saved(StatusCode::from_u16(status).expect("a status")), "{status}");
        }
    }
}
