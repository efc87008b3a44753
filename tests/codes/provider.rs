//! A scripted HTTP server in place of a code provider. It records the requests that it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use windu::lifecycle::Lifecycle;

/// The behaviour of the provider for the next requests.
#[derive(Clone)]
pub enum Behaviour {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
    },
    Hang,
    /// Answers with this status after the notification.
    AnswerLater(Arc<Notify>, u16),
}

#[derive(Clone)]
pub struct ReceivedRequest {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
pub struct Provider {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<ReceivedRequest>>,
    arrived: Notify,
}

impl Behaviour {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: "" }
    }
}

impl Provider {
    pub async fn start(lifecycle: &Lifecycle) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::status(200)),
            requests: Mutex::default(),
            arrived: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        lifecycle.spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The only request so far.
    pub fn only_request(&self) -> ReceivedRequest {
        let mut asked = self.requests();
        assert_eq!(asked.len(), 1);
        asked.remove(0)
    }

    /// The code in the newest request to the webhook.
    pub fn last_code(&self) -> String {
        self.requests().last().expect("a request").json()["code"].as_str().expect("a code").to_owned()
    }

    /// Waits until a request has come.
    pub async fn wait_for_request(&self) {
        self.shared.arrived.notified().await;
    }
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(ReceivedRequest {
        uri,
        headers,
        body,
    });
    shared.arrived.notify_one();
    match behaviour {
        Behaviour::Answer { status, headers, body } => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                let value = HeaderValue::from_str(&value).unwrap();
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
            response
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::AnswerLater(release, status) => {
            release.notified().await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
    }
}
