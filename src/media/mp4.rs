//! The MPEG-4 family: 3GPP, MPEG-4 and QuickTime are one container (ISO/IEC 14496-12), told apart by a brand, and
//! sound from video by the tracks.

use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};

use mp4parse::{TrackHeaderBox, TrackType};

use super::file_type::FileType;
use super::reading::bytes;

/// Boxes at the top that are passed over until the movie box is found.
const MOST_BOXES: usize = 4_096;

/// The largest movie box that is read. Sample tables of hours of video stay below it.
const MOST_MOVIE: u64 = 32 << 20;

/// What the boxes say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Movie {
    brand: Option<[u8; 4]>,
    sound: bool,
    video: bool,
    /// Width and height of the largest picture track as shown, in pixels.
    pub size: Option<(u32, u32)>,
    /// Of the longest track, in seconds.
    pub duration: Option<f64>,
}

impl Movie {
    /// The type that can be sent, if it is one.
    pub fn file_type(&self) -> Option<FileType> {
        let quicktime = matches!(self.brand, None | Some([b'q', b't', ..]));
        let three_gp = matches!(self.brand, Some([b'3', b'g', ..]));
        match (self.video, self.sound) {
            (true, _) if quicktime => Some(FileType::Mov),
            (true, _) if three_gp => Some(FileType::ThreeGpVideo),
            (true, _) => Some(FileType::Mp4),
            (false, true) if three_gp => Some(FileType::ThreeGpAudio),
            // QuickTime with sound only is on no list.
            (false, true) if !quicktime => Some(FileType::M4a),
            (false, _) => None,
        }
    }
}

/// Whether the head of a file looks like the first box of the family. Old QuickTime has no `ftyp`.
pub fn begins(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"))
}

/// Reads the brand and the movie box, wherever in the file it stands, or nothing when there is none that can be read.
pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Movie>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut brand = None;
    let mut at = 0;
    for _ in 0..MOST_BOXES {
        file.seek(SeekFrom::Start(at))?;
        let short = u32::from_be_bytes(bytes(file)?);
        let kind: [u8; 4] = bytes(file)?;
        let (size, begin) = match short {
            0 => (end - at, 8),
            1 => (u64::from_be_bytes(bytes(file)?), 16),
            size => (u64::from(size), 8),
        };
        if size < begin {
            return Ok(None);
        }
        match &kind {
            b"ftyp" if brand.is_none() => {
                brand = Some(bytes(file)?);
            }
            b"moov" if size <= MOST_MOVIE && size <= end - at => {
                file.seek(SeekFrom::Start(at))?;
                return Ok(movie(file.take(size)).map(|movie| Movie { brand, ..movie }));
            }
            b"moov" => return Ok(None),
            _ => {}
        }
        at = at.checked_add(size).filter(|next| *next < end).ok_or(ErrorKind::UnexpectedEof)?;
    }
    Ok(None)
}

/// What the movie box holds.
fn movie(moov: impl Read) -> Option<Movie> {
    let context = mp4parse::read_mp4(&mut BufReader::new(moov)).ok()?;
    let mut movie = Movie::default();
    let mut longest = 0.0_f64;
    for track in &context.tracks {
        match track.track_type {
            TrackType::Audio => movie.sound = true,
            TrackType::Video => {
                movie.video = true;
                let size = track.tkhd.as_ref().map(shown);
                movie.size = movie.size.max(size.filter(|(width, height)| *width > 0 && *height > 0));
            }
            _ => continue,
        }
        if let (Some(duration), Some(scale)) = (&track.duration, &track.timescale) {
            longest = longest.max(seconds(duration.0, scale.0));
        }
    }
    if let (Some(fragments), Some(scale)) =
        (context.mvex.and_then(|box_| box_.fragment_duration), context.timescale)
    {
        longest = longest.max(seconds(fragments.0, scale.0));
    }
    movie.duration = (longest > 0.0).then_some(longest);
    Some(movie)
}

/// The size in whole pixels as it is shown: a picture that lies on its side is turned.
fn shown(header: &TrackHeaderBox) -> (u32, u32) {
    let (width, height) = (header.width >> 16, header.height >> 16);
    let on_its_side = header.matrix.a == 0 && header.matrix.d == 0 && header.matrix.b != 0;
    if on_its_side { (height, width) } else { (width, height) }
}

/// Units of so many a second, as seconds. All bits set mean that it is not known.
fn seconds(duration: u64, scale: u64) -> f64 {
    if scale == 0 || duration == u64::MAX || duration == u64::from(u32::MAX) {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a second is lost after 285 years")]
    let seconds = duration as f64 / scale as f64;
    seconds
}
