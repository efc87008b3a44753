//! PNG (W3C, third edition): a signature and chunks, each with its length, kind and checksum.

use std::io::{self, BufRead, Write};

use super::{broken, copy, exif, read_bytes, record, skip};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The chunks that the picture, its colours, its resolution and its animation need.
const KEPT: [&[u8; 4]; 19] = [
    b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV",
    b"cLLI", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT",
];

/// Copies up to the end of the picture and drops the rest.
pub fn clean(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<()> {
    if read_bytes(reader)? != SIGNATURE {
        return Err(broken());
    }
    writer.write_all(&SIGNATURE)?;
    loop {
        let length = read_bytes(reader)?;
        let kind = read_bytes(reader)?;
        let rest = u64::from(u32::from_be_bytes(length)) + 4;
        if &kind == b"IEND" || KEPT.contains(&&kind) {
            writer.write_all(&length)?;
            writer.write_all(&kind)?;
            copy(reader, writer, rest)?;
        } else if &kind == b"eXIf" {
            let record = record(reader, rest)?;
            // Readers ignore a record whose checksum is wrong.
            let minimal = record.split_last_chunk::<4>().and_then(|(content, sum)| {
                (*sum == checksum(kind, content)).then(|| exif::orientation_only(content)).flatten()
            });
            if let Some(minimal) = minimal {
                chunk(writer, kind, &minimal)?;
            }
        } else {
            skip(reader, rest)?;
        }
        if &kind == b"IEND" {
            return Ok(());
        }
    }
}

fn chunk(writer: &mut impl Write, kind: [u8; 4], content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(|_| broken())?;
    writer.write_all(&length.to_be_bytes())?;
    writer.write_all(&kind)?;
    writer.write_all(content)?;
    writer.write_all(&checksum(kind, content))
}

fn checksum(kind: [u8; 4], content: &[u8]) -> [u8; 4] {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&kind);
    checksum.update(content);
    checksum.finalize().to_be_bytes()
}
