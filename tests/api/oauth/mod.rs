//! The token server.

mod bearer;
mod commands;
mod refresh;
mod requests;
mod revoke;
mod scopes;
mod spelling;
mod throttle;
mod token;

use serde_json::Value;

use crate::support::client::{Answer, Client};
use crate::support::server::{PASSWORD, Server, USER};

/// The public client that every server has.
const PUBLIC: &str = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";

/// A pair of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    #[track_caller]
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let token = |name: &str| body[name].as_str().expect("a token").to_owned();
        Self { access: token("access_token"), refresh: token("refresh_token") }
    }
}

/// A confidential client.
struct Confidential {
    id: String,
    secret: String,
}

impl Confidential {
    fn create(server: &Server, name: &str) -> Self {
        let output = server.run(&["client", "create", name, "--confidential"], "");
        Self { id: line(&output, "client_id: "), secret: line(&output, "client_secret: ") }
    }
}

/// The rest of the line that begins with `start`.
fn line(output: &str, start: &str) -> String {
    output.lines().find_map(|line| line.strip_prefix(start)).expect(output).to_owned()
}

/// The parameters of a good login through the public client.
const LOGIN: [(&str, &str); 4] =
    [("grant_type", "password"), ("username", USER), ("password", PASSWORD), ("client_id", PUBLIC)];

async fn log_in(client: &Client) -> Pair {
    Pair::of(&client.post("/o/token/", &LOGIN).await)
}

async fn refresh(client: &Client, token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", PUBLIC)];
    client.post("/o/token/", &form).await
}

async fn revoke(client: &Client, token: &str) -> Answer {
    client.post("/o/revoke-token/", &[("token", token), ("client_id", PUBLIC)]).await
}

/// The introspection response for a token.
async fn introspect(client: &Client, confidential: &Confidential, token: &str) -> Value {
    let form = [("token", token), ("client_id", &confidential.id), ("client_secret", &confidential.secret)];
    let answer = client.post("/o/introspect/", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// The login with other values; an empty one removes the parameter.
fn login_with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = LOGIN.to_vec();
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    form
}

/// Asserts an uncacheable error in the format of RFC 6749 section 5.2; returns its description.
#[track_caller]
fn failed(answer: &Answer, status: u16, error: &str) -> String {
    let body = answer.json();
    assert_eq!((answer.status, body["error"].as_str()), (status, Some(error)), "{body}");
    assert_eq!(answer.header("cache-control"), "no-store", "{body}");
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{body}");
    assert_eq!(body.as_object().expect("an object").len(), 2, "{body}");
    body["error_description"].as_str().filter(|text| !text.is_empty()).expect("a sentence").to_owned()
}
