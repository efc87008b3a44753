//! PNG (W3C, third edition): a signature and chunks, each with its length, kind and checksum.

use std::io::{self, BufRead, Write};

use image::metadata::Orientation;

use super::source::Source;
use super::{Seen, broken, exif};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The chunks that the picture, its colours, its resolution and its animation need.
const KEPT: [&[u8; 4]; 18] = [
    b"PLTE", b"IDAT", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI",
    b"bKGD", b"hIST", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT",
];

/// Copies up to the end of the picture and drops the rest.
pub fn clean(source: &mut Source<impl BufRead>, writer: &mut impl Write, seen: &mut Seen) -> io::Result<()> {
    if source.bytes()? != SIGNATURE {
        return Err(broken());
    }
    writer.write_all(&SIGNATURE)?;
    let first: [u8; 8] = source.bytes()?;
    let content: [u8; 13] = source.bytes()?;
    if first != *b"\0\0\0\x0dIHDR" || source.bytes()? != checksum(*b"IHDR", &content) || !is_valid(&content) {
        return Err(broken());
    }
    chunk(writer, *b"IHDR", &content)?;
    let side = |at: usize| content[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    seen.size = Some((side(0), side(4)));
    let mut pixels = false;
    loop {
        source.part()?;
        let length = source.bytes()?;
        let kind = source.bytes()?;
        let rest = u64::from(u32::from_be_bytes(length)) + 4;
        match &kind {
            b"fcTL" => source.frame()?,
            b"IDAT" => pixels = true,
            _ => {}
        }
        if &kind == b"IEND" || KEPT.contains(&&kind) {
            writer.write_all(&length)?;
            writer.write_all(&kind)?;
            source.copy(writer, rest)?;
        } else if &kind == b"eXIf" {
            let record = source.record(rest)?;
            // Readers ignore a record whose checksum is wrong.
            let minimal = record.split_last_chunk::<4>().and_then(|(content, sum)| {
                (*sum == checksum(kind, content)).then(|| exif::orientation_only(content)).flatten()
            });
            if let Some(minimal) = minimal {
                seen.orientation = Orientation::from_exif_chunk(&minimal);
                chunk(writer, kind, &minimal)?;
            }
        } else {
            source.skip(rest)?;
        }
        if &kind == b"IEND" {
            return if pixels { Ok(()) } else { Err(broken()) };
        }
    }
}

/// Whether the header's depth and kind of colours go together, and its methods are the known ones.
fn is_valid(header: &[u8; 13]) -> bool {
    let [_, _, _, _, _, _, _, _, depth, colours, compression, filter, interlace] = header;
    let depths: &[u8] = match colours {
        0 => &[1, 2, 4, 8, 16],
        3 => &[1, 2, 4, 8],
        2 | 4 | 6 => &[8, 16],
        _ => &[],
    };
    depths.contains(depth) && *compression == 0 && *filter == 0 && *interlace < 2
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
