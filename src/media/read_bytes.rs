//! A reader of a fixed number of bytes.

use std::io::{self, Read};

/// The next bytes; an earlier end is an error.
pub fn read_bytes<const LENGTH: usize>(reader: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
