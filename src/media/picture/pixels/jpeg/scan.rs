//! The scans of a picture (ITU-T T.81, annexes F.2 and G.2): which coefficients of which blocks follow each other.

use std::io::{self, ErrorKind, Read};

use super::bits::Bits;
use super::frame::Frame;
use super::huffman::Huffman;
use crate::media::deadline::Deadline;

/// The header of a scan.
#[derive(Clone)]
pub struct Scan {
    /// Index of each component, and of its tables for the constant and the other coefficients.
    pub parts: Vec<(usize, usize, usize)>,
    /// The first and the last coefficient, in the order of the file.
    first: usize,
    last: usize,
    /// A later scan of the same coefficients, one bit more precise.
    refines: bool,
    /// The lowest bits that are still missing after this scan.
    missing: u32,
}

/// The tables that a scan needs.
#[derive(Default)]
pub struct Tables {
    pub constant: [Option<Huffman>; 4],
    pub other: [Option<Huffman>; 4],
    /// Groups between restart markers; 0: there are none.
    pub restart: usize,
}

/// A scan that is being decoded.
pub struct ScanDecoder<'a, R> {
    bits: &'a mut Bits<R>,
    tables: &'a Tables,
    scan: &'a Scan,
    /// Blocks without further coefficients that follow.
    empty_blocks: i32,
    /// Groups since the last restart marker.
    since_restart: usize,
    /// The data up to the next restart marker is missing or broken.
    lost: bool,
    /// Groups that were decoded.
    pub decoded: usize,
}

impl Scan {
    /// `None` when the segment is malformed, or does not fit the frame.
    pub fn parse(segment: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = segment.split_first()?;
        let (parts, rest) = rest.split_at_checked(usize::from(*count) * 2)?;
        let [first, last, bits, ..] = *rest else { return None };
        let parts = parts.chunks_exact(2).map(|part| {
            let index = frame.components.iter().position(|component| component.id == part[0])?;
            let tables = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            (tables.0 < 4 && tables.1 < 4).then_some((index, tables.0, tables.1))
        });
        let parts = parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())?;
        if !frame.progressive {
            return Some(Self { parts, first: 0, last: 63, refines: false, missing: 0 });
        }
        let (first, last) = (usize::from(first), usize::from(last));
        let valid = if first == 0 { last == 0 } else { last >= first && last < 64 && parts.len() == 1 };
        let missing = u32::from(bits & 15);
        (valid && missing < 14).then_some(Self { parts, first, last, refines: bits >> 4 != 0, missing })
    }

    /// Whether the scan has coefficients that the frame keeps.
    pub fn is_needed(&self, frame: &Frame) -> bool {
        self.first == 0 || frame.side > 1
    }
}

impl<'a, R: Read> ScanDecoder<'a, R> {
    pub fn new(bits: &'a mut Bits<R>, tables: &'a Tables, scan: &'a Scan, frame: &mut Frame) -> Self {
        for component in &mut frame.components {
            component.predicted = 0;
        }
        Self { bits, tables, scan, empty_blocks: 0, since_restart: 0, lost: false, decoded: 0 }
    }

    /// Decodes a scan into the coefficients of the whole picture.
    pub fn whole(&mut self, frame: &mut Frame, deadline: &Deadline) -> io::Result<()> {
        if let [(component, _, _)] = self.scan.parts[..] {
            let (columns, (across, down)) =
                (frame.components[component].columns, frame.components[component].blocks);
            for row in 0..down {
                deadline.check()?;
                for column in 0..across {
                    self.group(frame, |this, frame| this.block(frame, 0, row * columns + column))?;
                }
            }
            return Ok(());
        }
        (0..frame.groups.1).try_for_each(|row| self.row(frame, row, deadline))
    }

    /// Decodes one row of groups. `row` is where it is among the rows for which the frame has room.
    pub fn row(&mut self, frame: &mut Frame, row: usize, deadline: &Deadline) -> io::Result<()> {
        deadline.check()?;
        for group in 0..frame.groups.0 {
            self.group(frame, |this, frame| {
                for part in 0..this.scan.parts.len() {
                    let component = &frame.components[this.scan.parts[part].0];
                    let ((across, down), columns) = (component.sampling, component.columns);
                    for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
                        this.block(frame, part, (row * down + y) * columns + group * across + x)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Decodes a group, in front of which a restart marker may be. What cannot be decoded stays as it is, up to the next
    /// restart marker.
    fn group(
        &mut self,
        frame: &mut Frame,
        decode: impl FnOnce(&mut Self, &mut Frame) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.tables.restart > 0 && self.since_restart == self.tables.restart {
            self.since_restart = 0;
            self.empty_blocks = 0;
            self.lost = !self.bits.restart()?;
            for component in &mut frame.components {
                component.predicted = 0;
            }
        }
        self.since_restart += 1;
        if self.lost {
            return Ok(());
        }
        match decode(self, frame) {
            Err(error) if error.kind() == ErrorKind::InvalidData => self.lost = true,
            Err(error) => return Err(error),
            Ok(()) if self.bits.is_exhausted() => self.lost = true,
            Ok(()) => self.decoded += 1,
        }
        Ok(())
    }

    fn block(&mut self, frame: &mut Frame, part: usize, block: usize) -> io::Result<()> {
        let (component, constant, other) = self.scan.parts[part];
        if self.scan.first == 0 {
            self.constant(frame, component, block, constant)?;
        }
        if !frame.progressive {
            return self.sequential(frame, component, block, other);
        }
        match (self.scan.first, self.scan.refines) {
            (0, _) => Ok(()),
            (_, false) => self.band(frame, component, block, other),
            (_, true) => self.refined_band(frame, component, block, other),
        }
    }

    fn constant(
        &mut self,
        frame: &mut Frame,
        component: usize,
        block: usize,
        table: usize,
    ) -> io::Result<()> {
        if self.scan.refines {
            let bit = self.bits.flag()?;
            if let Some(value) = frame.coefficient(component, block, 0).filter(|_| bit) {
                *value |= 1 << self.scan.missing;
            }
            return Ok(());
        }
        let table = self.tables.constant[table].as_ref().ok_or(ErrorKind::InvalidData)?;
        let length = table.symbol(self.bits)?;
        let difference = self.bits.signed(u32::from(length).min(15))?;
        let predicted = &mut frame.components[component].predicted;
        *predicted = predicted.wrapping_add(difference);
        let value = narrow(i64::from(*predicted) << self.scan.missing);
        if let Some(kept) = frame.coefficient(component, block, 0) {
            *kept = value;
        }
        Ok(())
    }

    /// The other coefficients of a block of a sequential picture.
    fn sequential(
        &mut self,
        frame: &mut Frame,
        component: usize,
        block: usize,
        table: usize,
    ) -> io::Result<()> {
        let table = self.tables.other[table].as_ref().ok_or(ErrorKind::InvalidData)?;
        let mut place = 1;
        while place < 64 {
            let symbol = table.symbol(self.bits)?;
            let (zeros, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 {
                if zeros < 15 {
                    break;
                }
                place += 16;
                continue;
            }
            place += zeros;
            if place > 63 {
                return Err(ErrorKind::InvalidData.into());
            }
            let value = self.bits.signed(length)?;
            if let Some(kept) = frame.coefficient(component, block, place) {
                *kept = narrow(value.into());
            }
            place += 1;
        }
        Ok(())
    }

    /// The first scan of a band of coefficients.
    fn band(&mut self, frame: &mut Frame, component: usize, block: usize, table: usize) -> io::Result<()> {
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            return Ok(());
        }
        let table = self.tables.other[table].as_ref().ok_or(ErrorKind::InvalidData)?;
        let mut place = self.scan.first;
        while place <= self.scan.last {
            let symbol = table.symbol(self.bits)?;
            let (zeros, length) = (symbol >> 4, u32::from(symbol & 15));
            if length == 0 {
                if zeros < 15 {
                    self.empty_blocks = (1 << zeros) - 1 + self.bits.take(zeros.into())?;
                    break;
                }
                place += 16;
                continue;
            }
            place += usize::from(zeros);
            if place > 63 {
                return Err(ErrorKind::InvalidData.into());
            }
            let value = i64::from(self.bits.signed(length)?) << self.scan.missing;
            set(frame, component, block, place, value);
            place += 1;
        }
        Ok(())
    }

    /// A later scan of a band: one bit more for each coefficient that is not zero, and new ones between them.
    fn refined_band(
        &mut self,
        frame: &mut Frame,
        component: usize,
        block: usize,
        table: usize,
    ) -> io::Result<()> {
        let table = self.tables.other[table].as_ref().ok_or(ErrorKind::InvalidData)?;
        let mut place = self.scan.first;
        while self.empty_blocks == 0 && place <= self.scan.last {
            let symbol = table.symbol(self.bits)?;
            let (zeros, length) = (symbol >> 4, symbol & 15);
            if length == 0 && zeros < 15 {
                self.empty_blocks = (1 << zeros) + self.bits.take(zeros.into())?;
                break;
            }
            let new = match length {
                0 => 0,
                _ if self.bits.flag()? => 1,
                _ => -1,
            };
            place = self.refine(frame, component, block, place, Some(zeros))?;
            if new != 0 && place <= self.scan.last {
                set(frame, component, block, place, new << self.scan.missing);
            }
            place += 1;
        }
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            self.refine(frame, component, block, place, None)?;
        }
        Ok(())
    }

    /// Refines the coefficients from `place` on, up to the zero behind so many `zeros`; without a number, up to the end of
    /// the band. Returns where it ended.
    fn refine(
        &mut self,
        frame: &mut Frame,
        component: usize,
        block: usize,
        mut place: usize,
        mut zeros: Option<u8>,
    ) -> io::Result<usize> {
        let nonzero = frame.components[component].nonzero.get(block).copied().unwrap_or(0);
        while place <= self.scan.last {
            if nonzero >> place & 1 == 1 {
                let more = self.bits.flag()?;
                if let Some(value) = frame.coefficient(component, block, place).filter(|_| more) {
                    let step = i64::from(value.signum()) << self.scan.missing;
                    *value = narrow(i64::from(*value) + step);
                }
            } else {
                match &mut zeros {
                    Some(0) => break,
                    Some(zeros) => *zeros -= 1,
                    None => {}
                }
            }
            place += 1;
        }
        Ok(place)
    }
}

/// Sets a coefficient that is not zero.
fn set(frame: &mut Frame, component: usize, block: usize, place: usize, value: i64) {
    if let Some(kept) = frame.coefficient(component, block, place) {
        *kept = narrow(value);
    }
    if let Some(nonzero) = frame.components[component].nonzero.get_mut(block) {
        *nonzero |= 1 << place;
    }
}

fn narrow(value: i64) -> i16 {
    i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
}
