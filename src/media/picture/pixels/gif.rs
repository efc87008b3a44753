//! GIF (CompuServe, version 89a): the first frame, row by row.
//!
//! The library gif refuses frames without a colour table or without data, which browsers show and the smallest files of the
//! web are; its decompressor, weezl, is used directly.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};

use weezl::decode::Decoder as Lzw;
use weezl::{BitOrder, LzwStatus};

use super::{Decoded, Plan, shrink};
use crate::media::deadline::{Deadline, DeadlineFile};
use crate::media::picture::{PictureError, classify_io};
use crate::media::read_bytes::read_bytes;

/// The rows of an interlaced frame: the first one of each pass, and the step between them.
const PASSES: [[usize; 2]; 4] = [[0, 8], [4, 8], [2, 4], [1, 2]];

pub fn memory(file: DeadlineFile, plan: &Plan) -> Result<u64, PictureError> {
    let frame = Frame::open(&mut BufReader::new(file)).map_err(classify_io)?;
    let step = frame.step(plan);
    let rows = if frame.interlaced { frame.size.1.div_ceil(step) } else { 1 };
    Ok((rows * frame.size.0) as u64)
}

pub fn decode(file: DeadlineFile, plan: &Plan, deadline: &Deadline) -> Result<Decoded, PictureError> {
    let mut reader = BufReader::new(file);
    let decoded = Frame::open(&mut reader).and_then(|frame| frame.decode(&mut reader, plan, deadline));
    decoded.map_err(classify_io)
}

/// The description of a frame.
struct Frame {
    /// Where it is in the picture.
    place: (usize, usize),
    size: (usize, usize),
    interlaced: bool,
    colours: Vec<[u8; 3]>,
    transparent: Option<u8>,
}

impl Frame {
    /// Reads up to the data of the first frame.
    fn open(reader: &mut BufReader<DeadlineFile>) -> io::Result<Self> {
        let head: [u8; 13] = read_bytes(reader)?;
        let shared = colour_table(reader, head[10])?;
        let mut transparent = None;
        loop {
            match read_bytes(reader)? {
                [0x2c] => break,
                [0x21] => {
                    let [kind] = read_bytes(reader)?;
                    let content = extension(reader)?;
                    if let (0xf9, [flags, _, _, index, ..]) = (kind, &content[..]) {
                        transparent = (flags & 1 == 1).then_some(*index);
                    }
                }
                [0] => {}
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        let place: [u8; 9] = read_bytes(reader)?;
        let number = |at: usize| usize::from(place[at]) | usize::from(place[at + 1]) << 8;
        let own = colour_table(reader, place[8])?;
        Ok(Self {
            place: (number(0), number(2)),
            size: (number(4), number(6)),
            interlaced: place[8] & 0x40 != 0,
            colours: if own.is_empty() { shared } else { own },
            transparent,
        })
    }

    /// Of an interlaced frame every so manieth row is kept.
    fn step(&self, plan: &Plan) -> usize {
        let enough = |step: &usize| self.interlaced && plan.pixels().1 / step >= plan.target().1;
        [8, 4, 2].into_iter().find(enough).unwrap_or(1)
    }

    fn decode(
        &self,
        reader: &mut BufReader<DeadlineFile>,
        plan: &Plan,
        deadline: &Deadline,
    ) -> io::Result<Decoded> {
        let ((width, height), step) = (plan.pixels(), self.step(plan));
        let mut shrink = shrink((width, height.div_ceil(step)), plan);
        let mut line = vec![u8::MAX; width * 3];
        let mut rows = Rows::open(reader, self.size.0)?;
        let kept = if self.interlaced { self.passes(&mut rows, step, deadline)? } else { Vec::new() };
        for y in (0..height).step_by(step) {
            deadline.check()?;
            line.fill(u8::MAX);
            if let Some(inside) = y.checked_sub(self.place.1).filter(|inside| *inside < self.size.1) {
                if self.interlaced {
                    self.paint(kept.get(inside / step).map_or(&[], Vec::as_slice), &mut line);
                } else {
                    self.paint(rows.next()?, &mut line);
                }
            }
            shrink.row(&line);
        }
        Ok(Decoded { picture: shrink.finish(), profile: None })
    }

    /// The rows of an interlaced frame that are kept, from top to bottom. Those that are missing are empty.
    fn passes(&self, rows: &mut Rows<'_>, step: usize, deadline: &Deadline) -> io::Result<Vec<Vec<u8>>> {
        let mut kept = vec![Vec::new(); self.size.1.div_ceil(step)];
        for [first, pass] in PASSES.into_iter().take_while(|[first, _]| first % step == 0) {
            for y in (first..self.size.1).step_by(pass) {
                deadline.check()?;
                let row = rows.next()?;
                if y % step == 0 {
                    kept[y / step] = row.to_vec();
                }
            }
        }
        Ok(kept)
    }

    /// Colours of a row of the frame, at its place in a row of the picture.
    fn paint(&self, row: &[u8], line: &mut [u8]) {
        let Some(line) = line.get_mut(self.place.0 * 3..) else { return };
        for (index, pixel) in row.iter().zip(line.chunks_exact_mut(3)) {
            let colour = self.colours.get(usize::from(*index)).filter(|_| self.transparent != Some(*index));
            pixel.copy_from_slice(colour.unwrap_or(&[u8::MAX; 3]));
        }
    }
}

/// The decompressed rows of a frame.
struct Rows<'a> {
    reader: &'a mut BufReader<DeadlineFile>,
    lzw: Option<Lzw>,
    /// Bytes that are left of the block that is being read.
    left: usize,
    row: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn open(reader: &'a mut BufReader<DeadlineFile>, width: usize) -> io::Result<Self> {
        let bits: Option<[u8; 1]> = read_bytes(reader).map(Some).or_else(none_at_end)?;
        let lzw = bits.filter(|[bits]| (1..=8).contains(bits)).map(|[bits]| Lzw::new(BitOrder::Lsb, bits));
        Ok(Self { reader, lzw, left: 0, row: vec![0; width] })
    }

    /// The next row; a shorter one where the data ends or is broken.
    fn next(&mut self) -> io::Result<&[u8]> {
        let mut filled = 0;
        while filled < self.row.len() {
            let Some(lzw) = &mut self.lzw else { break };
            let input = if self.left > 0 { self.reader.fill_buf()? } else { &[] };
            let input = &input[..input.len().min(self.left)];
            let done = lzw.decode_bytes(input, &mut self.row[filled..]);
            self.reader.consume(done.consumed_in);
            self.left -= done.consumed_in;
            filled += done.consumed_out;
            match done.status {
                Ok(LzwStatus::Ok) => {}
                Ok(LzwStatus::NoProgress) => {
                    let length = if self.left > 0 {
                        None
                    } else {
                        read_bytes(self.reader).map(Some).or_else(none_at_end)?
                    };
                    match length {
                        Some([length]) if length > 0 => self.left = length.into(),
                        _ => self.lzw = None,
                    }
                }
                Ok(LzwStatus::Done) | Err(_) => self.lzw = None,
            }
        }
        Ok(&self.row[..filled])
    }
}

fn none_at_end<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) }
}

fn colour_table(reader: &mut BufReader<DeadlineFile>, flags: u8) -> io::Result<Vec<[u8; 3]>> {
    let count = if flags & 0x80 == 0 { 0 } else { 2 << (flags & 7) };
    (0..count).map(|_| read_bytes(reader)).collect()
}

/// The first block of an extension; the others are passed over.
fn extension(reader: &mut BufReader<DeadlineFile>) -> io::Result<Vec<u8>> {
    let mut first = None;
    loop {
        let [length] = read_bytes(reader)?;
        if length == 0 {
            return Ok(first.unwrap_or_default());
        }
        let mut block = vec![0; length.into()];
        reader.read_exact(&mut block)?;
        first.get_or_insert(block);
    }
}
