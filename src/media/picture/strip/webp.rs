//! WebP (RFC 9649): a RIFF file of chunks. The first one of an extended file announces the others.

use std::io::{self, BufRead, Seek, SeekFrom, Write};

use image::metadata::Orientation;

use super::source::Source;
use super::{Seen, broken, exif};

/// The chunks that the picture, its colours and its animation need.
const KEPT: [&[u8; 4]; 6] = [b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"];

/// The flags in the first byte of `VP8X`, each for chunks that must be there.
const ANIMATED: u8 = 0x02;
const HAS_XMP: u8 = 0x04;
const HAS_EXIF: u8 = 0x08;
const HAS_ALPHA: u8 = 0x10;
const HAS_PROFILE: u8 = 0x20;

/// The header of an extended file, and the chunks that were found behind it.
#[derive(Default)]
struct Extended {
    /// Where its flags are in the clean file, and what they were.
    flags: Option<(u64, u8)>,
    found: Vec<[u8; 4]>,
}

/// Copies the chunks within the length in the file's header and drops the rest. The flags of an extended file then announce
/// what is there: programs write some for chunks that are not.
pub fn clean(
    source: &mut Source<impl BufRead>,
    writer: &mut (impl Write + Seek),
    seen: &mut Seen,
) -> io::Result<()> {
    let [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P'] = source.bytes()? else {
        return Err(broken());
    };
    let mut rest = u64::from(u32::from_le_bytes([a, b, c, d])).checked_sub(4).ok_or_else(broken)?;
    writer.write_all(b"RIFF\0\0\0\0WEBP")?;
    let mut extended = Extended::default();
    while rest >= 8 {
        source.part()?;
        let kind = source.bytes()?;
        let length = source.bytes()?;
        let size = u64::from(u32::from_le_bytes(length));
        rest = rest.checked_sub(8 + size).ok_or_else(broken)?;
        match &kind {
            b"VP8X" if size == 10 && extended.flags.is_none() => {
                let content: [u8; 10] = source.bytes()?;
                writer.write_all(b"VP8X\x0a\0\0\0")?;
                extended.flags = Some((writer.stream_position()?, content[0]));
                writer.write_all(&content)?;
                let pixels =
                    |at: usize| u32::from_le_bytes([content[at], content[at + 1], content[at + 2], 0]) + 1;
                seen.size.get_or_insert((pixels(4), pixels(7)));
            }
            b"EXIF" => {
                let content = source.record(size)?;
                let minimal = exif::orientation_only(&content).filter(|_| seen.orientation.is_none());
                if let Some(minimal) = minimal {
                    writer.write_all(b"EXIF\x1a\0\0\0")?;
                    writer.write_all(&minimal)?;
                    seen.orientation = Orientation::from_exif_chunk(&minimal);
                }
            }
            kept if KEPT.contains(&kept) => {
                if kept == b"ANMF" {
                    source.frame()?;
                }
                writer.write_all(kept)?;
                writer.write_all(&length)?;
                picture(source, writer, seen, *kept, size)?;
                writer.write_all(&[0][..usize::from(size % 2 == 1)])?;
                if !extended.found.contains(kept) {
                    extended.found.push(*kept);
                }
            }
            _ => source.skip(size)?,
        }
        // The padding byte is often missing at the end of the file, or in the header's length.
        if size % 2 == 1 && rest > 0 {
            source.skip(1)?;
            rest -= 1;
        }
    }
    let end = writer.stream_position()?;
    let size = u32::try_from(end - 8).map_err(|_| broken())?;
    writer.seek(SeekFrom::Start(4))?;
    writer.write_all(&size.to_le_bytes())?;
    extended.finish(writer, seen)
}

/// Copies the content of a chunk. That of a still picture begins with its size, which must be that of the file.
fn picture(
    source: &mut Source<impl BufRead>,
    writer: &mut impl Write,
    seen: &mut Seen,
    kind: [u8; 4],
    size: u64,
) -> io::Result<()> {
    let mut head = Vec::new();
    if matches!(&kind, b"VP8 " | b"VP8L") {
        source.copy(&mut head, size.min(10))?;
        let (width, height) = match (&kind, &head[..]) {
            (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d]) => {
                (u32::from(*b & 0x3f) << 8 | u32::from(*a), u32::from(*d & 0x3f) << 8 | u32::from(*c))
            }
            (b"VP8L", [0x2f, a, b, c, d, ..]) => {
                let bits = u32::from_le_bytes([*a, *b, *c, *d]);
                ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
            }
            _ => return Err(broken()),
        };
        if *seen.size.get_or_insert((width, height)) != (width, height) {
            return Err(broken());
        }
    }
    writer.write_all(&head)?;
    source.copy(writer, size - head.len() as u64)
}

impl Extended {
    /// Corrects the flags.
    fn finish(self, writer: &mut (impl Write + Seek), seen: &Seen) -> io::Result<()> {
        let has = |kind: &[u8; 4]| self.found.contains(kind);
        if !has(b"VP8 ") && !has(b"VP8L") && !has(b"ANMF") {
            return Err(broken());
        }
        let Some((at, flags)) = self.flags else { return Ok(()) };
        let mut flags = flags & !(HAS_EXIF | HAS_XMP);
        for (flag, there) in [
            (HAS_EXIF, seen.orientation.is_some()),
            (HAS_PROFILE, has(b"ICCP")),
            (HAS_ALPHA, flags & HAS_ALPHA != 0 && (has(b"ALPH") || !has(b"VP8 "))),
            (ANIMATED, flags & ANIMATED != 0 && has(b"ANIM") && has(b"ANMF")),
        ] {
            flags = if there { flags | flag } else { flags & !flag };
        }
        writer.seek(SeekFrom::Start(at))?;
        writer.write_all(&[flags])
    }
}
