//! Probes for operators: `/livez` and `/readyz`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db::SchemaError;
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::json::Json;
use crate::http::middleware::deadline;

/// For an answer of media or a network; a probe must answer before its caller gives up.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long their answers are used: asking media writes an object.
const LIFETIME: Duration = Duration::from_secs(15);

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz))
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ok`; `degraded` when media or a network fails, which other endpoints do without; `failing`.
    status: &'static str,
    checks: Checks,
}

/// Each is `ok` or `failing`.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    database: &'static str,
    migrations: &'static str,
    media: &'static str,
    networks: BTreeMap<String, &'static str>,
}

/// The last answers of media and the networks.
#[derive(Debug, Default)]
pub struct SlowChecks(Mutex<Option<(Instant, Answers)>>);

#[derive(Clone, Debug)]
struct Answers {
    media: bool,
    networks: BTreeMap<String, bool>,
}

const OK: &str = "ok";
const FAILING: &str = "failing";

/// Answers while the program runs; uses nothing else.
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn livez() -> Json<Health> {
    Json(Health { status: OK })
}

/// Answers when the program has started and the database answers, with the tables of this version or a newer one.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Problem))
)]
async fn readyz(State(state): State<AppState>) -> Response {
    if state.lifecycle.soft().is_cancelled() {
        return ApiError::unavailable(ErrorCode::ShuttingDown, "this server is stopping", 1).into_response();
    }
    if !state.started.is_set() {
        return ApiError::starting().into_response();
    }
    let (database, slow) = tokio::join!(deadline::probe(&state.store), slow_checks(&state));
    let migrations = match &database {
        Ok(()) => match timeout(TIMEOUT, state.store.db().is_migrated()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("the database's tables are older than this program"),
            Ok(Err(SchemaError::TooNew)) => {
                Err("the database's tables are those of a newer version, and this one cannot work with them")
            }
            Ok(Err(SchemaError::Database(_))) => {
                Err("the database broke off when it was asked for its tables")
            }
            Ok(Err(SchemaError::Migration(_) | SchemaError::Refused(_))) => {
                Err("the database refuses to say which migrations are applied")
            }
            Err(_) => Err("the database's tables do not answer: another program may hold a lock on them"),
        },
        Err(_) => Err("the database cannot be reached"),
    };
    let checks = Checks {
        database: word(database.is_ok()),
        migrations: word(migrations.is_ok()),
        media: word(slow.media),
        networks: slow.networks.iter().map(|(name, fine)| (name.clone(), word(*fine))).collect(),
    };
    let failed = database.err().or_else(|| {
        let text = migrations.err()?;
        Some(ApiError::unavailable(ErrorCode::DatabaseUnavailable, text, 5))
    });
    if let Some(error) = failed {
        let checks = serde_json::to_value(&checks).unwrap_or_default();
        return error.with_field("status", FAILING).with_field("checks", checks).into_response();
    }
    let all = slow.media && slow.networks.values().all(|fine| *fine);
    Json(Readiness { status: if all { OK } else { "degraded" }, checks }).into_response()
}

fn word(fine: bool) -> &'static str {
    if fine { OK } else { FAILING }
}

/// Asks media and the networks, unless that was done lately. One asks for all who wait.
async fn slow_checks(state: &AppState) -> Answers {
    let mut last = state.slow_checks.0.lock().await;
    if let Some((at, answers)) = &*last
        && at.elapsed() < LIFETIME
    {
        return answers.clone();
    }
    let media = async { matches!(timeout(TIMEOUT, state.media.check()).await, Ok(Ok(()))) };
    let networks = join_all(state.sessions.networks().into_iter().map(async |name| {
        let fine = match state.sessions.connector(&name) {
            Some(connector) => matches!(timeout(TIMEOUT, connector.existing(&[])).await, Ok(Ok(_))),
            None => false,
        };
        (name, fine)
    }));
    let (media, networks) = tokio::join!(media, networks);
    let answers = Answers { media, networks: networks.into_iter().collect() };
    *last = Some((Instant::now(), answers.clone()));
    answers
}
