//! `multipart/form-data`, read while it arrives. A part with a file name is a file, each other one a parameter; a part's
//! own content type is ignored, because curl guesses it.
//!
//! Files go to the disk; everything else, names included, may hold 2 MiB in all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use futures_util::{Stream, stream};
use multer::{Field, Multipart};

use super::form;
use crate::http::error::ApiError;
use crate::http::extract::body::{BodyError, LARGEST, Limited};
use crate::media::{Spooled, Spools};

/// Bytes that may come without a part beginning, ending or going on: a part's headers, and what stands before the first
/// part.
const LONGEST_HEAD: u64 = 16 * 1024;

/// A file of a form.
#[derive(Clone, Debug)]
pub struct File {
    /// The parameter's name.
    pub name: String,
    /// What the caller calls the file; never used as a path.
    pub file_name: String,
    /// The bytes, on the disk until the last clone is dropped.
    pub spooled: Arc<Spooled>,
}

/// What a form holds.
#[derive(Default)]
pub struct Parts {
    /// The parameters in order, repeated ones too.
    pub pairs: Vec<(String, String)>,
    /// The files in order.
    pub files: Vec<File>,
}

/// Reads a form whose first bytes have been read already. Without `spools` files are read and dropped.
///
/// # Errors
/// 400 for a broken form, for a part without a name, and for what is not UTF-8 or holds a NUL; 413 for what is too
/// large; 503 when a file cannot be written.
pub async fn read(
    content_type: &str,
    first: Bytes,
    body: &mut Limited,
    spools: Option<&Spools>,
) -> Result<Parts, ApiError> {
    let boundary = multer::parse_boundary(content_type).map_err(|_| broken())?;
    let quiet = Arc::new(AtomicU64::new(0));
    let parts = {
        let form = Multipart::new(source(first, body, Arc::clone(&quiet)), boundary);
        Reader { quiet, spools, parts: Parts::default(), text: 0, count: 0 }.read(form).await?
    };
    // Nothing that follows the last part counts, but the caller writes it.
    while body.next().await?.is_some() {}
    Ok(parts)
}

struct Reader<'a> {
    /// Bytes since the last sign of progress.
    quiet: Arc<AtomicU64>,
    spools: Option<&'a Spools>,
    parts: Parts,
    /// Bytes of everything but files.
    text: u64,
    count: usize,
}

impl Reader<'_> {
    async fn read(mut self, mut form: Multipart<'_>) -> Result<Parts, ApiError> {
        while let Some(field) = form.next_field().await.map_err(refusal)? {
            self.goes_on();
            self.count += 1;
            if self.count > form::MOST {
                return Err(form::too_many());
            }
            let Some(name) = field.name() else {
                return Err(ApiError::malformed("a part of the form has no name"));
            };
            let name = self.text(name.as_bytes().to_vec())?;
            let file_name = field.file_name().map(|name| self.text(name.as_bytes().to_vec())).transpose()?;
            match file_name {
                Some(file_name) => self.file(name, file_name, field).await?,
                None => self.parameter(name, field).await?,
            }
        }
        Ok(self.parts)
    }

    async fn parameter(&mut self, name: String, mut field: Field<'_>) -> Result<(), ApiError> {
        let mut value = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(refusal)? {
            self.goes_on();
            self.count_text(bytes.len())?;
            value.extend_from_slice(&bytes);
        }
        self.parts.pairs.push((name, form::text(value)?));
        Ok(())
    }

    async fn file(&mut self, name: String, file_name: String, mut field: Field<'_>) -> Result<(), ApiError> {
        let mut spool = self.spools.map(Spools::spool);
        while let Some(bytes) = field.chunk().await.map_err(refusal)? {
            self.goes_on();
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

    fn text(&mut self, bytes: Vec<u8>) -> Result<String, ApiError> {
        self.count_text(bytes.len())?;
        form::text(bytes)
    }

    fn count_text(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.text += bytes as u64;
        if self.text > LARGEST { Err(BodyError::TooLarge { limit: LARGEST }.into()) } else { Ok(()) }
    }

    fn goes_on(&self) {
        self.quiet.store(0, Ordering::Relaxed);
    }
}

/// The body for the parser, which reads until nothing is ready and keeps all of it: so after each piece nothing is
/// ready for a moment.
fn source(
    first: Bytes,
    body: &mut Limited,
    quiet: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, SourceError>> + Send {
    stream::unfold((Some(first), body, quiet), async |(first, body, quiet)| {
        let piece = if let Some(first) = first {
            Ok(first)
        } else {
            tokio::task::yield_now().await;
            if quiet.load(Ordering::Relaxed) > LONGEST_HEAD {
                Err(SourceError::LongHead)
            } else {
                body.next().await.map_err(SourceError::Body).transpose()?
            }
        };
        quiet.fetch_add(piece.as_ref().map_or(0, |piece| piece.len() as u64), Ordering::Relaxed);
        Some((piece, (None, body, quiet)))
    })
}

/// Why the parser gets no more bytes.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Body(BodyError),
    #[error("the head of a part is too long")]
    LongHead,
}

fn refusal(error: multer::Error) -> ApiError {
    let multer::Error::StreamReadFailed(cause) = error else { return broken() };
    match cause.downcast_ref() {
        Some(SourceError::Body(error)) => (*error).into(),
        Some(SourceError::LongHead) => ApiError::malformed("the head of a part of the form is too long"),
        None => broken(),
    }
}

fn broken() -> ApiError {
    ApiError::malformed("the body is no multipart form, or its boundary is missing")
}

impl fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Parts({} parameters, {} files)", self.pairs.len(), self.files.len())
    }
}

#[cfg(test)]
mod tests;
