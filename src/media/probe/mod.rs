//! The dimensions and durations of files, as far as they can be read safely.

mod asf;
mod avi;
mod caf;

use std::io::{BufReader, Read as _};
use std::path::Path;

use lofty::config::ParseOptions;
use lofty::file::{AudioFile as _, FileType as Lofty};

use super::catch_panic::catch_panic;
use super::deadline::{Deadline, DeadlineFile};
use super::file_type::FileType;
use super::{mp4, picture, webm};

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
pub fn probe(path: &Path, file_type: FileType, deadline: &Deadline) -> Probe {
    catch_panic(|| of(path, file_type, deadline)).flatten().unwrap_or_default()
}

fn of(path: &Path, file_type: FileType, deadline: &Deadline) -> Option<Probe> {
    let open = || deadline.open(path).ok();
    let sound = |kind| Some(Probe { duration: sound(open()?, kind), ..Probe::default() });
    match file_type {
        FileType::Jpeg | FileType::Png | FileType::Gif | FileType::Webp => {
            let (width, height) = picture::size(path, file_type, deadline).ok()?;
            Some(Probe { width: Some(width), height: Some(height), duration: None })
        }
        FileType::ThreeGpAudio | FileType::M4a | FileType::ThreeGpVideo | FileType::Mp4 | FileType::Mov => {
            let movie = mp4::read(&mut open()?).ok()??;
            Some(Probe {
                width: movie.size.map(|(width, _)| width),
                height: movie.size.map(|(_, height)| height),
                duration: movie.duration,
            })
        }
        FileType::WebmAudio | FileType::WebmVideo => {
            let recording = webm::read(&mut open()?).ok()??;
            Some(Probe {
                width: recording.size.map(|(width, _)| width),
                height: recording.size.map(|(_, height)| height),
                duration: recording.duration,
            })
        }
        FileType::Avi => avi::probe(open()?).ok(),
        FileType::Caf => Some(Probe { duration: caf::duration(&mut open()?).ok()?, ..Probe::default() }),
        FileType::Wma => Some(Probe { duration: asf::duration(&mut open()?).ok()?, ..Probe::default() }),
        FileType::Wav => sound(Lofty::Wav),
        FileType::Mp3 => sound(Lofty::Mpeg),
        FileType::Aif => sound(Lofty::Aiff),
        FileType::Aac => sound(Lofty::Aac),
        FileType::Ogg => sound(ogg(open()?)?),
    }
}

/// The codec in an Ogg file.
fn ogg(file: DeadlineFile) -> Option<Lofty> {
    let mut head = Vec::new();
    file.take(64).read_to_end(&mut head).ok()?;
    Lofty::from_buffer(&head)
}

fn sound(file: DeadlineFile, kind: Lofty) -> Option<f64> {
    let options = ParseOptions::new().read_tags(false).read_cover_art(false);
    let file =
        lofty::probe::Probe::with_file_type(BufReader::new(file), kind).options(options).read().ok()?;
    known(file.properties().duration().as_secs_f64())
}

/// A duration that is a positive number.
fn known(seconds: f64) -> Option<f64> {
    (seconds.is_finite() && seconds > 0.0).then_some(seconds)
}
