//! JPEG (ITU-T T.81), sequential and progressive, decoded at an eighth, a quarter, a half or all of its size.
//!
//! A progressive picture comes in scans over all of it, so a decoder holds the coefficients of the whole: 384 MB for 64
//! megapixels. The libraries (zune-jpeg behind `image`, jpeg-decoder, libjpeg-turbo) do so at each scale, and the first two
//! read the whole file besides. This decoder holds of each block the few coefficients that the reduced size needs, and
//! one bit for each other, since the bits of later scans depend on which are zero. A sequential picture passes through
//! in rows.

mod bits;
mod frame;
mod huffman;
mod output;
mod scan;

use std::io::{self, ErrorKind, Read};

use image::RgbImage;

use self::bits::{Bits, END};
use self::frame::Frame;
use self::huffman::Huffman;
use self::output::{Colours, Output};
use self::scan::{Scan, ScanDecoder, Tables};
use super::Decoded;
use crate::media::deadline::Deadline;

/// The most scans that are decoded; encoders write a dozen at most.
const MOST_SCANS: usize = 100;

const ICC: &[u8] = b"ICC_PROFILE\0";

/// Bytes that [`decode`] needs for coefficients: those of the whole picture when it has several scans.
pub fn memory(file: impl Read, least: usize) -> io::Result<u64> {
    let mut decoder = Decoder::new(file, least);
    loop {
        match decoder.bits.next_marker()? {
            END => return Ok(0),
            0xda => break,
            marker => decoder.segment(marker)?,
        }
    }
    let (mut frame, scan) = decoder.scan()?;
    if is_in_rows(&frame, &scan) {
        return Ok(0);
    }
    frame.fit();
    Ok(frame.memory() as u64)
}

/// Decodes a picture at the smallest size whose longest side has `least` pixels, and scales it down to `target`. What is
/// missing at its end is grey.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for a picture that cannot be decoded, [`ErrorKind::UnexpectedEof`] when it ends before its
/// first scan.
pub fn decode(
    file: impl Read,
    least: usize,
    target: (usize, usize),
    deadline: &Deadline,
) -> io::Result<Decoded> {
    let mut decoder = Decoder::new(file, least);
    let picture = decoder.run(target, deadline)?;
    Ok(Decoded { picture, profile: decoder.profile() })
}

/// Whether the scan holds all of the picture.
fn is_in_rows(frame: &Frame, scan: &Scan) -> bool {
    !frame.progressive && scan.parts.len() == frame.components.len()
}

struct Decoder<R> {
    bits: Bits<R>,
    /// For [`decode`].
    least: usize,
    tables: Tables,
    quantisation: [Option<[u16; 64]>; 4],
    adobe: Option<u8>,
    /// The parts of the colour profile, by their number.
    profile: Vec<(u8, Vec<u8>)>,
    frame: Option<Frame>,
}

impl<R: Read> Decoder<R> {
    fn new(file: R, least: usize) -> Self {
        Self {
            bits: Bits::new(file),
            least,
            tables: Tables::default(),
            quantisation: [None; 4],
            adobe: None,
            profile: Vec::new(),
            frame: None,
        }
    }

    fn run(&mut self, target: (usize, usize), deadline: &Deadline) -> io::Result<RgbImage> {
        let (mut scans, mut groups) = (0, 0);
        while scans < MOST_SCANS {
            let marker = self.bits.next_marker()?;
            match marker {
                END => break,
                0xda => {
                    scans += 1;
                    let (mut frame, scan) = self.scan()?;
                    if is_in_rows(&frame, &scan) {
                        return self.in_rows(frame, &scan, target, deadline);
                    }
                    if frame.components.iter().all(|component| component.coefficients.is_empty()) {
                        frame.fit();
                        frame.reserve(frame.groups.1);
                    }
                    if scan.is_needed(&frame) {
                        let mut decoder = ScanDecoder::new(&mut self.bits, &self.tables, &scan, &mut frame);
                        decoder.whole(&mut frame, deadline)?;
                        groups += decoder.decoded;
                    }
                    self.frame = Some(frame);
                }
                _ => self.segment(marker)?,
            }
        }
        let frame = self.frame.take().filter(|_| groups > 0).ok_or(ErrorKind::InvalidData)?;
        let mut output = Output::new(&frame, Colours::of(&frame, self.adobe), target);
        for row in 0..frame.groups.1 {
            deadline.check()?;
            output.groups(&frame, row, row);
        }
        Ok(output.finish())
    }

    /// A sequential picture whose only scan holds all components.
    fn in_rows(
        &mut self,
        mut frame: Frame,
        scan: &Scan,
        target: (usize, usize),
        deadline: &Deadline,
    ) -> io::Result<RgbImage> {
        let mut output = Output::new(&frame, Colours::of(&frame, self.adobe), target);
        let mut decoder = ScanDecoder::new(&mut self.bits, &self.tables, scan, &mut frame);
        for row in 0..frame.groups.1 {
            frame.reserve(1);
            decoder.row(&mut frame, 0, deadline)?;
            output.groups(&frame, row, 0);
        }
        if decoder.decoded == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(output.finish())
    }

    /// Reads the header of a scan, and keeps the quantisation of the components that begin in it.
    fn scan(&mut self) -> io::Result<(Frame, Scan)> {
        let segment = self.bits.segment()?;
        let mut frame = self.frame.take().ok_or(ErrorKind::InvalidData)?;
        let scan = Scan::parse(&segment, &frame).ok_or(ErrorKind::InvalidData)?;
        for (index, _, _) in &scan.parts {
            let component = &mut frame.components[*index];
            component.quantisation = component.quantisation.or(self.quantisation[component.table]);
        }
        Ok((frame, scan))
    }

    /// Reads a segment other than the header of a scan.
    fn segment(&mut self, marker: u8) -> io::Result<()> {
        match marker {
            // Without content.
            0x01 | 0xd0..=0xd8 => return Ok(()),
            // Lossless, hierarchical and arithmetically coded pictures, which no browser shows either.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(ErrorKind::InvalidData.into()),
            _ => {}
        }
        let content = self.bits.segment()?;
        let valid = match marker {
            0xc0..=0xc2 if self.frame.is_none() => {
                self.frame = Frame::parse(&content, marker == 0xc2, self.least);
                self.frame.is_some()
            }
            0xc4 => self.huffman(&content).is_some(),
            0xdb => self.quantisation(&content).is_some(),
            0xdd => content.first_chunk().is_some_and(|interval| {
                self.tables.restart = usize::from(u16::from_be_bytes(*interval));
                true
            }),
            0xe2 => {
                if let Some([number, _, part @ ..]) = content.strip_prefix(ICC) {
                    self.profile.push((*number, part.to_vec()));
                }
                true
            }
            0xee => {
                if content.starts_with(b"Adobe") {
                    self.adobe = content.get(11).copied();
                }
                true
            }
            _ => true,
        };
        if valid { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    fn huffman(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let length = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(length)?;
            let tables = if kind >> 4 == 0 { &mut self.tables.constant } else { &mut self.tables.other };
            *tables.get_mut(usize::from(kind & 15))? = Some(Huffman::new(counts, symbols)?);
            content = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = content.split_first() {
            let long = kind >> 4 != 0;
            let (steps, rest) = rest.split_at_checked(if long { 128 } else { 64 })?;
            let table = self.quantisation.get_mut(usize::from(kind & 15))?.insert([0; 64]);
            for (place, step) in table.iter_mut().enumerate() {
                *step = if long {
                    u16::from_be_bytes([steps[2 * place], steps[2 * place + 1]])
                } else {
                    steps[place].into()
                };
            }
            content = rest;
        }
        Some(())
    }

    fn profile(mut self) -> Option<Vec<u8>> {
        self.profile.sort_by_key(|(number, _)| *number);
        let profile: Vec<u8> = self.profile.into_iter().flat_map(|(_, part)| part).collect();
        (!profile.is_empty()).then_some(profile)
    }
}

#[cfg(test)]
mod tests;
