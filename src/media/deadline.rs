//! The end of the work on a file. Every loop over a file reads from it through a [`DeadlineFile`], which fails when the
//! work was too much or nobody waits for the result any more; a loop that computes for long without reading asks
//! [`Deadline::check`].
//!
//! Work counts in the processor time of the thread: a loaded machine is no reason to refuse a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tokio_util::sync::CancellationToken;

/// The processor time for a small file: several times what the largest photo takes.
const BASE: Duration = Duration::from_secs(10);
/// One second more for so many bytes.
const BYTES_PER_SECOND: u64 = 8 << 20;
/// The time for a small file on a machine that is overloaded, or whose disk is slow.
const ELAPSED: Duration = Duration::from_mins(1);

/// When the work on a file is given up. Clones end together; all of them belong to the thread that does the work.
#[derive(Clone, Debug)]
pub struct Deadline {
    /// The processor time of the thread.
    worked: Duration,
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
    /// For work of this thread on so many bytes, which ends early when the token is cancelled.
    #[must_use]
    pub fn new(bytes: u64, cancelled: CancellationToken) -> Self {
        let more = Duration::from_secs(bytes / BYTES_PER_SECOND);
        Self { worked: worked() + BASE + more, at: Instant::now() + ELAPSED + more, cancelled }
    }

    /// # Errors
    /// After the end.
    pub fn check(&self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other(Ended)) } else { Ok(()) }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.cancelled.is_cancelled() || Instant::now() >= self.at || worked() >= self.worked
    }

    pub fn open(&self, path: &Path) -> io::Result<DeadlineFile> {
        Ok(DeadlineFile { file: File::open(path)?, deadline: self.clone() })
    }
}

/// The processor time that this thread has used.
fn worked() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Duration::ZERO };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
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
        let deadline = Deadline::new(3, CancellationToken::new());
        for late in
            [Deadline { at: Instant::now(), ..deadline.clone() }, Deadline { worked: worked(), ..deadline }]
        {
            assert!(late.open(file.path()).expect("open").read_exact(&mut byte).is_err());
        }
    }
}
