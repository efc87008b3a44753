//! temp
use super::AppState;
use super::error::ApiError;
use crate::domain::UserId;
use axum::extract::FromRequestParts;
use http::request::Parts;
#[derive(Clone)]
pub struct Caller {
    pub user: UserId,
}
impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(_: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Ok(Self { user: UserId(1) })
    }
}
