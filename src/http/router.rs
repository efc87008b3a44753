//! Every route on one screen, and what surrounds them all.

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use super::{AppState, health};

/// The whole API as one service.
pub fn router(state: &AppState) -> Router {
    let (routes, _) = routes().split_for_parts();
    routes.with_state(state.clone())
}

/// The OpenAPI description, from the same routes.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi()).merge(health::router())
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Windu", description = "A phone number on a messaging network as a REST API"),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Description;

/// The scheme of every row that says nothing else.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}
