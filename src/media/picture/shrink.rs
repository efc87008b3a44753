//! Scaling down while the rows of a picture arrive: each pixel is the mean of the area that it covers.

use image::RgbImage;

/// Takes the rows of a picture in RGB from top to bottom, and holds no more of it than the smaller picture.
pub struct Shrink {
    from: (usize, usize),
    to: (usize, usize),
    /// Rows that were taken.
    taken: usize,
    /// The last row, scaled across, in parts of `1 / from.0`.
    line: Vec<u32>,
    /// Sums for the row that is being made, in parts of `1 / (from.0 * from.1)`.
    sums: Vec<u64>,
    pixels: Vec<u8>,
}

impl Shrink {
    /// Scales `from` pixels across and down to `to`, which is not more in either direction.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            from,
            to,
            taken: 0,
            line: vec![0; to.0 * 3],
            sums: vec![0; to.0 * 3],
            pixels: Vec::with_capacity(to.0 * to.1 * 3),
        }
    }

    /// The next row, of three bytes for each pixel. Further rows than the picture has are ignored.
    pub fn row(&mut self, row: &[u8]) {
        if self.taken == self.from.1 {
            return;
        }
        if self.from == self.to {
            self.pixels.extend_from_slice(&row[..self.to.0 * 3]);
            self.taken += 1;
            return;
        }
        self.across(row);
        self.down();
        self.taken += 1;
    }

    /// The smaller picture; rows that did not come are white.
    pub fn finish(mut self) -> RgbImage {
        let white = vec![u8::MAX; self.from.0 * 3];
        while self.taken < self.from.1 {
            self.row(&white);
        }
        let [width, height] = [self.to.0, self.to.1].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        RgbImage::from_raw(width, height, self.pixels).unwrap_or_default()
    }

    fn across(&mut self, row: &[u8]) {
        let (from, wanted) = (self.from.0, self.to.0);
        for (x, target) in self.line.chunks_exact_mut(3).enumerate() {
            // In parts of `1 / wanted` of a pixel.
            let (begin, end) = (x * from, (x + 1) * from);
            let mut sum = [0_usize; 3];
            for at in begin / wanted..end.div_ceil(wanted) {
                let part = end.min((at + 1) * wanted) - begin.max(at * wanted);
                for (sum, value) in sum.iter_mut().zip(&row[at * 3..at * 3 + 3]) {
                    *sum += part * usize::from(*value);
                }
            }
            for (to, sum) in target.iter_mut().zip(sum) {
                *to = u32::try_from(sum).unwrap_or(u32::MAX);
            }
        }
    }

    fn down(&mut self) {
        let (from, wanted) = (self.from.1, self.to.1);
        // In parts of `1 / wanted` of a row; a row of the smaller picture has `from` of them.
        let (mut at, end) = (self.taken * wanted, (self.taken + 1) * wanted);
        while at < end {
            let border = (at / from + 1) * from;
            let part = end.min(border) - at;
            for (sum, value) in self.sums.iter_mut().zip(&self.line) {
                *sum += part as u64 * u64::from(*value);
            }
            at += part;
            if at == border {
                let whole = (self.from.0 * self.from.1) as u64;
                let means = self.sums.iter().map(|sum| (sum + whole / 2) / whole);
                self.pixels.extend(means.map(|mean| u8::try_from(mean).unwrap_or(u8::MAX)));
                self.sums.fill(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(rows: &[&[u8]], to: (usize, usize)) -> Vec<u8> {
        let grey: Vec<Vec<u8>> =
            rows.iter().map(|row| row.iter().flat_map(|value| [*value; 3]).collect()).collect();
        let mut shrink = Shrink::new((rows[0].len(), rows.len()), to);
        for row in &grey {
            shrink.row(row);
        }
        shrink.finish().pixels().map(|pixel| pixel.0[0]).collect()
    }

    #[test]
    fn each_pixel_is_the_mean_of_its_area() {
        let rows: &[&[u8]] = &[&[0, 60, 120], &[30, 90, 150]];
        assert_eq!(shrunk(rows, (3, 2)), [0, 60, 120, 30, 90, 150]);
        assert_eq!(shrunk(rows, (3, 1)), [15, 75, 135]);
        assert_eq!(shrunk(rows, (1, 2)), [60, 90]);
        assert_eq!(shrunk(rows, (2, 2)), [20, 100, 50, 130]);
        assert_eq!(shrunk(rows, (1, 1)), [75]);
    }

    #[test]
    fn missing_rows_are_white() {
        let mut shrink = Shrink::new((2, 4), (1, 2));
        shrink.row(&[0; 6]);
        shrink.row(&[0; 6]);
        assert_eq!(shrink.finish().into_raw(), [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn large_pictures_keep_their_colour() {
        let mut shrink = Shrink::new((65_535, 1_000), (1_600, 24));
        let row = [10, 120, 250].repeat(65_535);
        for _ in 0..1_000 {
            shrink.row(&row);
        }
        assert!(shrink.finish().pixels().all(|pixel| pixel.0 == [10, 120, 250]));
    }
}
