//! Conversions of columns into domain types.

use crate::db::DbError;
use crate::domain::{PhoneNumber, Photo};

pub(super) fn number_of(text: &str) -> Result<PhoneNumber, DbError> {
    PhoneNumber::from_stored(text)
        .ok_or_else(|| DbError::Corrupt("a subscriber's number is malformed".to_owned()))
}

pub(super) fn photo_of(photo: Option<Vec<u8>>, preview: Option<Vec<u8>>) -> Result<Option<Photo>, DbError> {
    Photo::from_hashes(photo, preview)
        .map_err(|_| DbError::Corrupt("a photo's hash has another length".to_owned()))
}
