//! The methods of each route: a request with another one gets its 405 whatever its body is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use utoipa::openapi::OpenApi;

use crate::http::extract::params::WrongMethod;

/// By the paths of the routes; clones share it.
#[derive(Clone)]
pub struct AllowedMethods(Arc<HashMap<String, Vec<Method>>>);

impl AllowedMethods {
    /// Those that the description lists.
    pub fn of(openapi: &OpenApi) -> Self {
        let routes = openapi.paths.paths.iter().map(|(path, item)| {
            let methods = [
                (Method::GET, item.get.is_some()),
                (Method::HEAD, item.get.is_some()),
                (Method::POST, item.post.is_some()),
                (Method::PATCH, item.patch.is_some()),
                (Method::DELETE, item.delete.is_some()),
                (Method::PUT, item.put.is_some()),
            ];
            let allowed = methods.into_iter().filter(|(_, allowed)| *allowed).map(|(method, _)| method);
            (path.clone(), allowed.collect())
        });
        Self(Arc::new(routes.collect()))
    }

    fn allow(&self, route: &str, method: &Method) -> bool {
        self.0.get(route).is_none_or(|methods| methods.contains(method))
    }
}

/// Middleware of the routes, outside of the one that reads parameters.
pub async fn mark(State(methods): State<AllowedMethods>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    if route.is_some_and(|route| !methods.allow(route.as_str(), request.method())) {
        request.extensions_mut().insert(WrongMethod);
    }
    next.run(request).await
}
