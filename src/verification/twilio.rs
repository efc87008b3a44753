//! The sender `twilio`: Messages and Calls of Twilio's REST API, version 2010-04-01.
//!
//! Status 201 means accepted. A refusal is a JSON object whose `code` Twilio's documentation explains
//! (21211: invalid receiver; 20003: wrong SID or token; 20429: too many requests); its `message` often repeats the
//! number and is not used.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::Method;
use super::code::Code;
use super::delivery::{Delivery, SendError};
use crate::domain::PhoneNumber;
use crate::fetch::{Fetch, FetchResponse, Policy, Post};

/// In bytes. Longer error bodies are not read: Twilio's have a few hundred bytes.
const ERROR_LIMIT: usize = 16 * 1024;

/// Sends through one Twilio account.
pub struct TwilioSender {
    messages: Url,
    calls: Url,
    account_sid: String,
    auth_token: String,
    from: String,
    timeout: Duration,
    fetch: Arc<Fetch>,
}

#[derive(Deserialize)]
struct Refusal {
    code: Option<u32>,
}

impl TwilioSender {
    /// `from` is a number of this Twilio account.
    pub fn new(
        base_url: &Url,
        account_sid: String,
        auth_token: String,
        from: &PhoneNumber,
        timeout: Duration,
        fetch: Arc<Fetch>,
    ) -> Result<Self, url::ParseError> {
        let base = base_url.as_str().trim_end_matches('/');
        let resource =
            |name: &str| Url::parse(&format!("{base}/2010-04-01/Accounts/{account_sid}/{name}.json"));
        let (messages, calls) = (resource("Messages")?, resource("Calls")?);
        Ok(Self { messages, calls, account_sid, auth_token, from: e164(from), timeout, fetch })
    }

    /// Requests one message or call.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        let Delivery { number, code, method } = delivery;
        let (url, content) = match method {
            Method::Sms => (&self.messages, ("Body", code.text(Method::Sms))),
            Method::Voice => (&self.calls, ("Twiml", twiml(code))),
        };
        let fields = vec![("To", e164(number)), ("From", self.from.clone()), content];
        let post = Post::form(url.clone(), fields, self.timeout).basic(&self.account_sid, &self.auth_token);
        let response = self.fetch.post(Policy::Operator, post).await?;
        if response.is_success() { Ok(()) } else { Err(refusal(response).await) }
    }
}

/// The status decides. A body that times out, is too long or is no JSON leaves the log without Twilio's code.
async fn refusal(response: FetchResponse) -> SendError {
    let (status, retry_after) = (response.status(), response.retry_after());
    let body = response.body(ERROR_LIMIT).await.unwrap_or_default();
    let code = serde_json::from_slice(&body).ok().and_then(|refusal: Refusal| refusal.code);
    SendError::from_status(status, code, retry_after)
}

/// E.164, with the plus.
fn e164(number: &PhoneNumber) -> String {
    format!("+{number}")
}

/// The script of the call. It begins with a pause, because a phone takes a moment to reach the ear.
fn twiml(code: &Code) -> String {
    let text = escape(&code.text(Method::Voice));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Pause length=\"1\"/>\
         <Say language=\"en-US\">{text}</Say></Response>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_xml() {
        assert_eq!(escape("<a b=\"1\">&'"), "&lt;a b=&quot;1&quot;&gt;&amp;&apos;");
    }
}
