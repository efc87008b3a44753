//! GIF (CompuServe, version 89a): a screen, then pictures and extensions, each a sequence of short blocks.

use std::io::{self, BufRead, Read, Write};

use super::{broken, copy, read_bytes};

const PICTURE: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;
/// The delay and the transparent colour of the next picture.
const CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// The applications whose extensions are part of the picture: repetitions of the animation, and the colour profile.
const ALLOWED_APPLICATIONS: [&[u8; 11]; 3] = [b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"];

/// Copies up to the end of the picture and drops the rest. An end marker that is missing behind a complete block is
/// added.
pub fn clean(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<()> {
    let head: [u8; 13] = read_bytes(reader)?;
    if !head.starts_with(b"GIF87a") && !head.starts_with(b"GIF89a") {
        return Err(broken());
    }
    writer.write_all(&head)?;
    copy(reader, writer, colours(head[10]))?;
    loop {
        if reader.fill_buf()?.is_empty() {
            return writer.write_all(&[TRAILER]);
        }
        match read_bytes(reader)? {
            [PICTURE] => {
                let place: [u8; 9] = read_bytes(reader)?;
                writer.write_all(&[PICTURE])?;
                writer.write_all(&place)?;
                // The colours of this picture, and the length of its first code.
                copy(reader, writer, colours(place[8]) + 1)?;
                blocks(reader, writer)?;
            }
            [EXTENSION] => extension(reader, writer)?,
            [TRAILER] => return writer.write_all(&[TRAILER]),
            // Programs leave zeros between blocks.
            [0] => {}
            _ => return Err(broken()),
        }
    }
}

fn extension(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<()> {
    match read_bytes(reader)? {
        [CONTROL] => {
            writer.write_all(&[EXTENSION, CONTROL])?;
            blocks(reader, writer)
        }
        [APPLICATION] => {
            let [length] = read_bytes(reader)?;
            let mut application = vec![0; usize::from(length)];
            reader.read_exact(&mut application)?;
            if length > 0 && ALLOWED_APPLICATIONS.iter().any(|allowed| application == *allowed) {
                writer.write_all(&[EXTENSION, APPLICATION, length])?;
                writer.write_all(&application)?;
                blocks(reader, writer)
            } else if length > 0 {
                blocks(reader, &mut io::sink())
            } else {
                Ok(())
            }
        }
        _ => blocks(reader, &mut io::sink()),
    }
}

/// The size of a colour table in bytes, from its flags.
fn colours(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << (u64::from(flags & 7) + 1) }
}

/// Copies blocks up to an empty one.
fn blocks(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<()> {
    loop {
        let [length] = read_bytes(reader)?;
        writer.write_all(&[length])?;
        if length == 0 {
            return Ok(());
        }
        copy(reader, writer, u64::from(length))?;
    }
}
