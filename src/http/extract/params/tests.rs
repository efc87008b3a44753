//! Tests of the middleware and its extractors behind a router.

use super::*;
use crate::config::TrustedProxies;
use crate::domain::{PhoneNumber, UserId};
use crate::http::server::{self, ConnectionLimits};
use crate::lifecycle::Lifecycle;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use axum::{Json, Router};
use http::{Method, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A caller: requests without an Authorization header are refused.
#[derive(Clone)]
struct TestCaller;

impl<S: Sync> FromRequestParts<S> for TestCaller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.headers.get(header::AUTHORIZATION).map(|_| Self).ok_or(StatusCode::UNAUTHORIZED)
    }
}

impl From<&TestCaller> for Uploader {
    fn from(_: &TestCaller) -> Self {
        Self::User(UserId(1))
    }
}

#[derive(Deserialize)]
struct SendForm {
    contact: PhoneNumber,
    message: Text<5>,
    #[serde(default)]
    received_only: Flag,
}

#[derive(Deserialize)]
struct Import {
    contacts: Vec<SendForm>,
}

impl Requester for TestCaller {
    fn user(&self) -> UserId {
        UserId(1)
    }
}

#[derive(Clone)]
struct TestState {
    spools: Spools,
    bodies: BodyBudget,
    requests: FairShare<UserId>,
}

impl FromRef<TestState> for Spools {
    fn from_ref(state: &TestState) -> Self {
        state.spools.clone()
    }
}

impl FromRef<TestState> for FairShare<UserId> {
    fn from_ref(state: &TestState) -> Self {
        state.requests.clone()
    }
}

impl FromRef<TestState> for BodyBudget {
    fn from_ref(state: &TestState) -> Self {
        state.bodies.clone()
    }
}

/// With a folder that does not exist: no request here has files.
fn state() -> TestState {
    let spools = Spools::new(std::path::Path::new("/nonexistent"), 1_024);
    TestState { spools, bodies: BodyBudget::default(), requests: FairShare::new(2) }
}

/// Parameters as JSON.
fn shown(parameters: &RawParameters) -> Value {
    parameters.parse().expect("any object")
}

fn router() -> Router {
    Router::new()
        .route("/raw/{name}/", any(|parts: Parts| async move { Json(shown(raw(&parts).expect("read"))) }))
        .route(
            "/send/",
            any(|_: OriginalUri, RequestParameters(send): RequestParameters<SendForm>| async move {
                Json(json!([send.contact, send.message.into_inner(), send.received_only.0]))
            }),
        )
        .route(
            "/import/",
            any(|JsonOnly(import): JsonOnly<Import>| async move { import.contacts.len().to_string() }),
        )
        .route_layer(from_fn_with_state(state(), read::<TestCaller, TestState>))
}

async fn ask(method: Method, target: &str, kind: &str, body: impl Into<Body>) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(target).header(header::AUTHORIZATION, "any");
    if !kind.is_empty() {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    answer(request.body(body.into()).expect("a request")).await
}

async fn answer(request: Request) -> (u16, Value) {
    let response = router().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// The status, the code and the message of an error.
async fn error_of(target: &str, kind: &str, body: &str) -> (u16, String, String) {
    let (status, answer) = ask(Method::POST, target, kind, body.to_owned()).await;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("error"))
}

#[tokio::test]
async fn path_wins_over_body_and_body_over_query() {
    let target = "/raw/p/?name=q&message=q&subject=q&url=q";
    for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
        let (status, values) =
            ask(method.clone(), target, FORM, "name=b&message=b&subject=b&subject=last").await;
        assert_eq!(
            (status, values),
            (200, json!({"name": "p", "message": "b", "subject": "last", "url": "q"})),
            "{method}"
        );
    }
    for not_given in ["null", "\"\""] {
        let body = format!(r#"{{"name": 1, "message": 2, "subject": {not_given}}}"#);
        let (_, values) = ask(Method::GET, target, JSON, body).await;
        assert_eq!(values, json!({"name": "p", "message": 2, "subject": "q", "url": "q"}));
    }
    let multipart = "--X\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nm\r\n--X--\r\n";
    let (_, values) = ask(Method::DELETE, target, "Multipart/Form-Data; boundary=X", multipart).await;
    assert_eq!(values, json!({"name": "p", "message": "m", "subject": "q", "url": "q"}));
}

#[tokio::test]
async fn an_empty_value_is_not_given_unless_it_may_be_empty() {
    let part = |name: &str| format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n\r\n");
    let multipart = format!("{}{}--X--\r\n", part("contact"), part("nickname"));
    for (target, kind, body) in [
        ("/raw/p/?contact=&nickname=&limit", "", ""),
        ("/raw/p/", FORM, "contact=&nickname=&limit="),
        ("/raw/p/", JSON, r#"{"contact": "", "nickname": "", "limit": ""}"#),
        ("/raw/p/", "multipart/form-data; boundary=X", &multipart),
    ] {
        let (_, values) = ask(Method::POST, target, kind, body.to_owned()).await;
        assert_eq!(values, json!({"name": "p", "nickname": ""}), "{target} {kind}");
    }
}

#[tokio::test]
async fn a_parameter_that_no_endpoint_knows_is_not_kept() {
    let multipart = "--X\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nm\r\n--X--\r\n";
    for (target, kind, body) in [
        ("/raw/p/?other=1", "", ""),
        ("/raw/p/", FORM, "other=1"),
        ("/raw/p/", JSON, r#"{"other": {"name": 1}}"#),
        ("/raw/p/", "multipart/form-data; boundary=X", multipart),
    ] {
        assert_eq!(
            ask(Method::POST, target, kind, body).await,
            (200, json!({"name": "p"})),
            "{target} {kind}"
        );
    }
}

#[tokio::test]
async fn an_empty_body_is_no_parameters_whatever_its_type() {
    for kind in ["", FORM, JSON, "multipart/form-data", "text/plain", "\u{7f}"] {
        let kind = if kind == "\u{7f}" { "nonsense" } else { kind };
        assert_eq!(ask(Method::POST, "/raw/p/", kind, "").await, (200, json!({"name": "p"})), "{kind}");
    }
}

#[tokio::test]
async fn charsets_are_accepted_and_other_types_refused() {
    for (kind, body) in [
        ("application/json; charset=utf-8", r#"{"url": "1"}"#),
        ("Application/JSON;charset=UTF-8", r#"{"url": "1"}"#),
        ("application/x-www-form-urlencoded; charset=iso-8859-1", "url=1"),
    ] {
        assert_eq!(
            ask(Method::POST, "/raw/p/", kind, body).await,
            (200, json!({"name": "p", "url": "1"})),
            "{kind}"
        );
    }
    for kind in ["", "text/plain", "application/xml", "application/merge-patch+json"] {
        let (status, code, _) = error_of("/raw/p/", kind, "a=1").await;
        assert_eq!((status, code.as_str()), (415, "unsupported_media_type"), "{kind}");
    }
}

#[tokio::test]
async fn the_body_of_an_unknown_caller_is_not_read() {
    static READ: AtomicBool = AtomicBool::new(false);
    let body = Body::from_stream(futures_util::stream::poll_fn(|_| {
        READ.store(true, Ordering::SeqCst);
        std::task::Poll::Ready(None::<std::io::Result<String>>)
    }));
    let request =
        Request::builder().method("POST").uri("/send/").header(header::CONTENT_TYPE, FORM).body(body);
    assert_eq!(answer(request.expect("a request")).await.0, 401);
    assert!(!READ.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_error_names_the_parameter() {
    let refused = async |body: &str| error_of("/send/", FORM, body).await;
    let (status, code, error) = refused("contact=15551230000").await;
    assert_eq!((status, code.as_str(), error.as_str()), (400, "missing_parameter", "message is missing"));
    let (status, code, error) = refused("contact=1&message=hi").await;
    assert_eq!((status, code.as_str()), (400, "invalid_parameter"));
    assert!(error.starts_with("contact: a phone number has 5 to 15 digits"), "{error}");
    let (_, _, error) = refused("contact=15551230000message=hi").await;
    assert!(error.contains("is an & missing"), "{error}");
    let (_, _, error) = refused("contact=15551230000&message=hello!").await;
    assert_eq!(error, "message: at most 5 characters are accepted, this has 6");
    let (_, code, error) = error_of("/import/", JSON, r#"{"contacts": [{"contact": 15551230000}]}"#).await;
    assert_eq!((code.as_str(), error.as_str()), ("missing_parameter", "contacts[0].message is missing"));
    let (_, code, error) = error_of("/import/", JSON, r#"{"contacts": 5}"#).await;
    assert!(code == "invalid_parameter" && error.starts_with("contacts: "), "{error}");
}

#[tokio::test]
async fn a_json_number_may_be_a_phone_number_but_no_text() {
    let body = r#"{"contact": 15551230000, "message": "12", "received_only": true, "unknown": {}}"#;
    let (status, answer) = ask(Method::POST, "/send/", JSON, body).await;
    assert_eq!((status, answer), (200, json!(["15551230000", "12", true])));
    for (name, body) in [
        ("message", r#"{"contact": 15551230000, "message": 12}"#),
        ("message", r#"{"contact": 15551230000, "message": 1.50}"#),
        ("message", r#"{"contact": 15551230000, "message": true}"#),
        ("contact", r#"{"contact": -15551230000, "message": "12"}"#),
        ("contact", r#"{"contact": 15551230000.0, "message": "12"}"#),
    ] {
        let (status, code, error) = error_of("/send/", JSON, body).await;
        assert_eq!((status, code.as_str()), (400, "invalid_parameter"), "{body}");
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
    }
    let (_, answer) =
        ask(Method::POST, "/send/?received_only=1", FORM, "contact=+1 555 123-0000&message=a%20b").await;
    assert_eq!(answer, json!(["15551230000", "a b", true]));
    let (_, code, _) = error_of("/send/", JSON, r#"{"contact": 15551230000, "message": null}"#).await;
    assert_eq!(code, "missing_parameter");
}

#[tokio::test]
async fn a_json_endpoint_refuses_forms() {
    let (status, _, error) = error_of("/import/", FORM, "contacts=1").await;
    assert!(status == 415 && error.contains("application/json"), "{status} {error}");
    let good = r#"{"contacts": []}"#;
    assert_eq!(ask(Method::POST, "/import/", JSON, good).await.0, 200);
    assert_eq!(error_of("/import/", FORM, "").await.1, "missing_parameter");
}

/// The response of a server on a real socket to these bytes, up to the first blank line.
async fn response_head(request: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let lifecycle = Lifecycle::default();
    let limits = ConnectionLimits {
        total: 10,
        waiting_give_way: false,
        per_address: 10,
        trusted_proxies: TrustedProxies::default(),
    };
    lifecycle.spawn(server::serve(listener, router(), limits, lifecycle.clone()));
    let (mut reader, mut writer) =
        tokio::net::TcpStream::connect(address).await.expect("a connection").into_split();
    let write = async {
        writer.write_all(&request).await.expect("sent to its end");
    };
    let read = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(reader.read_u8().await.expect("an answer").into());
        }
        head
    };
    tokio::join!(read, write).0
}

#[tokio::test]
async fn a_caller_that_writes_too_much_gets_the_error() {
    let head = |more: &str| {
        let start =
            "POST /send/ HTTP/1.1\r\nHost: x\r\nAuthorization: any\r\nContent-Type: application/json\r\n";
        format!("{start}{more}\r\n\r\n").into_bytes()
    };
    let size = 6 * 1024 * 1024;
    let mut whole = head(&format!("Content-Length: {size}"));
    whole.resize(whole.len() + size, b' ');
    assert!(response_head(whole).await.starts_with("HTTP/1.1 413"));
    let mut chunked = head("Transfer-Encoding: chunked");
    for _ in 0..6 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.resize(chunked.len() + 0x10_0000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert!(response_head(chunked).await.starts_with("HTTP/1.1 413"));
    // These callers wait for `100 Continue` before they write.
    let waiting = head(&format!("Content-Length: {size}\r\nExpect: 100-continue"));
    assert!(response_head(waiting).await.starts_with("HTTP/1.1 413"));
    let waiting = head("Content-Length: 2\r\nExpect: 100-continue");
    assert!(response_head(waiting).await.starts_with("HTTP/1.1 100"));
}

#[tokio::test]
async fn bad_bytes_in_a_query_are_refused() {
    assert_eq!(error_of("/raw/p/?a=%ff", "", "").await.0, 400);
    assert_eq!(error_of("/raw/p/?a=%00", "", "").await.0, 400);
}

#[test]
fn the_notation_does_not_change_the_fingerprint() {
    let of = |values: Value| {
        let values = json::parse(values.to_string().as_bytes()).expect("an object");
        RawParameters { values, ..RawParameters::default() }.fingerprint()
    };
    assert_eq!(of(json!({"code": "1", "name": true})), of(json!({"name": "true", "code": 1})));
    let contact = |name: &str| json!({"contacts": [{"contact_id": 1, "first_name": name}]});
    assert_eq!(of(contact("a")), of(json!({"contacts": [{"first_name": "a", "contact_id": "1"}]})));
    assert_ne!(of(contact("a")), of(contact("b")));
    assert_ne!(of(json!({"code": "1"})), of(json!({"code": "2"})));
    assert_ne!(of(json!({"numbers": ["1", "2"]})), of(json!({"numbers": ["12"]})));
    assert_ne!(of(json!({"code": "1", "name": "2"})), of(json!({"code": "1name2"})));
}

#[tokio::test]
async fn the_fingerprint_is_of_the_files_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let spools = Spools::new(folder.path(), 1_024);
    let fingerprint = async |file_name: &str, content: &str| {
        let mut spool = spools.spool(Uploader::User(UserId(1)));
        spool.write(content.as_bytes()).await.expect("written");
        let spooled = Arc::new(spool.finish().await.expect("finished"));
        let files = vec![File { name: "f".into(), file_name: file_name.into(), spooled }];
        RawParameters { files, ..RawParameters::default() }.fingerprint()
    };
    assert_eq!(fingerprint("a.jpg", "1").await, fingerprint("tmp7f3a", "1").await);
    assert_ne!(fingerprint("a.jpg", "1").await, fingerprint("a.jpg", "2").await);
}
