//! Reads a fixed number of bytes.

use std::io::{self, Read};

/// The next bytes, all of which must be there.
pub fn bytes<const LENGTH: usize>(reader: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
