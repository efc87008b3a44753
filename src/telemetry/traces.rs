//! Traces for OpenTelemetry: one span for each request, sent to a collector (OTLP 1.0 over HTTP, as protobuf). A span has the
//! route's template, never a path, a number, a name or a text.
//!
//! It is written when the response is ready, so that without a collector nothing is done at all.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};

use crate::clock;
use crate::config::{ConfigError, Env, TraceSettings};

/// The last spans of a stopping program are sent within this time.
const LAST_SPANS: Duration = Duration::from_secs(3);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends the last spans when it is dropped.
pub struct Traces(SdkTracerProvider);

/// A request that was answered.
pub struct AnsweredRequest<'a> {
    /// Where the caller's own trace goes on, see [`parent`].
    pub parent: Context,
    /// One that HTTP defines, or `_OTHER`: callers can invent methods.
    pub method: &'a str,
    /// Its template; `None`: no route serves the request.
    pub route: Option<&'a str>,
    pub status: StatusCode,
    /// The code of the error.
    pub code: Option<&'static str>,
    pub took: Duration,
}

/// Starts the export, if the settings name a collector. Must be called outside the asynchronous runtime.
pub(super) fn start(env: &Env) -> Result<Option<Traces>, ConfigError> {
    let Some(settings) = TraceSettings::read(env)? else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(settings.endpoint.as_str())
        .with_headers(settings.headers.into_iter().collect::<HashMap<_, _>>())
        .build()
        .map_err(|_| {
            ConfigError::new(TraceSettings::ENDPOINT, "the address of an OTLP collector is expected")
        })?;
    let resource = Resource::builder()
        .with_service_name(settings.service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let exporter = WatchedExporter { exporter, fails: AtomicBool::new(false) };
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    // Fails only when traces were started before, which then go on.
    let _ = TRACER.set(provider.tracer("windu"));
    Ok(Some(Traces(provider)))
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// An exporter that logs when its collector stops taking spans and when it takes them again, not each batch that is lost.
#[derive(Debug)]
struct WatchedExporter {
    exporter: SpanExporter,
    fails: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for WatchedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        let failed = self.fails.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !failed => {
                tracing::warn!(%error, "the collector takes no traces; they are lost until it does");
            }
            Ok(()) if failed => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The caller's trace, of the header `traceparent` (W3C Trace Context, section 3.2).
pub fn parent(headers: &HeaderMap) -> Context {
    if TRACER.get().is_none() || !headers.contains_key("traceparent") {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// Exports the span of a request that has just been answered.
pub fn record(request: AnsweredRequest<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    let AnsweredRequest { parent, method, route, status, code, took } = request;
    let end = SystemTime::from(clock::now());
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
    ];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
    attributes.extend(code.map(|code| KeyValue::new("error.type", code)));
    let failed = if status.is_server_error() { Status::error("") } else { Status::Unset };
    let mut span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Server)
        .with_start_time(end.checked_sub(took).unwrap_or(end))
        .with_attributes(attributes)
        .start_with_context(tracer, &parent);
    span.set_status(failed);
    span.end_with_timestamp(end);
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
