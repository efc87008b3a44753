//! Extractor for the claim on an `Idempotency-Key`. A handler commits, together with its effect, what a repeated request
//! needs:
//!
//! * the response, when one transaction does everything: [`IdempotencyClaim::commit`];
//! * its command to a session ([`IdempotencyClaim::claim`], passed to `Sessions`): a repeat waits for that command;
//! * the expected response, when there is an effect that no transaction covers ([`IdempotencyClaim::answered`], passed to
//!   `Verification`): if the program dies meanwhile, a repeat gets that response and has no effect.
//!
//! Without any of these a repeat runs the handler again: typing, and requests that were refused before they changed anything.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::json::{self, Json};
use crate::store::{Claim, ClaimedResponse, SavedResponse, Tx};

/// The claim under which a handler runs, if its caller sent a key.
pub struct IdempotencyClaim(Option<Claim>);

impl<S: Sync> FromRequestParts<S> for IdempotencyClaim {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Claim>().cloned()))
    }
}

impl IdempotencyClaim {
    /// The claim; `None` without a key.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.0.as_ref()
    }

    /// The claim with a JSON response, for the store to save beside the effect; `None` without a key.
    pub fn answered(
        &self,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Result<Option<ClaimedResponse>, ApiError> {
        let Some(claim) = self.0.clone() else { return Ok(None) };
        let answer = SavedResponse {
            status: status.as_u16(),
            content_type: Some("application/json".to_owned()),
            body: json::text(body)?,
        };
        Ok(Some(ClaimedResponse { claim, answer }))
    }

    /// Commits a transaction that is the whole effect of the request, and saves the response with it.
    ///
    /// # Errors
    /// 409 when the claim has ended; then nothing is changed.
    pub async fn commit<T: Serialize>(
        self,
        mut tx: Tx,
        status: StatusCode,
        body: T,
    ) -> Result<Json<T>, ApiError> {
        tx.save_answer(self.answered(status, &body)?.as_ref()).await?;
        tx.commit().await?;
        Ok(Json(body))
    }
}
