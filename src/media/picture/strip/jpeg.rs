//! JPEG (ITU-T T.81, annex B): marker segments, and coded data behind each start of a scan.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use super::{broken, exif, read_bytes};

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

/// Copies up to the end of the picture and drops the rest (a second picture, a video).
pub fn clean(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<()> {
    if read_bytes(reader)? != [0xff, START] {
        return Err(broken());
    }
    writer.write_all(&[0xff, START])?;
    let mut marker = next_marker(reader)?;
    loop {
        match marker {
            END => return writer.write_all(&[0xff, END]),
            // A restart or a stray marker between segments has no meaning.
            0x00 | 0x01 | 0xd0..=START => {}
            _ => {
                let content = segment(reader)?;
                if let Some(allowed) = allowed(marker, content) {
                    let length = u16::try_from(allowed.len() + 2).map_err(|_| broken())?;
                    writer.write_all(&[0xff, marker])?;
                    writer.write_all(&length.to_be_bytes())?;
                    writer.write_all(&allowed)?;
                }
                if marker == SCAN {
                    marker = coded(reader, writer)?;
                    continue;
                }
            }
        }
        marker = next_marker(reader)?;
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

fn segment(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u16::from_be_bytes(read_bytes(reader)?).checked_sub(2).ok_or_else(broken)?;
    let mut content = vec![0; usize::from(length)];
    reader.read_exact(&mut content)?;
    Ok(content)
}

/// The next marker; other bytes are skipped.
fn next_marker(reader: &mut impl BufRead) -> io::Result<u8> {
    loop {
        to_sign(reader, &mut io::sink())?;
        let marker = after_fill(reader)?;
        if marker != 0 {
            return Ok(marker);
        }
    }
}

/// Copies the coded data of a scan, with its restarts, and returns the marker behind it.
fn coded(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<u8> {
    loop {
        to_sign(reader, writer)?;
        match after_fill(reader)? {
            inside @ (0x00 | 0xd0..=0xd7) => writer.write_all(&[0xff, inside])?,
            marker => return Ok(marker),
        }
    }
}

/// Copies up to the next `FF`, which is read and not written.
fn to_sign(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let sign = buffer.iter().position(|byte| *byte == 0xff);
        let length = sign.unwrap_or(buffer.len());
        writer.write_all(&buffer[..length])?;
        reader.consume(length + usize::from(sign.is_some()));
        if sign.is_some() {
            return Ok(());
        }
    }
}

/// The byte behind one `FF` or several.
fn after_fill(reader: &mut impl Read) -> io::Result<u8> {
    loop {
        let [byte] = read_bytes(reader)?;
        if byte != 0xff {
            return Ok(byte);
        }
    }
}
