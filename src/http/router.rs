//! Routes and the layers around them.

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use super::error::ApiError;
use super::extract::caller::Caller;
use super::extract::{body, params};
use super::middleware::allowed_methods::{self, AllowedMethods};
use super::middleware::{cors, deadline, error_fallback, idempotency, paths, trace};
use super::{AppState, Started, api, docs, oauth, openapi};
use crate::config::CorsOrigins;
use crate::domain::ChatName;

/// The path parameters that name a contact, or a contact or group.
const CONTACT_WORDS: [&str; 2] = ["contact_id", "chat"];

/// The whole API as one service.
pub fn router(state: &AppState) -> Router {
    let (routes, _) = routes(Some(state)).split_for_parts();
    let routes: Router = routes.merge(docs::router()).with_state(state.clone());
    let routes = routes.method_not_allowed_fallback(no_such_method);
    let routes = routes.layer(from_fn_with_state(state.clone(), deadline::limit));
    surround(&state.cors_origins, &state.started, routes)
}

/// The OpenAPI description, from the same routes.
#[must_use]
pub fn openapi() -> serde_json::Value {
    let mut annotated = routes(None).into_openapi();
    idempotency::describe(&mut annotated);
    // Its types are made to be written as JSON: nothing in them can fail.
    let mut document = serde_json::to_value(annotated).unwrap_or_default();
    openapi::complete(&mut document);
    document
}

/// The response for a method that a path does not have: also such a path names nobody by a word that is no number, so that
/// a path with a typing error is not taken for one of a contact.
async fn no_such_method(words: Result<RawPathParams, RawPathParamsRejection>) -> Response {
    let names_nobody = |words: &RawPathParams| {
        words.iter().any(|(name, word)| CONTACT_WORDS.contains(&name) && word.parse::<ChatName>().is_err())
    };
    if words.is_ok_and(|words| names_nobody(&words)) {
        return ApiError::no_such_path().into_response();
    }
    StatusCode::METHOD_NOT_ALLOWED.into_response()
}

/// All routes. The endpoints below `/api` know their caller before the body is read, which needs the state; the description
/// alone does not.
fn routes(state: Option<&AppState>) -> OpenApiRouter<AppState> {
    let mut api = api::router();
    if let Some(state) = state {
        let methods = AllowedMethods::of(api.get_openapi());
        api = api
            .route_layer(from_fn_with_state(state.clone(), idempotency::run_once))
            .route_layer(from_fn_with_state(state.clone(), params::read::<Caller, AppState>))
            .route_layer(from_fn_with_state(methods, allowed_methods::mark));
    }
    OpenApiRouter::with_openapi(ApiDescription::openapi())
        .merge(api::health::router())
        .merge(oauth::router())
        .merge(api::media::router())
        .merge(api::events::socket::router())
        .merge(api)
}

/// The layers around all routes; a request passes the last one first. The routes are a service inside another router, so that
/// the path is normalised before routing.
fn surround(cors_origins: &CorsOrigins, started: &Started, routes: Router) -> Router {
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(started.clone(), normalise))
        .layer(CatchPanicLayer::custom(error_fallback::panicked))
        .layer(cors::layer(cors_origins))
        .layer(from_fn(trace::trace))
}

/// One layer for several small changes of requests and responses: a layer for each would cost more than the changes.
async fn normalise(State(started): State<Started>, request: Request, next: Next) -> Response {
    let oauth = request.uri().path().starts_with("/o/");
    let response = match paths::normalised(body::paced(request)) {
        Ok(request) if started.is_set() || request.uri().path() == "/livez" => next.run(request).await,
        Ok(_) => ApiError::starting().into_response(),
        Err(error) => error.into_response(),
    };
    error_fallback::finished(response, oauth)
}

#[derive(OpenApi)]
#[openapi(
    components(schemas(super::error::Problem)),
    info(title = "Windu", description = "A phone number on a messaging network as a REST API"),
    modifiers(&BearerScheme),
    security(("bearer" = []))
)]
struct ApiDescription;

/// The security scheme of every endpoint that names no other.
struct BearerScheme;

impl utoipa::Modify for BearerScheme {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::{get, post};
    use http::{Method, header};
    use serde_json::Value;
    use std::collections::BTreeSet;
    use tower::ServiceExt as _;

    /// A few endpoints behind the layers of the real ones, without a database.
    fn app() -> Router {
        let started = Started::default();
        started.set();
        let routes = Router::new()
            .route("/api/messages/{contact}/", get(async |request: Request| request.uri().to_string()))
            .route("/api/groups/info-all/", get(async || "all"))
            .route("/o/token/", post(async |body: String| body))
            .route("/api/panic/", get(async || -> &'static str { panic!("on purpose") }))
            .route("/api/teapot/", get(async || (StatusCode::IM_A_TEAPOT, "plain")));
        surround(&CorsOrigins::Any, &started, routes)
    }

    async fn ask(method: Method, path: &str) -> (StatusCode, http::HeaderMap, String) {
        let request =
            Request::builder().method(method).uri(path).body(Body::from("body")).expect("a request");
        let response = app().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn both_slashes_and_the_aliases_reach_an_endpoint() {
        for path in ["/api/messages/5", "/api/messages/5/", "/api/message/5", "/api/%6dessage/%35/"] {
            let (status, _, body) = ask(Method::GET, &format!("{path}?a=%20b")).await;
            assert_eq!((status.as_u16(), body.as_str()), (200, "/api/messages/5/?a=%20b"), "{path}");
            assert_eq!(ask(Method::HEAD, path).await.0, 200, "{path}");
        }
        assert_eq!(ask(Method::GET, "/groups/info-all").await.2, "all");
        assert_eq!(ask(Method::POST, "/o/token").await.2, "body");
    }

    #[tokio::test]
    async fn errors_are_objects_and_keep_their_headers() {
        for (method, path, status, code) in [
            (Method::GET, "/nowhere", 404, "not_found"),
            (Method::GET, "/api/%ff/", 400, "invalid_path"),
            (Method::DELETE, "/api/groups/info-all", 405, "method_not_allowed"),
            (Method::GET, "/o/token", 405, "invalid_request"),
            (Method::GET, "/o/nothing", 404, "invalid_request"),
            (Method::GET, "/api/panic", 500, "internal"),
            (Method::GET, "/api/teapot", 418, "invalid_request"),
        ] {
            let (answered, headers, body) = ask(method, path).await;
            let body: Value = serde_json::from_str(&body).expect(path);
            let key = if path.starts_with("/o/") { "error" } else { "code" };
            assert_eq!((answered.as_u16(), body[key].as_str()), (status, Some(code)), "{path}");
            assert_eq!(headers.contains_key(header::ALLOW), status == 405, "{path}");
            assert!(headers.contains_key("x-request-id"), "{path}");
            assert_eq!(headers["access-control-allow-origin"], "*", "{path}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{path}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
        }
    }

    #[tokio::test]
    async fn until_the_start_only_the_liveness_probe_answers() {
        let routes = Router::new().route("/livez", get(async || "ok"));
        let app = surround(&CorsOrigins::Any, &Started::default(), routes);
        for (path, status) in [("/livez", 200), ("/livez/", 200), ("/readyz", 503), ("/api/account/", 503)] {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503, "{path}");
        }
    }

    /// The names of the properties of a schema, of those that it refers to, and of those that it is made of.
    fn properties(schema: &Value, schemas: &Value, names: &mut BTreeSet<String>) {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            properties(&schemas[name], schemas, names);
        }
        names.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        for part in ["allOf", "oneOf", "anyOf"].iter().filter_map(|part| schema[part].as_array()).flatten() {
            properties(part, schemas, names);
        }
    }

    #[test]
    fn every_described_parameter_is_kept() {
        let description = openapi();
        let mut names = BTreeSet::new();
        let paths = description["paths"].as_object().expect("paths");
        for (_, methods) in paths.iter().filter(|(path, _)| path.starts_with("/api/")) {
            for endpoint in methods.as_object().expect("methods").values() {
                let parameters = endpoint["parameters"].as_array().into_iter().flatten();
                let query = parameters.filter(|parameter| parameter["in"] == "query");
                names.extend(query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()));
                for content in endpoint["requestBody"]["content"].as_object().into_iter().flatten() {
                    properties(&content.1["schema"], &description["components"]["schemas"], &mut names);
                }
            }
        }
        assert!(names.len() > 20, "{names:?}");
        let known: BTreeSet<String> = params::KNOWN_NAMES.iter().map(|name| (*name).to_owned()).collect();
        let missing: Vec<&String> = names.difference(&known).collect();
        assert!(missing.is_empty(), "params/names.rs lacks {missing:?}");
    }

    #[test]
    fn the_description_has_every_route_and_the_scheme() {
        let description = openapi();
        assert_eq!(description["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        let schemas = &description["components"]["schemas"];
        assert_eq!(schemas["Problem"]["properties"]["code"]["$ref"], "#/components/schemas/ErrorCode");
        assert!(schemas["ErrorCode"]["enum"].as_array().is_some_and(|codes| codes.len() > 60));
        assert!(description["paths"]["/livez"]["get"].is_object());
        let header = |path: &str| description["paths"][path]["post"].to_string().contains("Idempotency-Key");
        assert!(header("/api/messages/send-message/"));
        assert!(!header("/api/account/register-code/"));
        assert!(!header("/o/token/"));
    }
}
