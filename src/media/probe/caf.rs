//! Core Audio Format (Apple, Core Audio Format Specification 1.0): chunks, of which one describes the sound, one
//! may count its packets, and one holds it.

use std::io::{self, Read, Seek, SeekFrom};

use super::known;
use crate::media::read_bytes::read_bytes;

/// The most chunks that are read or skipped.
const MOST_CHUNKS: usize = 1_024;

/// The audio description; bytes and frames are of one packet, 0 when they vary.
struct PacketDescription {
    frames_per_second: f64,
    bytes: u32,
    frames: u32,
}

/// Seconds: the frames that the packet table counts, or those that fill the sound's bytes.
pub fn duration(file: &mut (impl Read + Seek)) -> io::Result<Option<f64>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = 8;
    let (mut description, mut counted, mut sound) = (None, None, None);
    for _ in 0..MOST_CHUNKS {
        if at + 12 > end {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let kind: [u8; 4] = read_bytes(file)?;
        let size = i64::from_be_bytes(read_bytes(file)?);
        // The sound may have the length -1 when it goes on to the end of the file.
        let rest = end - at - 12;
        let size = u64::try_from(size).unwrap_or(rest).min(rest);
        match &kind {
            b"desc" if size >= 32 => description = Some(describe(file)?),
            b"pakt" if size >= 24 => counted = Some(valid_frames(file)?),
            b"data" => sound = Some(size.saturating_sub(4)),
            _ => {}
        }
        at += 12 + size;
    }
    let Some(description) = description else { return Ok(None) };
    let frames = match (counted, sound) {
        (Some(frames), _) => frames,
        #[expect(clippy::cast_precision_loss, reason = "more precise than anyone hears")]
        (None, Some(bytes)) if description.bytes > 0 => {
            (bytes / u64::from(description.bytes)) as f64 * f64::from(description.frames)
        }
        _ => return Ok(None),
    };
    Ok(known(frames / description.frames_per_second))
}

fn describe(file: &mut impl Read) -> io::Result<PacketDescription> {
    let frames_per_second = f64::from_be_bytes(read_bytes(file)?);
    let [_format, _flags]: [[u8; 4]; 2] = [read_bytes(file)?, read_bytes(file)?];
    let [bytes, frames] = [u32::from_be_bytes(read_bytes(file)?), u32::from_be_bytes(read_bytes(file)?)];
    Ok(PacketDescription { frames_per_second, bytes, frames })
}

/// The packet table's count of frames without padding, which follows its count of packets.
fn valid_frames(file: &mut impl Read) -> io::Result<f64> {
    let _packets: [u8; 8] = read_bytes(file)?;
    #[expect(clippy::cast_precision_loss, reason = "more precise than anyone hears")]
    let frames = i64::from_be_bytes(read_bytes(file)?) as f64;
    Ok(frames)
}
