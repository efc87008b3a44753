//! Huffman tables (ITU-T T.81, annexes C and F.2.2.3).

use std::io::{self, ErrorKind, Read};

use super::bits::Bits;

/// Codes of at most so many bits are looked up in one step.
const SHORT: usize = 9;

/// A table of codes.
#[derive(Clone)]
pub struct Huffman {
    /// Length and symbol of the code with which these bits begin; the length is 0 when it is longer.
    short: Vec<(u8, u8)>,
    /// By length: the number behind the last code, and the distance from a code to its symbol's index.
    long: [(i32, i32); 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// The table of a segment: how many codes there are of each length, and their symbols. `None` when there are more codes
    /// than fit.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let (mut short, mut long) = (vec![(0, 0); 1 << SHORT], [(0, 0); 17]);
        let (mut code, mut index) = (0_usize, 0_usize);
        for (length, count) in (1_u8..).zip(counts) {
            let bits = usize::from(length);
            let first = code;
            for _ in 0..*count {
                let symbol = *symbols.get(index)?;
                if code >= 1 << bits {
                    return None;
                }
                if bits <= SHORT {
                    let free = SHORT - bits;
                    short[code << free..(code + 1) << free].fill((length, symbol));
                }
                code += 1;
                index += 1;
            }
            if *count > 0 {
                let behind = i32::try_from(code).ok()?;
                let distance = i32::try_from(index).ok()? - behind;
                debug_assert!(first < code);
                long[bits] = (behind, distance);
            }
            code <<= 1;
        }
        Some(Self { short, long, symbols: symbols[..index].to_vec() })
    }

    /// The symbol of the next code.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when no code begins so.
    pub fn symbol<R: Read>(&self, bits: &mut Bits<R>) -> io::Result<u8> {
        let next = bits.peek()?;
        let (length, symbol) = self.short[usize::from(next >> (16 - SHORT))];
        if length > 0 {
            bits.skip(length.into());
            return Ok(symbol);
        }
        for length in 10..=16_u32 {
            let code = i32::from(next >> (16 - length));
            let (behind, distance) = self.long[length as usize];
            if code < behind {
                bits.skip(length);
                let symbol = usize::try_from(code + distance).ok().and_then(|index| self.symbols.get(index));
                return symbol.copied().ok_or_else(|| ErrorKind::InvalidData.into());
            }
        }
        Err(ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_codes_have_their_symbols() {
        // 0, 10, 110, ..., one code of each length.
        let symbols: Vec<u8> = (1..=16).collect();
        let table = Huffman::new(&[1; 16], &symbols).expect("a table");
        let mut bits = Bits::new(&[0b0101_1011, 0b1011_1111, 0xff, 0x00, 0b1111_1110][..]);
        for symbol in [1, 2, 3, 4] {
            assert_eq!(table.symbol(&mut bits).expect("a code"), symbol);
        }
        // More than sixteen ones follow.
        assert_eq!(table.symbol(&mut bits).expect_err("no code").kind(), ErrorKind::InvalidData);
        let mut bits = Bits::new(&[0xff, 0x00, 0b1110_0000][..]);
        assert_eq!(table.symbol(&mut bits).expect("a code"), 12);
    }

    #[test]
    fn tables_with_too_many_codes_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Huffman::new(&counts, &[1]).is_none());
        assert!(Huffman::new(&counts, &[1, 2]).is_some());
    }
}
