//! CORS: the pages that may call the API from a browser.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::idempotency::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use super::trace::REQUEST_ID;
use crate::config::CorsOrigins;
use crate::http::api::events::stream::LAST_EVENT_ID;
use crate::http::rate_limit;

/// Answers preflight requests on every path, without a token, and adds the headers to every other response.
pub fn layer(origins: &CorsOrigins) -> CorsLayer {
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::any(),
        // Each was parsed as an origin, which is ASCII.
        CorsOrigins::These(list) => {
            AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()))
        }
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            IDEMPOTENCY_KEY,
            LAST_EVENT_ID,
            REQUEST_ID,
            // What tools of tracing add to the requests of a page.
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
            HeaderName::from_static("baggage"),
            HeaderName::from_static("sentry-trace"),
            HeaderName::from_static("x-requested-with"),
        ])
        .expose_headers([
            REQUEST_ID,
            IDEMPOTENCY_REPLAYED,
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
            header::ETAG,
            header::RETRY_AFTER,
            rate_limit::LIMIT,
            rate_limit::POLICY,
            header::WWW_AUTHENTICATE,
        ])
        .max_age(Duration::from_hours(24))
}
