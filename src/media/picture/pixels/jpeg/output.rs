//! From the coefficients of a picture to rows of pixels: dequantisation, the inverse cosine transform at the reduced size,
//! and the conversion of colours.

use super::frame::{Component, Frame, NATURAL};
use crate::media::picture::shrink::Shrink;

/// How the components are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// The inks and the black, inverted or not.
    Cmyk {
        inverted: bool,
        /// The inks are a brightness and two colours.
        converted: bool,
    },
}

/// Makes pixels of one row of groups after the other.
pub struct Output {
    colours: Colours,
    /// For each output pixel of a block and each coefficient across (or down), the part that the coefficient has in it.
    basis: Vec<f32>,
    /// The samples of each component for a row of groups.
    strips: Vec<Vec<u8>>,
    row: Vec<u8>,
    shrink: Shrink,
}

impl Colours {
    /// `adobe` is the transform of Adobe's segment, if there is one.
    pub fn of(frame: &Frame, adobe: Option<u8>) -> Self {
        let named =
            |names: &[u8]| frame.components.iter().map(|component| component.id).eq(names.iter().copied());
        match (frame.components.len(), adobe) {
            (1, _) => Self::Grey,
            (4, transform) => Self::Cmyk {
                inverted: transform.is_some(),
                converted: transform.is_some_and(|kind| kind != 0),
            },
            (_, Some(0)) => Self::Rgb,
            (_, None) if named(b"RGB") || named(b"rgb") => Self::Rgb,
            _ => Self::YCbCr,
        }
    }
}

impl Output {
    /// The pixels of `frame`, scaled down to `target` on the way.
    pub fn new(frame: &Frame, colours: Colours, target: (usize, usize)) -> Self {
        let (width, height) = frame.size();
        let target = (target.0.min(width), target.1.min(height));
        Self {
            colours,
            basis: basis(frame.side),
            strips: frame.components.iter().map(|each| vec![0; strip_size(each, frame.side)]).collect(),
            row: vec![0; width * 3],
            shrink: Shrink::new((width, height), target),
        }
    }

    /// Makes the pixels of a row of groups. `stored` is where its blocks are among those that the frame has room for.
    pub fn groups(&mut self, frame: &Frame, row: usize, stored: usize) {
        let side = frame.side;
        for (component, strip) in frame.components.iter().zip(&mut self.strips) {
            transform(component, side, &self.basis, stored, strip);
        }
        let (width, height) = frame.size();
        let first = row * frame.most.1 * side;
        for y in first..height.min(first + frame.most.1 * side) {
            let samples: Vec<Samples> = frame
                .components
                .iter()
                .zip(&self.strips)
                .map(|(component, strip)| Samples::new(component, frame, strip, y - first))
                .collect();
            for (x, pixel) in self.row[..width * 3].chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&colour(self.colours, &samples, x));
            }
            self.shrink.row(&self.row);
        }
    }

    pub fn finish(self) -> image::RgbImage {
        self.shrink.finish()
    }
}

/// A row of a component, which may have fewer samples than the picture has pixels.
struct Samples<'a> {
    row: &'a [u8],
    sampling: usize,
    most: usize,
}

impl<'a> Samples<'a> {
    fn new(component: &Component, frame: &Frame, strip: &'a [u8], y: usize) -> Self {
        let stride = component.columns * frame.side;
        let row = y * component.sampling.1 / frame.most.1;
        Self { row: &strip[row * stride..][..stride], sampling: component.sampling.0, most: frame.most.0 }
    }

    fn at(&self, x: usize) -> u8 {
        let x = if self.sampling == self.most { x } else { x * self.sampling / self.most };
        self.row.get(x).copied().unwrap_or(0)
    }
}

fn strip_size(component: &Component, side: usize) -> usize {
    component.columns * side * component.sampling.1 * side
}

fn colour(colours: Colours, samples: &[Samples<'_>], x: usize) -> [u8; 3] {
    match (colours, samples) {
        (Colours::Rgb, [red, green, blue]) => [red.at(x), green.at(x), blue.at(x)],
        (Colours::YCbCr, [y, cb, cr]) => rgb(y.at(x), cb.at(x), cr.at(x)),
        (Colours::Cmyk { inverted, converted }, [a, b, c, black]) => {
            let inks = [a.at(x), b.at(x), c.at(x)];
            // Adobe converts the inks as if they were light.
            let inks = if converted { rgb(inks[0], inks[1], inks[2]).map(|ink| 255 - ink) } else { inks };
            // What remains of the light, in each of the inks and in the black.
            let light = |ink: u8| u16::from(if inverted { ink } else { 255 - ink });
            inks.map(|ink| u8::try_from(light(ink) * light(black.at(x)) / 255).unwrap_or(255))
        }
        (_, [grey, ..]) => [grey.at(x); 3],
        (_, []) => [0; 3],
    }
}

/// JFIF 1.02: brightness and two differences of colour, in parts of 65,536.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y) << 16, i32::from(cb) - 128, i32::from(cr) - 128);
    [y + 91_881 * cr, y - 22_554 * cb - 46_802 * cr, y + 116_130 * cb]
        .map(|sum| u8::try_from(((sum + 32_768) >> 16).clamp(0, 255)).unwrap_or(255))
}

/// The inverse cosine transform of `side` values (T.81, A.3.3), by output and coefficient. The scale is that of the full
/// size, so that a constant means the same at each.
fn basis(side: usize) -> Vec<f32> {
    let mut basis = Vec::with_capacity(side * side);
    for x in 0_u8.. {
        if usize::from(x) == side {
            break;
        }
        for u in (0_u8..).take(side) {
            let angle = f32::from(2 * x + 1) * f32::from(u) * std::f32::consts::PI
                / (2.0 * f32::from(u8::try_from(side).unwrap_or(8)));
            basis.push(if u == 0 { 8.0_f32.sqrt().recip() } else { angle.cos() / 2.0 });
        }
    }
    basis
}

/// Transforms the blocks of a row of groups into samples.
fn transform(component: &Component, side: usize, basis: &[f32], stored: usize, strip: &mut [u8]) {
    let (kept, stride) = (side * side, component.columns * side);
    let scale = scale(component, side);
    let (mut sums, mut values) = ([0.0_f32; 64], [0.0_f32; 64]);
    for row in 0..component.sampling.1 {
        let first = (stored * component.sampling.1 + row) * component.columns;
        for column in 0..component.columns {
            let begin = (first + column) * kept;
            let Some(block) = component.coefficients.get(begin..begin + kept) else { return };
            let target = &mut strip[row * side * stride + column * side..];
            if block[1..].iter().all(|value| *value == 0) {
                let sample = sample(f32::from(block[0]) * scale[0] / 8.0);
                for line in target.chunks_mut(stride).take(side) {
                    line[..side].fill(sample);
                }
                continue;
            }
            for (value, (coefficient, scale)) in values.iter_mut().zip(block.iter().zip(&scale)) {
                *value = f32::from(*coefficient) * scale;
            }
            for (y, parts) in basis.chunks_exact(side).enumerate() {
                for x in 0..side {
                    sums[y * side + x] = (0..side).map(|v| parts[v] * values[v * side + x]).sum();
                }
            }
            for (y, line) in target.chunks_mut(stride).take(side).enumerate() {
                let sums = &sums[y * side..][..side];
                for (to, parts) in line[..side].iter_mut().zip(basis.chunks_exact(side)) {
                    *to = sample(parts.iter().zip(sums).map(|(part, sum)| part * sum).sum());
                }
            }
        }
    }
}

/// The quantisation of the kept coefficients.
fn scale(component: &Component, side: usize) -> [f32; 64] {
    let mut scale = [0.0; 64];
    let quantisation = component.quantisation.unwrap_or([1; 64]);
    for (natural, step) in NATURAL.into_iter().zip(quantisation) {
        let (row, column) = (usize::from(natural / 8), usize::from(natural % 8));
        if row < side && column < side {
            scale[row * side + column] = f32::from(step);
        }
    }
    scale
}

fn sample(value: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped first")]
    let sample = (value + 128.5).clamp(0.0, 255.0) as u8;
    sample
}
