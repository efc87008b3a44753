//! PNG, row by row. An interlaced one comes in seven passes, of which a reduced size needs only the first ones.

use std::io::BufReader;

use png::{ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::{Decoded, Plan, over_white, shrink};
use crate::media::deadline::{Deadline, DeadlineFile};
use crate::media::picture::{PictureError, classify_io};

/// Bytes that the library may take for rows and chunks.
const LIMIT: usize = 12 << 20;

/// The passes of an interlaced picture (W3C PNG, section 8.1): the first column and row, and the steps between them.
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

pub fn memory(file: DeadlineFile, plan: &Plan) -> Result<u64, PictureError> {
    let reader = open(file)?;
    let grid = if reader.info().interlaced { Grid::of(plan).bytes() } else { 0 };
    Ok((LIMIT + grid) as u64)
}

pub fn decode(file: DeadlineFile, plan: &Plan, deadline: &Deadline) -> Result<Decoded, PictureError> {
    let mut reader = open(file)?;
    let profile = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
    let picture = if reader.info().interlaced {
        let grid = Grid::of(plan);
        let pixels = passes(&mut reader, plan, &grid, deadline)?;
        let mut shrink = shrink(grid.size, plan);
        pixels.chunks_exact(grid.size.0 * 3).for_each(|row| shrink.row(row));
        shrink.finish()
    } else {
        let (width, height) = plan.pixels();
        let (mut shrink, mut row) = (shrink((width, height), plan), vec![u8::MAX; width * 3]);
        for y in 0..height {
            deadline.check()?;
            if !next(&mut reader, &mut row, y > 0)? {
                break;
            }
            shrink.row(&row);
        }
        shrink.finish()
    };
    Ok(Decoded { picture, profile })
}

/// The pixels of an interlaced picture that lie on every so manieth row and column.
struct Grid {
    step: usize,
    size: (usize, usize),
    passes: usize,
}

impl Grid {
    fn of(plan: &Plan) -> Self {
        let (width, height) = plan.pixels();
        let longest = width.max(height);
        let fits = |step: &usize| longest / step >= plan.least();
        let step = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
        let passes = match step {
            8 => 1,
            4 => 3,
            2 => 5,
            _ => 7,
        };
        Self { step, size: (width.div_ceil(step), height.div_ceil(step)), passes }
    }

    fn bytes(&self) -> usize {
        self.size.0 * self.size.1 * 3
    }
}

fn passes(
    reader: &mut Reader<BufReader<DeadlineFile>>,
    plan: &Plan,
    grid: &Grid,
    deadline: &Deadline,
) -> Result<Vec<u8>, PictureError> {
    let ((width, height), mut pixels) = (plan.pixels(), vec![u8::MAX; grid.bytes()]);
    let mut row = vec![0; width * 3];
    let mut begun = false;
    for [left, top, across, down] in PASSES.into_iter().take(grid.passes) {
        // A pass without pixels has no rows.
        if left >= width {
            continue;
        }
        for y in (top..height).step_by(down) {
            deadline.check()?;
            if !next(reader, &mut row, begun)? {
                return Ok(pixels);
            }
            begun = true;
            for (x, pixel) in (left..width).step_by(across).zip(row.chunks_exact(3)) {
                let at = (y / grid.step * grid.size.0 + x / grid.step) * 3;
                pixels[at..at + 3].copy_from_slice(pixel);
            }
        }
    }
    Ok(pixels)
}

fn open(file: DeadlineFile) -> Result<Reader<BufReader<DeadlineFile>>, PictureError> {
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), Limits { bytes: LIMIT });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.read_info().map_err(classify)
}

/// Reads the next row in RGB. Returns whether there is one: when the picture has `begun`, a broken rest is none.
fn next(
    reader: &mut Reader<BufReader<DeadlineFile>>,
    to: &mut [u8],
    begun: bool,
) -> Result<bool, PictureError> {
    let (colours, _) = reader.output_color_type();
    let row = match reader.next_row() {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(false),
        Err(error) => {
            return match classify(error) {
                PictureError::Broken if begun => Ok(false),
                error => Err(error),
            };
        }
    };
    let (data, to) = (row.data(), to.chunks_exact_mut(3));
    match colours {
        ColorType::Rgb => to.zip(data.chunks_exact(3)).for_each(|(to, from)| to.copy_from_slice(from)),
        ColorType::Rgba => {
            to.zip(data.as_chunks().0).for_each(|(to, from)| to.copy_from_slice(&over_white(*from)));
        }
        ColorType::GrayscaleAlpha => to.zip(data.as_chunks().0).for_each(|(to, [grey, alpha])| {
            to.copy_from_slice(&over_white([*grey, *grey, *grey, *alpha]));
        }),
        ColorType::Grayscale | ColorType::Indexed => to.zip(data).for_each(|(to, grey)| to.fill(*grey)),
    }
    Ok(true)
}

fn classify(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) => classify_io(error),
        DecodingError::LimitsExceeded => PictureError::TooMuchMemory,
        DecodingError::Format(_) | DecodingError::Parameter(_) => PictureError::Broken,
    }
}
