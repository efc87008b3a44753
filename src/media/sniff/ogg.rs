//! Ogg (RFC 3533): the first page of each stream is at the beginning of the file and names its codec.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::media::file_type::FileType;
use crate::media::read_bytes::read_bytes;

/// More streams than any real file has.
const MOST_STREAMS: usize = 16;

/// A page's fixed part, and the flag of a stream's first page.
const PAGE: usize = 27;
const BEGINS: u8 = 0x02;

/// The first bytes of the first packet, for the codecs of sound (RFC 5334, RFC 7845, the Speex and FLAC mappings).
const SOUND: [&[u8]; 4] = [b"\x01vorbis", b"OpusHead", b"Speex   ", b"\x7fFLAC"];

/// A stream that only describes the others.
const SKELETON: &[u8] = b"fishead\0";

/// Ogg, when all streams are sound.
pub fn sniff(file: &mut (impl Read + Seek)) -> io::Result<Option<FileType>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let mut sound = false;
    for _ in 0..MOST_STREAMS {
        let page: [u8; PAGE] = read_bytes(&mut reader)?;
        if !page.starts_with(b"OggS") {
            return Ok(None);
        }
        if page[5] & BEGINS == 0 {
            return Ok(sound.then_some(FileType::Ogg));
        }
        let mut lengths = vec![0; usize::from(page[26])];
        reader.read_exact(&mut lengths)?;
        let mut packet = vec![0; lengths.iter().map(|length| usize::from(*length)).sum()];
        reader.read_exact(&mut packet)?;
        if SOUND.iter().any(|codec| packet.starts_with(codec)) {
            sound = true;
        } else if !packet.starts_with(SKELETON) {
            return Ok(None);
        }
    }
    Ok(None)
}
