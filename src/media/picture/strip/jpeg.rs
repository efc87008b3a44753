//! JPEG (ITU-T T.81, annex B): marker segments, and coded data behind each start of a scan.

use std::io::{self, BufRead, ErrorKind, Write};

use image::metadata::Orientation;

use super::source::Source;
use super::{Seen, broken, exif};

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;

/// The JFIF header without the thumbnail that may follow: its last two bytes are the thumbnail's size.
const JFIF: &[u8] = b"JFIF\0";
const JFIF_LENGTH: usize = 14;

/// Copies up to the end of the picture and drops the rest (a second picture, a video). A file that ends behind the start
/// of its coded data gets the end marker that it lacks: cameras and downloads leave it out, and every program shows what
/// is there.
pub fn clean(source: &mut Source<impl BufRead>, writer: &mut impl Write, seen: &mut Seen) -> io::Result<()> {
    if source.bytes()? != [0xff, START] {
        return Err(broken());
    }
    writer.write_all(&[0xff, START])?;
    let mut coded = false;
    match segments(source, writer, seen, &mut coded) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && coded => {}
        ended => ended?,
    }
    if coded { writer.write_all(&[0xff, END]) } else { Err(broken()) }
}

/// Copies up to the end marker, which is not written. `has_data` becomes true at the first coded data.
fn segments(
    source: &mut Source<impl BufRead>,
    writer: &mut impl Write,
    seen: &mut Seen,
    has_data: &mut bool,
) -> io::Result<()> {
    let mut marker = next_marker(source)?;
    loop {
        source.part()?;
        match marker {
            END => return Ok(()),
            // A restart or a stray marker between segments has no meaning.
            0x00 | 0x01 | 0xd0..=START => {}
            _ => {
                let content = segment(source)?;
                note(marker, &content, seen);
                if let Some(allowed) = allowed(marker, content) {
                    let length = u16::try_from(allowed.len() + 2).map_err(|_| broken())?;
                    writer.write_all(&[0xff, marker])?;
                    writer.write_all(&length.to_be_bytes())?;
                    writer.write_all(&allowed)?;
                }
                if marker == SCAN {
                    marker = coded(source, writer, has_data)?;
                    continue;
                }
            }
        }
        marker = next_marker(source)?;
    }
}

/// Reads size and orientation where they are.
fn note(marker: u8, content: &[u8], seen: &mut Seen) {
    match marker {
        0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
            if let [_, a, b, c, d, ..] = content {
                let [height, width] = [[*a, *b], [*c, *d]].map(u16::from_be_bytes);
                seen.size.get_or_insert((width.into(), height.into()));
            }
        }
        APP1 if seen.orientation.is_none() => {
            let record = content.strip_prefix(exif::PREFIX);
            seen.orientation = record.and_then(Orientation::from_exif_chunk);
        }
        _ => {}
    }
}

/// The part of the segment that may stay.
fn allowed(marker: u8, mut content: Vec<u8>) -> Option<Vec<u8>> {
    match marker {
        // Tables, frames, scans, the restart interval, and the number of lines.
        0xc0..=0xcf | 0xda..=0xdf => Some(content),
        APP0 if content.starts_with(JFIF) && content.len() >= JFIF_LENGTH => {
            content.truncate(JFIF_LENGTH);
            content[JFIF_LENGTH - 2..].fill(0);
            Some(content)
        }
        APP1 if content.starts_with(exif::PREFIX) => {
            exif::orientation_only(&content).map(|minimal| [exif::PREFIX, &minimal].concat())
        }
        // The colour profile, and the colour transform.
        APP2 if content.starts_with(b"ICC_PROFILE\0") => Some(content),
        APP14 if content.starts_with(b"Adobe") => Some(content),
        _ => None,
    }
}

fn segment(source: &mut Source<impl BufRead>) -> io::Result<Vec<u8>> {
    let length = u16::from_be_bytes(source.bytes()?).checked_sub(2).ok_or_else(broken)?;
    let mut content = Vec::with_capacity(length.into());
    source.copy(&mut content, length.into())?;
    Ok(content)
}

/// The next marker; other bytes are skipped.
fn next_marker(source: &mut Source<impl BufRead>) -> io::Result<u8> {
    loop {
        to_sign(source, &mut io::sink())?;
        let marker = after_fill(source)?;
        if marker != 0 {
            return Ok(marker);
        }
    }
}

/// Copies the coded data of a scan, with its restarts, and returns the marker behind it.
fn coded(source: &mut Source<impl BufRead>, writer: &mut impl Write, has_data: &mut bool) -> io::Result<u8> {
    *has_data |= !source.is_at_end()?;
    loop {
        to_sign(source, writer)?;
        match after_fill(source)? {
            inside @ (0x00 | 0xd0..=0xd7) => writer.write_all(&[0xff, inside])?,
            marker => return Ok(marker),
        }
    }
}

/// Copies up to the next `FF`, which is read and not written.
fn to_sign(source: &mut Source<impl BufRead>, writer: &mut impl Write) -> io::Result<()> {
    loop {
        let buffer = source.reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let sign = buffer.iter().position(|byte| *byte == 0xff);
        let length = sign.unwrap_or(buffer.len());
        writer.write_all(&buffer[..length])?;
        source.reader.consume(length + usize::from(sign.is_some()));
        if sign.is_some() {
            return Ok(());
        }
    }
}

/// The byte behind one `FF` or several.
fn after_fill(source: &mut Source<impl BufRead>) -> io::Result<u8> {
    loop {
        let [byte] = source.bytes()?;
        if byte != 0xff {
            return Ok(byte);
        }
    }
}
