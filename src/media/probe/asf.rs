//! Windows Media: the duration is in the file properties object (ASF specification, section 3.2).

use std::io::{self, Read, Seek};

use super::known;
use crate::media::sniff::asf::{guid, header};

const FILE_PROPERTIES: [u8; 16] = guid(0x8CAB_DCA1, 0xA947, 0x11CF, 0x8EE4_00C0_0C20_5365);

/// Seconds, without the time that a player fills its buffer first.
pub fn duration(file: &mut (impl Read + Seek)) -> io::Result<Option<f64>> {
    let header = header(file)?;
    let Some(at) = header.windows(16).position(|part| part == FILE_PROPERTIES) else { return Ok(None) };
    let number = |offset: usize| {
        let bytes = header.get(at + offset..at + offset + 8)?;
        #[expect(clippy::cast_precision_loss, reason = "more precise than anyone hears")]
        let number = u64::from_le_bytes(bytes.try_into().ok()?) as f64;
        Some(number)
    };
    // In units of 100 ns, and in milliseconds.
    let (Some(play), Some(preroll)) = (number(64), number(80)) else { return Ok(None) };
    Ok(known(play / 1e7 - preroll / 1e3))
}
