//! Extractors for the file of a request: part of its form, or fetched from the URL that it names.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;

use super::caller::Caller;
use super::params::{self, File};
use crate::fetch;
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::lifecycle::Deadline;
use crate::media::vcard::{self, VCardError};
use crate::media::{Spooled, Uploader};

/// The file `filename` of an endpoint that sends one; see [`file_or_url`].
#[derive(Debug)]
pub struct Upload {
    /// The content, on the disk until this is dropped.
    pub spooled: Arc<Spooled>,
    /// From the form or the URL.
    pub file_name: Option<String>,
}

/// The file `photo` of an endpoint that sets a profile or group photo; see [`file_or_url`].
#[derive(Debug)]
pub struct PhotoUpload(pub Upload);

/// The file `filename`, or the only file of the form, as the text of a vCard.
#[derive(Debug)]
pub struct CardUpload(pub Option<String>);

/// Bytes of the largest file with a vCard: in some character sets it is longer than in UTF-8.
const LARGEST_CARD: u64 = 2 * vcard::LONGEST as u64;

#[derive(Deserialize)]
struct UrlParameter {
    url: Option<String>,
}

impl FromRequestParts<AppState> for Upload {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        file_or_url(state, parts, "filename").await
    }
}

impl FromRequestParts<AppState> for PhotoUpload {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        file_or_url(state, parts, "photo").await.map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for CardUpload {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(file) = chosen(params::raw(parts)?.files(), "filename") else { return Ok(Self(None)) };
        if file.spooled.size() > LARGEST_CARD {
            let text = format!("filename: {}", VCardError::TooLong);
            return Err(ApiError::bad_request(ErrorCode::InvalidParameter, text));
        }
        let bytes = tokio::fs::read(file.spooled.path()).await.map_err(|error| ApiError::internal(&error))?;
        let text = vcard::decode(bytes);
        if text.contains('\0') {
            let message = "filename: the file is no text; send a vCard";
            return Err(ApiError::bad_request(ErrorCode::InvalidParameter, message));
        }
        Ok(Self(Some(text)))
    }
}

/// The file of this name, or the only file of the form; without one, the content of the parameter `url`.
///
/// # Errors
/// 400 `missing_parameter` when there is neither; 400 when the URL cannot be fetched; 413 and 503 as for an upload.
async fn file_or_url(state: &AppState, parts: &mut Parts, name: &str) -> Result<Upload, ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    let parameters = params::raw(parts)?;
    if let Some(file) = chosen(parameters.files(), name) {
        let (spooled, file_name) = (Arc::clone(&file.spooled), Some(file.file_name.clone()));
        return Ok(Upload { spooled, file_name });
    }
    let UrlParameter { url } = parameters.parse()?;
    let url = url.filter(|url| !url.trim().is_empty()).ok_or_else(|| {
        let text = format!("{name} is missing: send a file as multipart/form-data, or its URL as url");
        ApiError::bad_request(ErrorCode::MissingParameter, text)
    })?;
    let mut spool = state.media.spool(Uploader::from(&caller));
    let reading = state.fetch.get_untrusted(url.trim(), state.media.max_upload(), &mut spool);
    let fetched = Deadline::elsewhere(fetch::on_behalf_of(caller.user, reading)).await?;
    Ok(Upload { spooled: Arc::new(spool.finish().await?), file_name: fetched.file_name })
}

/// The last file of this name, as with all parameters; without one, the only file of the form. A file with neither a file
/// name nor content is ignored: browsers send it for a field that was left empty.
fn chosen<'a>(files: &'a [File], name: &str) -> Option<&'a File> {
    let mut sent = files.iter().filter(|file| !(file.file_name.is_empty() && file.spooled.size() == 0));
    let named = sent.clone().rfind(|file| file.name == name);
    named.or_else(|| sent.next().filter(|_| sent.next().is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;
    use crate::media::Spools;

    async fn file(spools: &Spools, name: &str, file_name: &str, content: &str) -> File {
        let mut spool = spools.spool(Uploader::User(UserId(1)));
        spool.write(content.as_bytes()).await.expect("written");
        let spooled = Arc::new(spool.finish().await.expect("finished"));
        File { name: name.to_owned(), file_name: file_name.to_owned(), spooled }
    }

    #[tokio::test]
    async fn the_file_of_the_name_or_the_only_one_is_chosen() {
        let folder = tempfile::tempdir().expect("a folder");
        let spools = Spools::new(folder.path(), 1_024);
        let named = file(&spools, "photo", "1.jpg", "1").await;
        let again = file(&spools, "photo", "2.jpg", "2").await;
        let other = file(&spools, "other", "3.jpg", "3").await;
        let unset = file(&spools, "photo", "", "").await;
        let empty = file(&spools, "photo", "4.jpg", "").await;
        let choice = |files: &[&File]| {
            let files: Vec<File> = files.iter().map(|file| (*file).clone()).collect();
            chosen(&files, "photo").map(|file| file.file_name.clone())
        };
        assert_eq!(choice(&[]), None);
        assert_eq!(choice(&[&other, &named]).as_deref(), Some("1.jpg"));
        assert_eq!(choice(&[&named, &again]).as_deref(), Some("2.jpg"));
        assert_eq!(choice(&[&other]).as_deref(), Some("3.jpg"));
        assert_eq!(choice(&[&other, &other]), None);
        assert_eq!(choice(&[&unset]), None);
        assert_eq!(choice(&[&unset, &other]).as_deref(), Some("3.jpg"));
        assert_eq!(choice(&[&empty]).as_deref(), Some("4.jpg"));
    }
}
