//! What the server says of itself: the OpenAPI document, Swagger UI, and the page at the root.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::json;
use utoipa_swagger_ui::{Config, oauth};

use super::error::ApiError;
use super::json::Json;
use super::router;
use crate::oauth::PUBLIC_CLIENT;

const OPENAPI: &str = "/api/openapi.json";
const DOCS: &str = "/api/docs/";

/// Nothing is loaded from another host, and no page frames these. Swagger UI writes its styles into the page.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
);

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Windu</title></head><body>\n\
    <h1>Windu</h1>\n<p>A phone number on a messaging network as a REST API.</p>\n\
    <ul><li><a href=\"/api/docs/\">Try the API in the browser</a></li>\n\
    <li><a href=\"/api/openapi.json\">Its OpenAPI document</a></li></ul>\n</body></html>\n";

const SWAGGER_UI: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Windu</title>\n\
    <link rel=\"icon\" type=\"image/png\" href=\"/api/docs/favicon-32x32.png\">\n\
    <link rel=\"stylesheet\" href=\"/api/docs/swagger-ui.css\"></head><body>\n<div id=\"swagger-ui\"></div>\n\
    <script src=\"/api/docs/swagger-ui-bundle.js\"></script>\n\
    <script src=\"/api/docs/swagger-ui-standalone-preset.js\"></script>\n\
    <script src=\"/api/docs/swagger-initializer.js\"></script>\n</body></html>\n";

/// The document as it is served, made once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", router::openapi()));

/// Swagger UI signs in with the public client.
static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let client = oauth::Config::new()
        .client_id(PUBLIC_CLIENT)
        .app_name("Windu")
        .scopes(vec!["read".to_owned(), "write".to_owned()]);
    Arc::new(Config::with_oauth_config([OPENAPI], client).validator_url("none").persist_authorization(false))
});

/// The routes of this file, with the slash that every path below `/api` has after its normalisation. They need no token, and
/// no database.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(root))
        .route("/api/openapi.json/", get(document))
        .route(DOCS, get(swagger_ui))
        .route("/api/docs/{*file}", get(async |Path(name): Path<String>| file(name.trim_end_matches('/'))))
}

/// A page for browsers, an object for programs.
async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html")) {
        return ([POLICY, kind("text/html; charset=utf-8")], PAGE).into_response();
    }
    Json(json!({"name": "Windu", "docs": DOCS, "openapi": OPENAPI})).into_response()
}

/// With whole paths, so that it works without the slash at the end of its own.
async fn swagger_ui() -> Response {
    ([POLICY, kind("text/html; charset=utf-8")], SWAGGER_UI).into_response()
}

async fn document() -> Response {
    ([kind("application/json")], DOCUMENT.as_str()).into_response()
}

/// A file of Swagger UI.
fn file(name: &str) -> Response {
    match utoipa_swagger_ui::serve(name, Arc::clone(&SWAGGER)) {
        Ok(Some(file)) => {
            let kind = HeaderValue::from_str(&file.content_type);
            let kind =
                (header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
            ([POLICY, kind], file.bytes).into_response()
        }
        Ok(None) => ApiError::no_such_path().into_response(),
        Err(error) => {
            tracing::error!(error, "a file of the documentation cannot be made");
            ApiError::no_such_path().into_response()
        }
    }
}

fn kind(value: &'static str) -> (HeaderName, HeaderValue) {
    (header::CONTENT_TYPE, HeaderValue::from_static(value))
}
