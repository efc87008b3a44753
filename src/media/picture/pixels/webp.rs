//! WebP. The library decodes a picture as a whole: a lossy one without transparency into its brightness and colours, 1.5
//! bytes a pixel, others into 8 to 14.

use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use image_webp::vp8::{Frame, Vp8Decoder};
use image_webp::{DecodingError, WebPDecoder};

use super::{Decoded, Plan, over_white, shrink};
use crate::media::deadline::{Deadline, DeadlineFile};
use crate::media::picture::{PictureError, classify_io};
use crate::media::read_bytes::read_bytes;

/// The largest colour profile that is read, in bytes.
const MOST_PROFILE: usize = 1 << 20;

pub fn memory(file: DeadlineFile, plan: &Plan) -> Result<u64, PictureError> {
    let mut decoder = WebPDecoder::new(BufReader::new(file)).map_err(classify)?;
    let (width, height) = plan.pixels();
    let pixels = (width.next_multiple_of(16) * height.next_multiple_of(16)) as u64;
    Ok(match (decoder.is_animated(), decoder.is_lossy(), decoder.has_alpha()) {
        (true, _, _) => pixels * 14,
        // The compressed data is held up to three times.
        (false, true, false) => pixels * 3 / 2 + 3 * plan.file_size,
        (false, true, true) => pixels * 12 + 3 * plan.file_size,
        (false, false, _) => pixels * 8,
    })
}

pub fn decode(file: DeadlineFile, plan: &Plan, deadline: &Deadline) -> Result<Decoded, PictureError> {
    let mut reader = BufReader::new(file);
    let mut decoder = WebPDecoder::new(&mut reader).map_err(classify)?;
    decoder.set_memory_limit(MOST_PROFILE);
    let profile = decoder.icc_profile().unwrap_or(None);
    let (alpha, lossy) = (decoder.has_alpha(), decoder.is_lossy() && !decoder.is_animated());
    let (width, height) = plan.pixels();
    let (mut shrink, mut row) = (shrink((width, height), plan), vec![0; width * 3]);
    if lossy && !alpha {
        drop(decoder);
        let frame = Lossy::read(reader, plan)?;
        for y in 0..height {
            deadline.check()?;
            frame.row(y, &mut row);
            shrink.row(&row);
        }
        return Ok(Decoded { picture: shrink.finish(), profile });
    }
    let size = decoder.output_buffer_size().ok_or(PictureError::TooMuchMemory)?;
    let mut pixels = vec![0; size];
    decoder.read_image(&mut pixels).map_err(classify)?;
    for line in pixels.chunks_exact(width * if alpha { 4 } else { 3 }) {
        deadline.check()?;
        if alpha {
            for (to, from) in row.chunks_exact_mut(3).zip(line.as_chunks().0) {
                to.copy_from_slice(&over_white(*from));
            }
            shrink.row(&row);
        } else {
            shrink.row(line);
        }
    }
    Ok(Decoded { picture: shrink.finish(), profile })
}

/// A lossy picture as it is coded.
struct Lossy(Frame);

impl Lossy {
    fn read(mut reader: BufReader<DeadlineFile>, plan: &Plan) -> Result<Self, PictureError> {
        reader.seek(SeekFrom::Start(12))?;
        loop {
            let kind: [u8; 4] = read_bytes(&mut reader).map_err(classify_io)?;
            let size = u32::from_le_bytes(read_bytes(&mut reader).map_err(classify_io)?);
            if &kind == b"VP8 " {
                let frame = Vp8Decoder::decode_frame(reader.take(size.into())).map_err(classify)?;
                let same = (u32::from(frame.width), u32::from(frame.height)) == plan.size;
                return if same { Ok(Self(frame)) } else { Err(PictureError::Broken) };
            }
            reader.seek_relative(i64::from(size) + i64::from(size % 2)).map_err(classify_io)?;
        }
    }

    /// A row in RGB (ITU-R BT.601), in parts of 65,536. The planes are whole blocks of 16 pixels wide.
    fn row(&self, y: usize, row: &mut [u8]) {
        let Frame { width, ybuf, ubuf, vbuf, .. } = &self.0;
        let width = usize::from(*width).next_multiple_of(16);
        let (bright, colours) = (y * width, y / 2 * width / 2);
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let y = (i32::from(ybuf[bright + x]) - 16) * 76_309;
            let [u, v] = [&ubuf, &vbuf].map(|plane| i32::from(plane[colours + x / 2]) - 128);
            let sums = [y + 104_597 * v, y - 25_675 * u - 53_279 * v, y + 132_201 * u];
            let values = sums.map(|sum| ((sum + 32_768) >> 16).clamp(0, 255));
            pixel.copy_from_slice(&values.map(|value| u8::try_from(value).unwrap_or(255)));
        }
    }
}

fn classify(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) => classify_io(error),
        DecodingError::MemoryLimitExceeded | DecodingError::ImageTooLarge => PictureError::TooMuchMemory,
        _ => PictureError::Broken,
    }
}
