//! AVI: the main header is the first thing in the file (Microsoft, AVI RIFF File Reference).

use std::io::{self, Read};

use super::{Probe, known};
use crate::media::read_bytes::read_bytes;

/// Dimensions and duration from the main header; nothing when it is not at its position.
pub fn probe(mut file: impl Read) -> io::Result<Probe> {
    let head: [u8; 72] = read_bytes(&mut file)?;
    if &head[8..16] != b"AVI LIST" || &head[20..28] != b"hdrlavih" {
        return Ok(Probe::default());
    }
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (microseconds, frames) = (number(32), number(48));
    let pixels = |at| Some(number(at)).filter(|pixels| *pixels > 0);
    Ok(Probe {
        width: pixels(64),
        height: pixels(68),
        duration: known(f64::from(microseconds) * f64::from(frames) / 1e6),
    })
}
