//! POST requests.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

/// A POST request. Its `Debug` shows neither URL nor content, which may hold secrets.
pub struct Post {
    pub(super) url: Url,
    headers: Vec<(&'static str, String)>,
    basic: Option<(String, String)>,
    body: Body,
    timeout: Duration,
}

enum Body {
    Bytes(Bytes),
    Form(Vec<(&'static str, String)>),
}

impl Post {
    /// `timeout` runs from the first attempt to connect to the last byte of the response.
    #[must_use]
    pub fn json(url: Url, body: impl Into<Bytes>, timeout: Duration) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { url, headers, basic: None, body: Body::Bytes(body.into()), timeout }
    }

    /// `timeout` as above.
    #[must_use]
    pub fn form(url: Url, fields: Vec<(&'static str, String)>, timeout: Duration) -> Self {
        Self { url, headers: Vec::new(), basic: None, body: Body::Form(fields), timeout }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// HTTP Basic authentication (RFC 7617).
    #[must_use]
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.basic = Some((user.into(), password.into()));
        self
    }

    pub(super) fn request(self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        let mut request = client.post(self.url).timeout(self.timeout);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some((user, password)) = self.basic {
            request = request.basic_auth(user, Some(password));
        }
        match self.body {
            Body::Bytes(bytes) => request.body(bytes),
            Body::Form(fields) => request.form(&fields),
        }
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Post(..)")
    }
}
