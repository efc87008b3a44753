//! Windows Media's container (Advanced Systems Format specification, 2004, sections 2 and 3). Its header lists
//! the streams: sound only is wma.

use std::io::{self, Read, Seek, SeekFrom};

use crate::media::file_type::FileType;
use crate::media::read_bytes::read_bytes;

/// The GUID of the header object, with which the file begins.
pub const HEADER: [u8; 16] = guid(0x75B2_2630, 0x668E, 0x11CF, 0xA6D9_00AA_0062_CE6C);
/// The GUIDs of the stream types.
const AUDIO: [u8; 16] = guid(0xF869_9E40, 0x5B4D, 0x11CF, 0xA8FD_0080_5F5C_442B);
const VIDEO: [u8; 16] = guid(0xBC19_EFC0, 0x5B4D, 0x11CF, 0xA8FD_0080_5F5C_442B);

/// The largest header that is read; it holds the cover pictures too.
const MOST_HEADER: u64 = 4 << 20;

/// Wma, when the header names a stream of sound and none of pictures, anywhere in the header (streams that exclude each
/// other are in its extension).
pub fn sniff(file: &mut (impl Read + Seek)) -> io::Result<Option<FileType>> {
    let header = header(file)?;
    let names = |stream: &[u8; 16]| header.windows(stream.len()).any(|part| part == stream);
    Ok((names(&AUDIO) && !names(&VIDEO)).then_some(FileType::Wma))
}

/// The bytes of the header object; empty when it is missing or longer than [`MOST_HEADER`].
pub fn header(file: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let kind: [u8; 16] = read_bytes(file)?;
    let length: [u8; 8] = read_bytes(file)?;
    let size = u64::from_le_bytes(length);
    if kind != HEADER || size > MOST_HEADER {
        return Ok(Vec::new());
    }
    let mut header = [&kind[..], &length].concat();
    file.take(size.saturating_sub(24)).read_to_end(&mut header)?;
    Ok(header)
}

/// A GUID as it is stored: the first three parts in little endian.
pub const fn guid(first: u32, second: u16, third: u16, rest: u64) -> [u8; 16] {
    let (a, b, c, d) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes(), rest.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}
