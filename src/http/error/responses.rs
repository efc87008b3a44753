//! Error responses of the endpoints, for the description of the API.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::ApiError;

/// Every endpoint below `/api` can answer with these: its caller must be known, its whole body is read, and it needs the
/// database.
impl IntoResponses for ApiError {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "a parameter is missing or wrong, or the account cannot be used"),
            ("401", "the token is missing or invalid"),
            ("403", "the token lacks the scope that the method needs, or this is not allowed"),
            ("408", "the request took too long to arrive"),
            ("413", "the body, or a file in it, is too large"),
            ("415", "this type of body is not accepted"),
            ("500", "this server made a mistake"),
            ("503", "unavailable now; see Retry-After"),
        ])
    }
}

/// The endpoints that ask the account's network can also answer with these.
pub struct NetworkResponses;

impl IntoResponses for NetworkResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("501", "the account's network cannot do this"),
            ("502", "the network, or the sender of codes, refused or failed"),
            ("504", "the network did not answer in time, so the outcome is unknown"),
        ])
    }
}

fn problems(described: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    described.iter().map(|(status, description)| ((*status).to_owned(), problem(description))).collect()
}

/// A response whose body is a `Problem`.
#[must_use]
pub fn problem(description: &str) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    RefOr::T(ResponseBuilder::new().description(description).content("application/json", content).build())
}
