//! The bits of a scan (ITU-T T.81, annexes B.1.1.5 and F.1.2.3), and the bytes of the segments between scans.

use std::io::{self, ErrorKind, Read};

/// Bytes that are read from the file at once.
const BLOCK: usize = 32 << 10;

/// The end of the picture; also the marker that a file without one is read as having.
pub const END: u8 = 0xd9;

/// A reader of bits, the highest first. Behind a marker it returns zeros.
pub struct Bits<R> {
    reader: R,
    block: Vec<u8>,
    at: usize,
    end: usize,
    /// The next bits, the first one highest.
    held: u64,
    /// How many they are.
    count: u32,
    /// How many of them, at their end, are no data of the scan.
    padding: u32,
    /// The marker at which the data of the scan ended.
    marker: Option<u8>,
}

impl<R: Read> Bits<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, block: vec![0; BLOCK], at: 0, end: 0, held: 0, count: 0, padding: 0, marker: None }
    }

    /// The next 16 bits, which are not used up.
    pub fn peek(&mut self) -> io::Result<u16> {
        if self.count < 16 {
            self.refill()?;
        }
        Ok(u16::try_from(self.held >> 48).unwrap_or(u16::MAX))
    }

    /// Uses up bits that were peeked at.
    pub fn skip(&mut self, length: u32) {
        self.held <<= length;
        self.count = self.count.saturating_sub(length);
    }

    /// The next bits, at most 16, as a number.
    pub fn take(&mut self, length: u32) -> io::Result<i32> {
        if length == 0 {
            return Ok(0);
        }
        let next = self.peek()? >> (16 - length);
        self.skip(length);
        Ok(i32::from(next))
    }

    pub fn flag(&mut self) -> io::Result<bool> {
        Ok(self.take(1)? == 1)
    }

    /// A number of so many bits, at most 15, with a sign (T.81, figure F.12).
    pub fn signed(&mut self, length: u32) -> io::Result<i32> {
        let number = self.take(length)?;
        let negative = length > 0 && number < 1 << (length - 1);
        Ok(if negative { number - (1 << length) + 1 } else { number })
    }

    /// Whether bits were used up that the scan does not have.
    pub fn is_exhausted(&self) -> bool {
        self.count < self.padding
    }

    /// Goes on behind the next restart marker. Returns whether there is one before the next segment.
    pub fn restart(&mut self) -> io::Result<bool> {
        let marker = self.next_marker()?;
        let is_restart = matches!(marker, 0xd0..=0xd7);
        if !is_restart {
            self.marker = Some(marker);
        }
        Ok(is_restart)
    }

    /// Drops what is left of a scan and returns the next marker; [`END`] at the end of the file.
    pub fn next_marker(&mut self) -> io::Result<u8> {
        (self.held, self.count, self.padding) = (0, 0, 0);
        if let Some(marker) = self.marker.take() {
            return Ok(marker);
        }
        loop {
            match self.byte()? {
                None => return Ok(END),
                Some(0xff) => match self.after_fill()? {
                    0 => {}
                    marker => return Ok(marker),
                },
                Some(_) => {}
            }
        }
    }

    /// The content of a segment behind its marker.
    pub fn segment(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::from(self.byte_of_segment()?) << 8 | usize::from(self.byte_of_segment()?);
        (2..length).map(|_| self.byte_of_segment()).collect()
    }

    fn byte_of_segment(&mut self) -> io::Result<u8> {
        self.byte()?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn refill(&mut self) -> io::Result<()> {
        while self.count <= 56 {
            let byte = if self.marker.is_some() { None } else { self.data()? };
            if byte.is_none() {
                self.padding += 8;
            }
            self.held |= u64::from(byte.unwrap_or(0)) << (56 - self.count);
            self.count += 8;
        }
        Ok(())
    }

    /// The next byte of the scan; `None` at the marker behind it.
    fn data(&mut self) -> io::Result<Option<u8>> {
        match self.byte()? {
            None => self.marker = Some(END),
            Some(0xff) => match self.after_fill()? {
                0 => return Ok(Some(0xff)),
                marker => self.marker = Some(marker),
            },
            Some(byte) => return Ok(Some(byte)),
        }
        Ok(None)
    }

    /// The byte behind one `FF` or several; [`END`] at the end of the file.
    fn after_fill(&mut self) -> io::Result<u8> {
        loop {
            match self.byte()? {
                None => return Ok(END),
                Some(0xff) => {}
                Some(byte) => return Ok(byte),
            }
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.end {
            (self.at, self.end) = (0, self.reader.read(&mut self.block)?);
            if self.end == 0 {
                return Ok(None);
            }
        }
        let byte = self.block[self.at];
        self.at += 1;
        Ok(Some(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_end_at_a_marker_and_stuffed_bytes_are_data() {
        let mut bits = Bits::new(&[0b1010_0000, 0xff, 0x00, 0xff, 0xff, 0xd3, 0x80, 0xff, 0xd9][..]);
        assert_eq!(bits.take(3).expect("bits"), 0b101);
        assert_eq!(bits.take(13).expect("bits"), 0xff);
        assert!(!bits.is_exhausted());
        assert_eq!(bits.take(4).expect("bits"), 0);
        assert!(bits.is_exhausted());
        assert!(bits.restart().expect("a restart"));
        assert!(bits.flag().expect("a bit"));
        assert!(!bits.restart().expect("no restart"));
        assert_eq!(bits.next_marker().expect("a marker"), END);
        assert_eq!(bits.next_marker().expect("a marker"), END);
    }

    #[test]
    fn numbers_have_their_sign_in_the_first_bit() {
        let mut bits = Bits::new(&[0b0100_1100, 0b0111_0000][..]);
        for (length, number) in [(1, -1), (1, 1), (2, -3), (2, 3), (3, -7), (4, 14), (0, 0)] {
            assert_eq!(bits.signed(length).expect("bits"), number, "{length}");
        }
    }
}
