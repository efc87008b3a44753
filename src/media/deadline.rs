//! The end of the work on a file. Every loop over a file reads from it through a [`DeadlineFile`], which fails when the
//! time is up or nobody waits for the result any more; a loop that computes for long without reading asks
//! [`Deadline::check`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The time for a small file; a machine under load needs it.
const BASE: Duration = Duration::from_secs(10);
/// One second more for so many bytes.
const BYTES_PER_SECOND: u64 = 8 << 20;

/// When the work on a file is given up. Clones end together.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Instant,
    cancelled: CancellationToken,
}

/// A file that can be read until the deadline.
#[derive(Debug)]
pub struct DeadlineFile {
    file: File,
    deadline: Deadline,
}

#[derive(Debug, thiserror::Error)]
#[error("the work on the file took too long, or nobody waits for it")]
struct Ended;

impl Deadline {
    /// For work on so many bytes, which ends early when the token is cancelled.
    #[must_use]
    pub fn new(bytes: u64, cancelled: CancellationToken) -> Self {
        Self { at: Instant::now() + BASE + Duration::from_secs(bytes / BYTES_PER_SECOND), cancelled }
    }

    /// # Errors
    /// After the end.
    pub fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other(Ended)) } else { Ok(()) }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cancelled.is_cancelled() || Instant::now() >= self.at
    }

    pub fn open(&self, path: &Path) -> io::Result<DeadlineFile> {
        Ok(DeadlineFile { file: File::open(path)?, deadline: self.clone() })
    }
}

impl Read for DeadlineFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check()?;
        self.file.read(buffer)
    }
}

impl Seek for DeadlineFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.deadline.check()?;
        self.file.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_until_its_end_is_called_or_comes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), [1, 2, 3]).expect("written");
        let cancelled = CancellationToken::new();
        let deadline = Deadline::new(3, cancelled.clone());
        let mut open = deadline.open(file.path()).expect("open");
        let mut byte = [0];
        open.read_exact(&mut byte).expect("a byte");
        assert_eq!((byte, deadline.is_over()), ([1], false));
        cancelled.cancel();
        assert!(open.read_exact(&mut byte).is_err() && open.rewind().is_err() && deadline.is_over());
        let late = Deadline { at: Instant::now(), cancelled: CancellationToken::new() };
        assert!(late.open(file.path()).expect("open").read_exact(&mut byte).is_err());
    }
}
