//! MP3 (ISO/IEC 11172-3 and 13818-3, layer III) and AAC in ADTS frames (ISO/IEC 13818-7): streams of frames without
//! a file header, maybe behind ID3 tags. Two bytes at the start are no proof (a UTF-16 text begins like a frame):
//! frames must follow each other at the distance that their headers state.

use std::io::{self, Read, Seek, SeekFrom};

use crate::media::file_type::FileType;

/// The most tags at the beginning.
const MOST_TAGS: usize = 8;

/// The most bytes between the tags and the first frame: after padding, or in a stream that was cut anywhere.
const WINDOW: usize = 8 << 10;

/// The longest frame of either type (ADTS has 13 bits for it), and a header.
const FRAME: usize = (8 << 10) + 8;

/// Consecutive frames that prove the type; fewer do when the file ends right behind the last one.
const IN_A_ROW: usize = 3;

/// Kilobits per second of layer III by the index in the header, MPEG-1 and its low rates in MPEG-2.
const RATES_1: [usize; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const RATES_2: [usize; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// A frame's header: the type, the length in bytes, and the bits that are equal in all frames of a stream.
#[derive(Clone, Copy)]
struct Frame {
    file_type: FileType,
    length: usize,
    same: [u8; 2],
}

/// Mp3 or aac, when such frames follow the tags.
pub fn sniff(file: &mut (impl Read + Seek)) -> io::Result<Option<FileType>> {
    let start = after_tags(file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    let most = WINDOW + FRAME * IN_A_ROW;
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    let ends = bytes.len() < most;
    let found = (0..bytes.len().min(WINDOW)).find_map(|at| chain(&bytes, at, ends));
    Ok(found)
}

/// The end of the ID3v2 tags (id3.org, ID3v2.4.0, section 3.1): ten bytes of header, the size in four times seven bits,
/// and a footer when the flags say so.
fn after_tags(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    let mut start = 0;
    for _ in 0..MOST_TAGS {
        file.seek(SeekFrom::Start(start))?;
        let mut tag = Vec::new();
        file.by_ref().take(10).read_to_end(&mut tag)?;
        let [b'I', b'D', b'3', _, _, flags, size @ ..] = tag.as_slice() else { break };
        if size.len() < 4 {
            break;
        }
        let size = size.iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
        start += 10 + size + if flags & 0x10 == 0 { 0 } else { 10 };
    }
    Ok(start)
}

/// The type of the frames that begin here, if there are enough.
fn chain(bytes: &[u8], start: usize, ends: bool) -> Option<FileType> {
    let first = frame(bytes.get(start..)?)?;
    let mut at = start + first.length;
    for count in 1..IN_A_ROW {
        if ends && at == bytes.len() && (count > 1 || start == 0) {
            break;
        }
        let next = frame(bytes.get(at..)?)?;
        if next.file_type != first.file_type || next.same != first.same {
            return None;
        }
        at += next.length;
    }
    Some(first.file_type)
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let [0xff, second, third, fourth, ..] = *bytes else { return None };
    match second & 0b1111_0110 {
        // Twelve bits of sync and layer 0 are ADTS.
        0b1111_0000 => {
            let [fifth, sixth, ..] = *bytes.get(4..)? else { return None };
            let length = usize::from(fourth & 0b11) << 11 | usize::from(fifth) << 3 | usize::from(sixth) >> 5;
            let sampling = third >> 2 & 0b1111;
            (length >= 7 && sampling < 13).then_some(Frame {
                file_type: FileType::Aac,
                length,
                same: [second, third & 0b1111_1101],
            })
        }
        // Eleven bits of sync and layer III.
        0b1111_0010 | 0b1110_0010 => {
            let version = second >> 3 & 0b11;
            let rate_index = usize::from(third >> 4).checked_sub(1)?;
            let (rates, samples, highest) = match version {
                0b11 => (RATES_1, 144, 44_100),
                0b10 => (RATES_2, 72, 22_050),
                0b00 => (RATES_2, 72, 11_025),
                _ => return None,
            };
            let sampling = match third >> 2 & 0b11 {
                0 => highest,
                1 => highest * 160 / 147,
                2 => highest * 320 / 441,
                _ => return None,
            };
            let padding = usize::from(third >> 1 & 1);
            Some(Frame {
                file_type: FileType::Mp3,
                length: samples * rates.get(rate_index)? * 1_000 / sampling + padding,
                same: [second & 0b1111_1110, third & 0b0000_1100],
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn lengths_are_those_of_the_standard() {
        for (header, length) in [
            ([0xff, 0xfb, 0x90, 0x00], 417),  // MPEG-1, 128 kbit/s, 44,100 Hz
            ([0xff, 0xfb, 0x92, 0x00], 418),  // the same, padded
            ([0xff, 0xfb, 0x94, 0x00], 384),  // 48,000 Hz
            ([0xff, 0xfb, 0xe8, 0x00], 1440), // 320 kbit/s, 32,000 Hz
            ([0xff, 0xf3, 0x80, 0x00], 208),  // MPEG-2, 64 kbit/s, 22,050 Hz
            ([0xff, 0xf3, 0x84, 0x00], 192),  // 24,000 Hz
            ([0xff, 0xe3, 0x48, 0x00], 288),  // MPEG-2.5, 32 kbit/s, 8,000 Hz
        ] {
            let frame = frame(&header).expect("a frame");
            assert_eq!((frame.file_type, frame.length), (FileType::Mp3, length), "{header:x?}");
        }
    }

    #[test]
    fn one_header_is_no_proof() {
        let utf16 = "\u{feff}a text that is stored in UTF-16, in little endian, is no sound".encode_utf16();
        let text: Vec<u8> = utf16.flat_map(u16::to_le_bytes).collect();
        assert_eq!(text[..2], [0xff, 0xfe]);
        assert_eq!(sniff(&mut Cursor::new(text)).expect("no failure"), None);
        let mut one = vec![0; 4_000];
        one[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        assert_eq!(sniff(&mut Cursor::new(&one)).expect("no failure"), None);
        one[417..421].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        one[834..838].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        assert_eq!(sniff(&mut Cursor::new(&one)).expect("no failure"), Some(FileType::Mp3));
    }

    #[test]
    fn a_tag_that_is_longer_than_the_file_hides_nothing() {
        let tag = *b"ID3\x04\0\0\x7f\x7f\x7f\x7f";
        assert_eq!(sniff(&mut Cursor::new(tag)).expect("no failure"), None);
    }
}
