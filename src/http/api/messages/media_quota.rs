//! The quota of the bytes in a user's messages, for the file of a request.

use crate::domain::UserId;
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::{MediaReservation, Reserved};
use crate::telemetry::chain;

/// The bytes that are reserved for a request's file, if there is a quota. What its message does not use is freed when this is
/// dropped, also when the caller hangs up.
pub struct FileReservation {
    state: AppState,
    reservation: Option<MediaReservation>,
}

impl FileReservation {
    /// Reserves bytes of the user's quota.
    ///
    /// # Errors
    /// 400 `media_quota` when the user has too many.
    pub async fn new(state: &AppState, user: UserId, bytes: u64) -> Result<Self, ApiError> {
        let reservation = match state.quotas.media {
            None => None,
            Some(most) => match state.store.reserve_media(user, bytes, most.get()).await? {
                Reserved::Done(reservation) => Some(reservation),
                Reserved::TooMany(stored) => {
                    return Err(ApiError::bad_request(
                        ErrorCode::MediaQuota,
                        format!(
                            "the files in your messages have {stored} bytes, and this one {bytes}; this server allows \
                             {most} for each user"
                        ),
                    ));
                }
            },
        };
        Ok(Self { state: state.clone(), reservation })
    }

    /// The reservation, which a message uses.
    #[must_use]
    pub fn get(&self) -> Option<MediaReservation> {
        self.reservation
    }

    /// The message was accepted: there is nothing to free.
    pub fn used(mut self) {
        self.reservation = None;
    }
}

impl Drop for FileReservation {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation else { return };
        let store = self.state.store.clone();
        self.state.lifecycle.spawn(async move {
            if let Err(error) = store.free_media(reservation).await {
                tracing::warn!(error = chain(&error), "reserved bytes stay reserved until they expire");
            }
        });
    }
}
