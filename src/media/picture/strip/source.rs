//! A picture's file as it is read for cleaning: with a limit on its parts, and without a system call for each of them.

use std::io::{self, BufRead, ErrorKind, Write};

use super::exif;
use crate::media::read_bytes::read_bytes;

/// The most parts of a small picture: blocks, chunks or segments.
const MOST_PARTS: u64 = 65_536;
/// One part more for so many bytes; those that encoders write are far longer.
const BYTES_PER_PART: u64 = 32;
/// The most frames of an animation.
const MOST_FRAMES: u64 = 10_000;

/// The picture has more parts or frames than any encoder makes of so many bytes.
#[derive(Debug, thiserror::Error)]
#[error("the picture is made of too many parts")]
pub struct TooManyParts;

pub(super) struct Source<R> {
    pub reader: R,
    parts: u64,
    frames: u64,
}

impl<R: BufRead> Source<R> {
    /// A file of so many bytes.
    pub fn new(reader: R, size: u64) -> Self {
        Self { reader, parts: MOST_PARTS + size / BYTES_PER_PART, frames: MOST_FRAMES }
    }

    /// Counts a part.
    pub fn part(&mut self) -> io::Result<()> {
        count(&mut self.parts)
    }

    /// Counts a frame of an animation.
    pub fn frame(&mut self) -> io::Result<()> {
        count(&mut self.frames)
    }

    pub fn bytes<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        read_bytes(&mut self.reader)
    }

    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.reader.fill_buf()?.is_empty())
    }

    /// Copies `length` bytes through the buffers of both files; an earlier end is an error. The standard library's copy
    /// would empty the buffers and let the system copy, with a call for each part.
    pub fn copy(&mut self, writer: &mut impl Write, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let part = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            writer.write_all(&buffer[..part])?;
            self.reader.consume(part);
            length -= part as u64;
        }
        Ok(())
    }

    pub fn skip(&mut self, length: u64) -> io::Result<()> {
        self.copy(&mut io::sink(), length)
    }

    /// Reads a record of so many bytes if it is not longer than EXIF can be, else passes over it.
    pub fn record(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut record = Vec::new();
        if length > exif::LONGEST {
            self.skip(length)?;
        } else {
            self.copy(&mut record, length)?;
        }
        Ok(record)
    }
}

fn count(left: &mut u64) -> io::Result<()> {
    *left = left.checked_sub(1).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, TooManyParts))?;
    Ok(())
}
