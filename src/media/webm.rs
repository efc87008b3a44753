//! WebM (RFC 8794, RFC 9559, and the WebM guidelines): a tree of elements, of which the tracks decide between sound and
//! video. Browsers record in it, with lengths that they do not know yet.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::file_type::FileType;
use super::read_bytes::read_bytes;

/// The most elements that are read in one file.
const MOST_ELEMENTS: usize = 4_096;

/// The first bytes of a file.
pub const HEADER: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

const EBML: u32 = 0x1a45_dfa3;
const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x002a_d7b1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const VIDEO: u32 = 0xe0;
const WIDTH: u32 = 0xb0;
const HEIGHT: u32 = 0xba;

/// The properties of a recording, from its elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recording {
    sound: bool,
    video: bool,
    /// Width and height of the largest picture track, in pixels.
    pub size: Option<(u32, u32)>,
    /// In seconds.
    pub duration: Option<f64>,
}

impl Recording {
    /// The type, if it is one that can be sent.
    pub fn file_type(&self) -> Option<FileType> {
        match (self.video, self.sound) {
            (true, _) => Some(FileType::WebmVideo),
            (false, true) => Some(FileType::WebmAudio),
            (false, false) => None,
        }
    }
}

/// Reads the elements in front of the sound and pictures; `None` when this is no WebM, but another kind of Matroska.
pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Recording>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut elements = Elements { file, left: MOST_ELEMENTS };
    let (mut recording, mut at) = (Recording::default(), 0);
    let mut is_webm = false;
    while let Some(top) = elements.next(&mut at, end)? {
        match top.id {
            EBML => {
                let mut at = top.begin;
                while let Some(inner) = elements.next(&mut at, top.end)? {
                    is_webm |= inner.id == DOC_TYPE && elements.bytes(&inner)?.starts_with(b"webm");
                }
            }
            SEGMENT if is_webm => {
                segment(&mut elements, &top, &mut recording)?;
                return Ok(Some(recording));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn segment<F: Read + Seek>(
    elements: &mut Elements<'_, F>,
    outer: &Element,
    recording: &mut Recording,
) -> io::Result<()> {
    let (mut scale, mut length, mut at) = (1_000_000, 0.0, outer.begin);
    while let Some(inner) = elements.next(&mut at, outer.end)? {
        match inner.id {
            INFO => {
                let mut at = inner.begin;
                while let Some(field) = elements.next(&mut at, inner.end)? {
                    match field.id {
                        TIMESTAMP_SCALE => scale = elements.number(&field)?,
                        DURATION => length = elements.float(&field)?,
                        _ => {}
                    }
                }
            }
            TRACKS => {
                let mut at = inner.begin;
                while let Some(entry) = elements.next(&mut at, inner.end)? {
                    if entry.id == TRACK {
                        track(elements, &entry, recording)?;
                    }
                }
            }
            CLUSTER => break,
            _ => {}
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "more precise than anyone sees")]
    let seconds = length * scale as f64 / 1e9;
    recording.duration = (seconds.is_finite() && seconds > 0.0).then_some(seconds);
    Ok(())
}

fn track<F: Read + Seek>(
    elements: &mut Elements<'_, F>,
    outer: &Element,
    recording: &mut Recording,
) -> io::Result<()> {
    let (mut at, mut size) = (outer.begin, (0, 0));
    while let Some(inner) = elements.next(&mut at, outer.end)? {
        match inner.id {
            TRACK_TYPE => match elements.number(&inner)? {
                1 => recording.video = true,
                2 => recording.sound = true,
                _ => {}
            },
            VIDEO => {
                let mut at = inner.begin;
                while let Some(field) = elements.next(&mut at, inner.end)? {
                    match field.id {
                        WIDTH => size.0 = u32::try_from(elements.number(&field)?).unwrap_or(0),
                        HEIGHT => size.1 = u32::try_from(elements.number(&field)?).unwrap_or(0),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if size.0 > 0 && size.1 > 0 {
        recording.size = recording.size.max(Some(size));
    }
    Ok(())
}

/// A cursor over elements, limited in their number over the whole file.
struct Elements<'a, F> {
    file: &'a mut F,
    left: usize,
}

/// An element: its id, where its content begins, and where it ends.
struct Element {
    id: u32,
    begin: u64,
    end: u64,
}

impl<F: Read + Seek> Elements<'_, F> {
    /// The element at `at`, which is moved behind it. One of unknown length goes on to `end`. `None` at `end`, and when the
    /// limit of elements is reached.
    fn next(&mut self, at: &mut u64, end: u64) -> io::Result<Option<Element>> {
        if *at + 2 > end || self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.file.seek(SeekFrom::Start(*at))?;
        let (id, id_length, _) = self.variable(4)?;
        let (size, size_length, unknown) = self.variable(8)?;
        let begin = *at + id_length + size_length;
        // The id keeps the bit that marks its length.
        let id = u32::try_from(id | 1 << (7 * id_length)).map_err(|_| ErrorKind::InvalidData)?;
        *at = if unknown { end } else { begin.saturating_add(size) };
        // A file that was cut short is known by its beginning all the same.
        Ok(Some(Element { id, begin, end: (*at).min(end) }))
    }

    /// A number whose first byte has as many leading zeros as further bytes follow: the number, its length in bytes, and
    /// whether all its bits are set.
    fn variable(&mut self, most: u32) -> io::Result<(u64, u64, bool)> {
        let [first] = read_bytes(self.file)?;
        let further = first.leading_zeros();
        if further >= most {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut number = u64::from(first) & (0x7f >> further);
        for _ in 0..further {
            let [byte] = read_bytes(self.file)?;
            number = number << 8 | u64::from(byte);
        }
        let length = u64::from(further) + 1;
        Ok((number, length, number == (1 << (7 * length)) - 1))
    }

    /// The content of a short element.
    fn bytes(&mut self, of: &Element) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(of.begin))?;
        let mut bytes = Vec::new();
        self.file.by_ref().take((of.end - of.begin.min(of.end)).min(8)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self, of: &Element) -> io::Result<u64> {
        Ok(self.bytes(of)?.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)))
    }

    fn float(&mut self, of: &Element) -> io::Result<f64> {
        let bytes = self.bytes(of)?;
        Ok(match bytes.len() {
            4 => bytes.first_chunk().map_or(0.0, |bytes| f32::from_be_bytes(*bytes).into()),
            8 => bytes.first_chunk().map_or(0.0, |bytes| f64::from_be_bytes(*bytes)),
            _ => 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn element(id: u32, content: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes();
        let id = &id[id.iter().position(|byte| *byte > 0).expect("an id")..];
        let size = (0x1000_0000 | u32::try_from(content.len()).expect("short")).to_be_bytes();
        [id, &size, content].concat()
    }

    /// As a browser records: the lengths of the segment and of its clusters are unknown.
    fn recorded(doc_type: &[u8], tracks: &[Vec<u8>]) -> Vec<u8> {
        let unknown = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        [
            element(EBML, &element(DOC_TYPE, doc_type)),
            SEGMENT.to_be_bytes().to_vec(),
            unknown.to_vec(),
            element(INFO, &element(DURATION, &1_500.0_f64.to_be_bytes())),
            element(TRACKS, &tracks.concat()),
            CLUSTER.to_be_bytes().to_vec(),
            unknown.to_vec(),
            vec![0xa3; 100],
        ]
        .concat()
    }

    #[test]
    fn the_tracks_decide_between_sound_and_video() {
        let sound = element(TRACK, &element(TRACK_TYPE, &[2]));
        let size = [element(WIDTH, &[0x02, 0x80]), element(HEIGHT, &[0x01, 0xe0])].concat();
        let video = element(TRACK, &[element(TRACK_TYPE, &[1]), element(VIDEO, &size)].concat());
        let read = |bytes: Vec<u8>| read(&mut Cursor::new(bytes)).expect("no failure");
        let voice = read(recorded(b"webm", std::slice::from_ref(&sound))).expect("a recording");
        assert_eq!((voice.file_type(), voice.duration), (Some(FileType::WebmAudio), Some(1.5)));
        let film = read(recorded(b"webm", &[sound.clone(), video])).expect("a recording");
        assert_eq!((film.file_type(), film.size), (Some(FileType::WebmVideo), Some((640, 480))));
        assert_eq!(read(recorded(b"webm", &[])).expect("a recording").file_type(), None);
        assert_eq!(read(recorded(b"matroska", &[sound])), None);
    }
}
