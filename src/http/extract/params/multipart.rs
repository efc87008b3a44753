//! Parser for `multipart/form-data`, which reads while the body arrives. A part with a file name is a file, each other part
//! is a parameter; a part's own content type is ignored, because curl guesses it.
//!
//! Files are spooled to the disk; everything else, names included, is limited.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, header};
use multer::{Field, Multipart};

use super::disposition::{self, Disposition};
use super::form;
use crate::http::error::ApiError;
use crate::http::extract::body::{BodyError, LimitedBody};
use crate::http::extract::body_budget::BodyRoom;
use crate::media::{Spooled, UploaderSpools};

/// Bytes that may arrive without progress of a part: the headers of a part, or the text before the first part.
const MAX_HEAD: u64 = 16 * 1024;

/// A file of a form.
#[derive(Clone, Debug)]
pub struct File {
    /// The parameter's name.
    pub name: String,
    /// As the caller wrote it; never used as a path.
    pub file_name: String,
    /// The content, on the disk until the last clone is dropped.
    pub spooled: Arc<Spooled>,
}

#[derive(Default)]
pub struct FormParts {
    /// The parameters in order, repeated ones too.
    pub pairs: Vec<(String, String)>,
    /// The files in order.
    pub files: Vec<File>,
}

/// Reads a form whose first bytes have been read already. Without `spools` files are read and dropped. Everything but files
/// is at most `limit` bytes, which are counted in `room`.
///
/// # Errors
/// 400 for a broken form, a part without a name, and text that is not UTF-8 or contains a NUL; 413 when it is too large;
/// 503 when a file cannot be spooled.
pub async fn read(
    content_type: &str,
    first: Bytes,
    body: &mut LimitedBody,
    limit: u64,
    spools: Option<&UploaderSpools>,
    room: Option<&mut BodyRoom>,
) -> Result<FormParts, ApiError> {
    let boundary = multer::parse_boundary(content_type).map_err(|_| broken())?;
    let idle_bytes = Arc::new(AtomicU64::new(0));
    let parts = {
        let form = Multipart::new(source(first, body, Arc::clone(&idle_bytes)), boundary);
        let parts = FormParts::default();
        FormReader { idle_bytes, limit, spools, room, parts, text: 0, count: 0 }.read(form).await?
    };
    // The bytes after the last part are ignored, but the caller must be able to write them.
    while body.next().await?.is_some() {}
    Ok(parts)
}

/// A file need not have a name (RFC 7578, section 4.2). `photo` is also a text, in the privacy settings.
fn is_file_without_name(name: &str, field: &Field<'_>) -> bool {
    let is_text = field.content_type().is_none_or(|kind| kind.type_() == "text");
    name == "filename" || (name == "photo" && !is_text)
}

struct FormReader<'a> {
    /// Bytes since the last progress of a part.
    idle_bytes: Arc<AtomicU64>,
    limit: u64,
    spools: Option<&'a UploaderSpools>,
    room: Option<&'a mut BodyRoom>,
    parts: FormParts,
    /// Bytes of everything but files.
    text: u64,
    count: usize,
}

impl FormReader<'_> {
    async fn read(mut self, mut form: Multipart<'_>) -> Result<FormParts, ApiError> {
        while let Some(field) = form.next_field().await.map_err(parse_error)? {
            self.note_progress();
            self.count += 1;
            if self.count > form::MAX_PARAMETERS {
                return Err(form::too_many());
            }
            // The parser knows neither `filename*` nor Latin-1.
            let header = field.headers().get(header::CONTENT_DISPOSITION).map(HeaderValue::as_bytes);
            let Disposition { name, file_name } = header.map(disposition::parse).unwrap_or_default();
            let Some(name) = name else {
                return Err(ApiError::malformed("a part of the form has no name"));
            };
            let name = self.text(name.into_bytes()).await?;
            let file_name = match file_name {
                Some(name) => Some(self.text(name.replace('\0', "").into_bytes()).await?),
                None => None,
            };
            match file_name {
                Some(file_name) => self.file(name, file_name, field).await?,
                None if is_file_without_name(&name, &field) => self.file(name, String::new(), field).await?,
                None => self.parameter(name, field).await?,
            }
        }
        Ok(self.parts)
    }

    async fn parameter(&mut self, name: String, mut field: Field<'_>) -> Result<(), ApiError> {
        let mut value = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(parse_error)? {
            self.note_progress();
            self.count_text(bytes.len()).await?;
            value.extend_from_slice(&bytes);
        }
        self.parts.pairs.push((name, form::text(value)?));
        Ok(())
    }

    async fn file(&mut self, name: String, file_name: String, mut field: Field<'_>) -> Result<(), ApiError> {
        let mut spool = self.spools.map(UploaderSpools::spool);
        while let Some(bytes) = field.chunk().await.map_err(parse_error)? {
            self.note_progress();
            if let Some(spool) = &mut spool {
                spool.write(&bytes).await?;
            }
        }
        if let Some(spool) = spool {
            let spooled = Arc::new(spool.finish().await?);
            self.parts.files.push(File { name, file_name, spooled });
        }
        Ok(())
    }

    async fn text(&mut self, bytes: Vec<u8>) -> Result<String, ApiError> {
        self.count_text(bytes.len()).await?;
        form::text(bytes)
    }

    async fn count_text(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = bytes as u64;
        self.text += bytes;
        if self.text > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit }.into());
        }
        match &mut self.room {
            Some(room) => room.grow(bytes).await,
            None => Ok(()),
        }
    }

    fn note_progress(&self) {
        self.idle_bytes.store(0, Ordering::Relaxed);
    }
}

/// The body as a stream for the parser. The parser buffers everything that is ready, so the stream is pending once after
/// each chunk.
fn source(
    first: Bytes,
    body: &mut LimitedBody,
    idle_bytes: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, SourceError>> + Send {
    stream::unfold((Some(first), body, idle_bytes), async |(first, body, idle_bytes)| {
        let chunk = if let Some(first) = first {
            Ok(first)
        } else {
            tokio::task::yield_now().await;
            if idle_bytes.load(Ordering::Relaxed) > MAX_HEAD {
                Err(SourceError::LongHead)
            } else {
                body.next().await.map_err(SourceError::Body).transpose()?
            }
        };
        idle_bytes.fetch_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64), Ordering::Relaxed);
        Some((chunk, (None, body, idle_bytes)))
    })
}

#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Body(BodyError),
    #[error("the head of a part is too long")]
    LongHead,
}

fn parse_error(error: multer::Error) -> ApiError {
    let multer::Error::StreamReadFailed(cause) = error else { return broken() };
    match cause.downcast_ref() {
        Some(SourceError::Body(error)) => (*error).into(),
        Some(SourceError::LongHead) => ApiError::malformed("the head of a part of the form is too long"),
        None => broken(),
    }
}

fn broken() -> ApiError {
    ApiError::malformed("the body is not a multipart form, or its boundary is missing")
}

impl fmt::Debug for FormParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FormParts({} parameters, {} files)", self.pairs.len(), self.files.len())
    }
}

#[cfg(test)]
mod tests;
