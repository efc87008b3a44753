//! The dimensions and durations of files, as far as they can be read safely.

mod asf;
mod avi;
mod caf;

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use lofty::config::ParseOptions;
use lofty::file::{AudioFile as _, FileType as Lofty};

use super::catch_panic::catch_panic;
use super::file_type::FileType;
use super::{mp4, picture};

/// A file's properties, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probe {
    /// In pixels, as shown; of pictures and videos.
    pub width: Option<u32>,
    /// In pixels, as shown; of pictures and videos.
    pub height: Option<u32>,
    /// In seconds, more than 0; of sound and videos. Of a stream without an index it is estimated from its rate.
    pub duration: Option<f64>,
}

/// Reads the headers of a file of this type. A property that is missing or broken is `None`; nothing is an error.
#[must_use]
pub fn probe(path: &Path, file_type: FileType) -> Probe {
    catch_panic(|| of(path, file_type)).flatten().unwrap_or_default()
}

fn of(path: &Path, file_type: FileType) -> Option<Probe> {
    let sound = |kind| Some(Probe { duration: sound(path, kind), ..Probe::default() });
    match file_type {
        FileType::Jpeg | FileType::Png | FileType::Gif | FileType::Webp => {
            let (width, height) = picture::size(path, file_type).ok()?;
            Some(Probe { width: Some(width), height: Some(height), duration: None })
        }
        FileType::ThreeGpAudio | FileType::M4a | FileType::ThreeGpVideo | FileType::Mp4 | FileType::Mov => {
            let movie = mp4::read(&mut File::open(path).ok()?).ok()??;
            Some(Probe {
                width: movie.size.map(|(width, _)| width),
                height: movie.size.map(|(_, height)| height),
                duration: movie.duration,
            })
        }
        FileType::Avi => avi::probe(File::open(path).ok()?).ok(),
        FileType::Caf => {
            Some(Probe { duration: caf::duration(&mut File::open(path).ok()?).ok()?, ..Probe::default() })
        }
        FileType::Wma => {
            Some(Probe { duration: asf::duration(&mut File::open(path).ok()?).ok()?, ..Probe::default() })
        }
        FileType::Wav => sound(Lofty::Wav),
        FileType::Mp3 => sound(Lofty::Mpeg),
        FileType::Aif => sound(Lofty::Aiff),
        FileType::Aac => sound(Lofty::Aac),
        FileType::Ogg => sound(ogg(path)?),
    }
}

/// The codec in an Ogg file.
fn ogg(path: &Path) -> Option<Lofty> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(64).read_to_end(&mut head).ok()?;
    Lofty::from_buffer(&head)
}

fn sound(path: &Path, kind: Lofty) -> Option<f64> {
    let options = ParseOptions::new().read_tags(false).read_cover_art(false);
    let reader = BufReader::new(File::open(path).ok()?);
    let file = lofty::probe::Probe::with_file_type(reader, kind).options(options).read().ok()?;
    known(file.properties().duration().as_secs_f64())
}

/// A duration that is a positive number.
fn known(seconds: f64) -> Option<f64> {
    (seconds.is_finite() && seconds > 0.0).then_some(seconds)
}
