//! An HTTP client that reads whole responses.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::server::{PASSWORD, USER};

/// A client of one server, with or without a token. It follows no redirects.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Client {
    /// A client of the server at `base`: `http://host:port`.
    pub fn new(base: String) -> Self {
        // It fails when another test has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "tests are not the program")]
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_mins(1))
            .no_proxy()
            .build()
            .expect("a client");
        Self { base, token: None, http }
    }

    /// `http://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its token; empty without one.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// The same client with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client, with its token, for another server.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same client with a new token of a user, through the seeded public OAuth client.
    pub async fn sign_in(&self, user: &str, password: &str) -> Self {
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
            ("client_id", "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY"),
        ];
        let answer = self.post("/o/token/", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.with_token(answer.json()["access_token"].as_str().expect("a token"))
    }

    /// [`Client::sign_in`] as the user that every test server has.
    pub async fn sign_in_as_first_user(&self) -> Self {
        self.sign_in(USER, PASSWORD).await
    }

    /// A request builder with the token of this client; send it with [`Client::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// POST of a form.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        send(self.request(Method::POST, path).form(form)).await
    }

    /// PATCH of a form.
    pub async fn patch(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        send(self.request(Method::PATCH, path).form(form)).await
    }

    /// POST of a JSON document.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Sends any request.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        send(request).await
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The text of a header, "" when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Asserts that this is an error object with this status and code; returns its message.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{body}");
        body["error"].as_str().filter(|text| !text.is_empty()).expect("a sentence").to_owned()
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, bytes: response.bytes().await.expect("a whole answer").to_vec() }
}
