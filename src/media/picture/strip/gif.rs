//! GIF (CompuServe, version 89a): a screen, then pictures and extensions, each a sequence of short blocks.

use std::io::{self, BufRead, Seek, SeekFrom, Write};

use super::source::Source;
use super::{Seen, broken};

const PICTURE: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;
/// The delay and the transparent colour of the next picture.
const CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// Where the size of the screen is.
const SCREEN: u64 = 6;

/// The applications whose extensions are part of the picture: repetitions of the animation, and the colour profile.
const ALLOWED_APPLICATIONS: [&[u8; 11]; 3] = [b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"];

/// Copies up to the end of the picture and drops the rest. An end marker that is missing behind a complete block is
/// added; an empty screen gets the size of the first frame, as browsers show it.
pub fn clean(
    source: &mut Source<impl BufRead>,
    writer: &mut (impl Write + Seek),
    seen: &mut Seen,
) -> io::Result<()> {
    let head: [u8; 13] = source.bytes()?;
    if !head.starts_with(b"GIF87a") && !head.starts_with(b"GIF89a") {
        return Err(broken());
    }
    writer.write_all(&head)?;
    let screen = (number(&head[6..8]), number(&head[8..10]));
    let is_empty = screen.0 == 0 || screen.1 == 0;
    source.copy(writer, colours(head[10]))?;
    loop {
        source.part()?;
        if source.is_at_end()? {
            break;
        }
        match source.bytes()? {
            [PICTURE] => {
                source.frame()?;
                let place: [u8; 9] = source.bytes()?;
                let covered = (
                    number(&place[..2]).saturating_add(number(&place[4..6])),
                    number(&place[2..4]).saturating_add(number(&place[6..8])),
                );
                let (width, height) = if is_empty { covered } else { screen };
                seen.size.get_or_insert((width.into(), height.into()));
                writer.write_all(&[PICTURE])?;
                writer.write_all(&place)?;
                // The colours of this picture, and the length of its first code.
                source.copy(writer, colours(place[8]) + 1)?;
                blocks(source, writer)?;
            }
            [EXTENSION] => extension(source, writer)?,
            [TRAILER] => break,
            // Programs leave zeros between blocks.
            [0] => {}
            _ => return Err(broken()),
        }
    }
    writer.write_all(&[TRAILER])?;
    // Without a picture there is no size.
    let size = seen.size.filter(|(width, height)| *width > 0 && *height > 0).ok_or_else(broken)?;
    if is_empty {
        writer.seek(SeekFrom::Start(SCREEN))?;
        for side in [size.0, size.1] {
            writer.write_all(&u16::try_from(side).map_err(|_| broken())?.to_le_bytes())?;
        }
    }
    Ok(())
}

fn extension(source: &mut Source<impl BufRead>, writer: &mut impl Write) -> io::Result<()> {
    match source.bytes()? {
        [CONTROL] => {
            writer.write_all(&[EXTENSION, CONTROL])?;
            blocks(source, writer)
        }
        [APPLICATION] => {
            let [length] = source.bytes()?;
            let mut application = Vec::new();
            source.copy(&mut application, length.into())?;
            if length > 0 && ALLOWED_APPLICATIONS.iter().any(|allowed| application == *allowed) {
                writer.write_all(&[EXTENSION, APPLICATION, length])?;
                writer.write_all(&application)?;
                blocks(source, writer)
            } else if length > 0 {
                blocks(source, &mut io::sink())
            } else {
                Ok(())
            }
        }
        _ => blocks(source, &mut io::sink()),
    }
}

fn number(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// The size of a colour table in bytes, from its flags.
fn colours(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << (u64::from(flags & 7) + 1) }
}

/// Copies blocks up to an empty one.
fn blocks(source: &mut Source<impl BufRead>, writer: &mut impl Write) -> io::Result<()> {
    loop {
        source.part()?;
        let [length] = source.bytes()?;
        writer.write_all(&[length])?;
        if length == 0 {
            return Ok(());
        }
        source.copy(writer, length.into())?;
    }
}
