//! The sender `webhook`: a server of the operator delivers the code.
//!
//! POST of `{number, code, method, text}` as JSON, signed as in Standard Webhooks 1.0 when there is a secret.
//! Any 2xx is a success, everything else, a redirect too, is a failure.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook, WebhookError,
};
use url::Url;

use super::delivery::{Delivery, SendError};
use crate::clock;
use crate::fetch::{Fetch, Policy, Post};
use crate::secrets::random_id;

/// Posts codes to one URL.
pub struct WebhookSender {
    url: Url,
    signer: Option<Webhook>,
    timeout: Duration,
    fetch: Arc<Fetch>,
}

#[derive(Serialize)]
struct CodeWebhookPayload<'a> {
    number: &'a str,
    code: &'a str,
    method: &'static str,
    text: String,
}

impl WebhookSender {
    /// Without a secret, requests are not signed.
    pub fn new(
        url: Url,
        secret: Option<&str>,
        timeout: Duration,
        fetch: Arc<Fetch>,
    ) -> Result<Self, WebhookError> {
        Ok(Self { url, signer: secret.map(Webhook::new).transpose()?, timeout, fetch })
    }

    /// Posts one code.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        let Delivery { number, code, method } = delivery;
        let payload = CodeWebhookPayload {
            number: number.as_str(),
            code: code.digits(),
            method: method.as_str(),
            text: code.text(*method),
        };
        let cannot = |_| SendError::failed("the request could not be written");
        let body = serde_json::to_vec(&payload).map_err(cannot)?;
        let (id, timestamp) = (format!("msg_{}", random_id()), clock::now().timestamp());
        let signature = self.signer.as_ref().map(|signer| signer.sign(&id, timestamp, &body)).transpose();
        let signature = signature.map_err(|_| SendError::failed("the request could not be signed"))?;
        let mut post = Post::json(self.url.clone(), body, self.timeout)
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp.to_string());
        if let Some(signature) = signature {
            post = post.header(HEADER_WEBHOOK_SIGNATURE, signature);
        }
        let response = self.fetch.post(Policy::Operator, post).await?;
        if response.is_success() {
            return Ok(());
        }
        Err(SendError::from_status(response.status(), None, response.retry_after()))
    }
}
