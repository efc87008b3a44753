//! The MPEG-4 family: 3GPP, MPEG-4 and QuickTime are one container (ISO/IEC 14496-12, Apple's QuickTime File Format),
//! distinguished by a brand, and sound from video by the tracks.
//!
//! The library mp4parse was tried: it refuses QuickTime videos with uncompressed sound, and reads all sample tables,
//! where a few short boxes are asked for.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::file_type::FileType;
use super::read_bytes::read_bytes;

/// The most boxes that are read in one file.
const MOST_BOXES: usize = 4_096;

/// The properties of a movie, from its boxes.
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
    /// The type, if it is one that can be sent.
    pub fn file_type(&self) -> Option<FileType> {
        let quicktime = matches!(self.brand, None | Some([b'q', b't', ..]));
        let three_gp = matches!(self.brand, Some([b'3', b'g', ..]));
        match (self.video, self.sound) {
            (true, _) if quicktime => Some(FileType::Mov),
            (true, _) if three_gp => Some(FileType::ThreeGpVideo),
            (true, _) => Some(FileType::Mp4),
            (false, true) if three_gp => Some(FileType::ThreeGpAudio),
            // No kind of media accepts QuickTime with sound only.
            (false, true) if !quicktime => Some(FileType::M4a),
            (false, _) => None,
        }
    }
}

/// Whether a file begins with a box of this family. Old QuickTime has no `ftyp`.
pub fn begins(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"))
}

/// Reads the brand and the movie box, wherever it is in the file; `None` when there is none. Only the short boxes that
/// are needed are read, all others are skipped.
pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Movie>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut boxes = Boxes { file, left: MOST_BOXES };
    let mut brand = None;
    let mut at = 0;
    while let Some(top) = boxes.next(&mut at, end)? {
        match &top.kind {
            b"ftyp" if brand.is_none() => brand = Some(read_bytes(boxes.file)?),
            b"moov" => return Ok(Some(Movie { brand, ..movie(&mut boxes, &top)? })),
            _ => {}
        }
    }
    Ok(None)
}

/// A cursor over boxes, limited in their number over the whole file.
struct Boxes<'a, F> {
    file: &'a mut F,
    left: usize,
}

/// A box: its kind, where its content begins, and where it ends.
struct Mp4Box {
    kind: [u8; 4],
    begin: u64,
    end: u64,
}

impl<F: Read + Seek> Boxes<'_, F> {
    /// The box at `at`, which is moved behind it; the file's position is then the content. `None` at `end`, and when the
    /// limit of boxes is reached.
    fn next(&mut self, at: &mut u64, end: u64) -> io::Result<Option<Mp4Box>> {
        if *at + 8 > end || self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.file.seek(SeekFrom::Start(*at))?;
        let short = u32::from_be_bytes(read_bytes(self.file)?);
        let kind = read_bytes(self.file)?;
        let (size, header) = match short {
            0 => (end - *at, 8),
            1 => (u64::from_be_bytes(read_bytes(self.file)?), 16),
            size => (u64::from(size), 8),
        };
        if size < header || size > end - *at {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let found = Mp4Box { kind, begin: *at + header, end: *at + size };
        *at = found.end;
        Ok(Some(found))
    }

    /// A field at an offset behind the box's version and flags, which differs for the versions 0 and 1. Returns whether the
    /// version is 1, too.
    fn fields<const LENGTH: usize>(&mut self, of: &Mp4Box, at: [u64; 2]) -> io::Result<(bool, [u8; LENGTH])> {
        self.file.seek(SeekFrom::Start(of.begin))?;
        let [version, _, _, _] = read_bytes(self.file)?;
        self.file.seek(SeekFrom::Start(of.begin + 4 + at[usize::from(version == 1)]))?;
        Ok((version == 1, read_bytes(self.file)?))
    }

    /// The number at the file's position, of 8 bytes or 4.
    fn number(&mut self, long: bool) -> io::Result<u64> {
        if long {
            Ok(u64::from_be_bytes(read_bytes(self.file)?))
        } else {
            Ok(u32::from_be_bytes(read_bytes(self.file)?).into())
        }
    }

    /// The time scale and the duration in seconds of a header box, which has both behind two times.
    fn seconds(&mut self, of: &Mp4Box) -> io::Result<(u32, f64)> {
        let (long, scale) = self.fields(of, [8, 16])?;
        let scale = u32::from_be_bytes(scale);
        Ok((scale, seconds(self.number(long)?, scale)))
    }
}

/// Reads the movie box.
fn movie<F: Read + Seek>(boxes: &mut Boxes<'_, F>, moov: &Mp4Box) -> io::Result<Movie> {
    let mut movie = Movie::default();
    let (mut scale, mut longest) = (0, 0.0_f64);
    let mut at = moov.begin;
    while let Some(inner) = boxes.next(&mut at, moov.end)? {
        match &inner.kind {
            b"mvhd" => scale = boxes.seconds(&inner)?.0,
            b"trak" => {
                let track = track(boxes, &inner)?;
                match &track.kind {
                    b"soun" => movie.sound = true,
                    b"vide" => {
                        movie.video = true;
                        movie.size = movie.size.max(track.size);
                    }
                    _ => continue,
                }
                longest = longest.max(track.seconds);
            }
            b"mvex" => longest = longest.max(fragments(boxes, &inner, scale)?),
            _ => {}
        }
    }
    movie.duration = (longest > 0.0).then_some(longest);
    Ok(movie)
}

/// The properties of one track.
#[derive(Default)]
struct Track {
    kind: [u8; 4],
    size: Option<(u32, u32)>,
    seconds: f64,
}

fn track<F: Read + Seek>(boxes: &mut Boxes<'_, F>, outer: &Mp4Box) -> io::Result<Track> {
    let mut track = Track::default();
    let mut at = outer.begin;
    while let Some(inner) = boxes.next(&mut at, outer.end)? {
        match &inner.kind {
            b"tkhd" => track.size = Some(shown(&boxes.fields(&inner, [36, 48])?.1)),
            b"mdia" => {
                let mut at = inner.begin;
                while let Some(inner) = boxes.next(&mut at, inner.end)? {
                    match &inner.kind {
                        b"mdhd" => track.seconds = boxes.seconds(&inner)?.1,
                        b"hdlr" => track.kind = boxes.fields(&inner, [4, 4])?.1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    track.size = track.size.filter(|(width, height)| *width > 0 && *height > 0);
    Ok(track)
}

/// The duration of a fragmented movie in seconds; 0 when its header does not have it.
fn fragments<F: Read + Seek>(boxes: &mut Boxes<'_, F>, mvex: &Mp4Box, scale: u32) -> io::Result<f64> {
    let mut at = mvex.begin;
    while let Some(inner) = boxes.next(&mut at, mvex.end)? {
        if &inner.kind == b"mehd" {
            let (long, []) = boxes.fields(&inner, [0, 0])?;
            let length = boxes.number(long)?;
            return Ok(seconds(length, scale));
        }
    }
    Ok(0.0)
}

/// The size in whole pixels as it is shown, from a matrix and a size in 16 and 16 bits: a picture that lies on its
/// side is turned.
fn shown(fields: &[u8; 44]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    let (width, height) = (number(36) >> 16, number(40) >> 16);
    let on_its_side = number(0) == 0 && number(16) == 0 && number(4) != 0;
    if on_its_side { (height, width) } else { (width, height) }
}

/// A duration in units of `1 / scale` seconds, as seconds. All bits set mean that it is not known.
fn seconds(length: u64, scale: u32) -> f64 {
    if scale == 0 || length == u64::MAX || length == u64::from(u32::MAX) {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "more precise than anyone sees")]
    let length = length as f64;
    length / f64::from(scale)
}
