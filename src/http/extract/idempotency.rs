//! The claim in the hands of a handler, which commits with its effect what a repeat has to know:
//!
//! * the answer, when one transaction does it all: [`IdempotencyClaim::commit`];
//! * what it asked of a session ([`IdempotencyClaim::claim`], given to `Sessions`): a repeat waits for that command;
//! * the answer that is expected, when something goes out that no transaction covers ([`IdempotencyClaim::answered`], given to
//!   `Verification`): should the program die meanwhile, a repeat gets that answer and does nothing.
//!
//! Without any of these a repeat runs the handler anew: typing, and what was refused before it changed anything.

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use super::super::error::ApiError;
use crate::store::{Claim, ClaimedResponse, SavedResponse, Tx};

/// The claim under which a handler runs, if its caller gave a key.
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

    /// The claim together with a JSON answer, for the store to keep beside the effect; `None` without a key.
    ///
    /// # Errors
    /// 500 when the answer cannot be written as JSON.
    pub fn answered(
        &self,
        status: StatusCode,
        body: &impl Serialize,
    ) -> Result<Option<ClaimedResponse>, ApiError> {
        let Some(claim) = self.0.clone() else { return Ok(None) };
        let answer = SavedResponse {
            status: status.as_u16(),
            content_type: Some("application/json".to_owned()),
            body: serde_json::to_vec(body).map_err(|error| ApiError::internal(&error))?,
        };
        Ok(Some(ClaimedResponse { claim, answer }))
    }

    /// Commits a transaction that does all that the request asks for, and with it the answer, which it gives back.
    ///
    /// # Errors
    /// 409 when the claim is over; then nothing is changed.
    pub async fn commit<T: Serialize>(
        self,
        mut tx: Tx,
        status: StatusCode,
        body: T,
    ) -> Result<Json<T>, ApiError> {
        tx.keep_answer(self.answered(status, &body)?.as_ref()).await?;
        tx.commit().await?;
        Ok(Json(body))
    }
}
