//! The sender `twilio`: Messages and Calls of Twilio's REST API, version 2010-04-01.
//!
//! A request that was taken is answered 201. A refusal is a JSON object whose `code` Twilio's documentation
//! explains (21211: no such number to send to; 20003: wrong SID or token; 20429: too many requests); its
//! `message` often repeats the number and is not used.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::Method;
use super::code::Code;
use super::sender::{Delivery, SendError};
use crate::domain::PhoneNumber;
use crate::fetch::{Answer, Fetch, Policy, Post};

/// Longer error bodies are not read: Twilio's have a few hundred bytes.
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
    /// A sender for this account and this number of its own.
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

    /// Asks Twilio for one message or call.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        let Delivery { number, code, method } = delivery;
        let (url, content) = match method {
            Method::Sms => (&self.messages, ("Body", code.text(Method::Sms))),
            Method::Voice => (&self.calls, ("Twiml", twiml(code))),
        };
        let fields = vec![("To", e164(number)), ("From", self.from.clone()), content];
        let post = Post::form(url.clone(), fields, self.timeout).basic(&self.account_sid, &self.auth_token);
        let answer = self.fetch.post(Policy::Operator, post).await?;
        if answer.is_success() { Ok(()) } else { Err(refusal(answer).await) }
    }
}

/// The status decides; a body that is late, too long or no JSON only leaves the log without Twilio's code.
async fn refusal(answer: Answer) -> SendError {
    let (status, retry_after) = (answer.status(), answer.retry_after());
    let body = answer.body(ERROR_LIMIT).await.unwrap_or_default();
    let code = serde_json::from_slice(&body).ok().and_then(|refusal: Refusal| refusal.code);
    SendError::answered(status, code, retry_after)
}

/// A number as Twilio takes it (E.164).
fn e164(number: &PhoneNumber) -> String {
    format!("+{number}")
}

/// What the call says: a pause in front, because a phone is slow to reach the ear.
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
