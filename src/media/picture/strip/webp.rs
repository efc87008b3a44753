//! WebP (RFC 9649): a RIFF file of chunks. The first one of an extended file announces the others.

use std::io::{self, BufRead, Seek, SeekFrom, Write};

use super::{broken, copy, exif, read_bytes, record, skip};

/// The chunks that the picture, its colours and its animation need.
const KEPT: [&[u8; 4]; 6] = [b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"];

/// The flags in the first byte of `VP8X` of the chunks that are removed.
const HAS_EXIF: u8 = 0x08;
const HAS_XMP: u8 = 0x04;

/// Copies the chunks within the length in the file's header and drops the rest.
pub fn clean(reader: &mut impl BufRead, writer: &mut (impl Write + Seek)) -> io::Result<()> {
    let [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P'] = read_bytes(reader)? else {
        return Err(broken());
    };
    let mut rest = u64::from(u32::from_le_bytes([a, b, c, d])).checked_sub(4).ok_or_else(broken)?;
    writer.write_all(b"RIFF\0\0\0\0WEBP")?;
    let mut extended = None;
    let mut turned = false;
    while rest >= 8 {
        let kind = read_bytes(reader)?;
        let length = read_bytes(reader)?;
        let size = u64::from(u32::from_le_bytes(length));
        rest = rest.checked_sub(8 + size).ok_or_else(broken)?;
        match &kind {
            b"VP8X" if size == 10 && extended.is_none() => {
                let [flags, others @ ..]: [u8; 10] = read_bytes(reader)?;
                let flags = flags & !(HAS_EXIF | HAS_XMP);
                writer.write_all(b"VP8X\x0a\0\0\0")?;
                extended = Some((writer.stream_position()?, flags));
                writer.write_all(&[flags])?;
                writer.write_all(&others)?;
            }
            b"EXIF" => {
                let content = record(reader, size)?;
                if let Some(minimal) = exif::orientation_only(&content).filter(|_| !turned) {
                    writer.write_all(b"EXIF\x1a\0\0\0")?;
                    writer.write_all(&minimal)?;
                    turned = true;
                }
            }
            kind if KEPT.contains(&kind) => {
                writer.write_all(kind)?;
                writer.write_all(&length)?;
                copy(reader, writer, size)?;
                writer.write_all(&[0][..usize::from(size % 2 == 1)])?;
            }
            _ => skip(reader, size)?,
        }
        // The padding byte is often missing at the end of the file, or in the header's length.
        if size % 2 == 1 && rest > 0 {
            skip(reader, 1)?;
            rest -= 1;
        }
    }
    let end = writer.stream_position()?;
    let size = u32::try_from(end - 8).map_err(|_| broken())?;
    writer.seek(SeekFrom::Start(4))?;
    writer.write_all(&size.to_le_bytes())?;
    if let Some((at, flags)) = extended.filter(|_| turned) {
        writer.seek(SeekFrom::Start(at))?;
        writer.write_all(&[flags | HAS_EXIF])?;
    }
    Ok(())
}
