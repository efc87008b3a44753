//! The settings of media: the storage, the lifetime of URLs, and the largest upload.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::{ConfigError, Env};

const LOCATION: &str = "WINDU_MEDIA_URL";
const LIFETIME: &str = "WINDU_MEDIA_URL_TTL";
const MAX_UPLOAD: &str = "WINDU_MAX_UPLOAD";

const LONGEST_LIFETIME: Duration = Duration::from_hours(3_650 * 24);
const MEBIBYTE: u64 = 1024 * 1024;
const LARGEST_UPLOAD: u64 = 4 * 1024 * MEBIBYTE;

/// `WINDU_MEDIA_URL`, `WINDU_MEDIA_URL_TTL` and `WINDU_MAX_UPLOAD`, and the data folder, for uploads.
#[derive(Clone, Debug)]
pub struct MediaSettings {
    pub location: MediaLocation,
    /// The lifetime of signed URLs.
    pub url_lifetime: Duration,
    /// The largest file, in bytes.
    pub max_upload: u64,
    pub data_dir: PathBuf,
}

/// The storage of files.
#[derive(Clone)]
pub enum MediaLocation {
    /// A folder. It is created when missing.
    Folder(PathBuf),
    /// A bucket of S3 or of an S3-compatible server.
    S3 {
        /// It must exist.
        bucket: String,
        /// The prefix of every object's name, without slashes at its ends; may be empty.
        prefix: String,
        /// The variables that begin with `AWS_`: credentials, endpoint, region.
        variables: Vec<(String, String)>,
    },
}

impl MediaSettings {
    /// The variables that [`MediaSettings::read`] reads, apart from those that begin with `AWS_`.
    pub const NAMES: &[&str] = &[LOCATION, LIFETIME, MAX_UPLOAD];

    pub fn read(env: &Env, data_dir: &Path) -> Result<Self, ConfigError> {
        let url_lifetime = env.duration(LIFETIME, Duration::from_hours(24))?;
        if url_lifetime > LONGEST_LIFETIME {
            return Err(ConfigError::new(LIFETIME, "at most 3650d are possible"));
        }
        let max_upload = match env.get(MAX_UPLOAD) {
            None => 64 * MEBIBYTE,
            Some(text) => size(text).filter(|size| (1..=LARGEST_UPLOAD).contains(size)).ok_or_else(|| {
                ConfigError::new(
                    MAX_UPLOAD,
                    "a size with its unit is expected, such as 64 MiB, of 4 GiB at most",
                )
            })?,
        };
        let location = match env.get(LOCATION) {
            None => MediaLocation::Folder(data_dir.join("media")),
            Some(text) => location(env, text).ok_or_else(|| {
                ConfigError::new(LOCATION, "s3://bucket, s3://bucket/prefix or file:///folder is expected")
            })?,
        };
        Ok(Self { location, url_lifetime, max_upload, data_dir: data_dir.to_owned() })
    }
}

impl fmt::Debug for MediaLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for MediaLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "folder {}", path.display()),
            Self::S3 { bucket, prefix, .. } => write!(formatter, "s3://{bucket}/{prefix}"),
        }
    }
}

fn location(env: &Env, text: &str) -> Option<MediaLocation> {
    let url = Url::parse(text).ok()?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some()
    {
        return None;
    }
    match url.scheme() {
        "file" => Some(MediaLocation::Folder(url.to_file_path().ok()?)),
        "s3" => Some(MediaLocation::S3 {
            bucket: url.host_str().filter(|bucket| !bucket.is_empty())?.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
            variables: env.with_prefix("AWS_"),
        }),
        _ => None,
    }
}

/// A size in bytes; a unit is a power of 1024 in each spelling.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => MEBIBYTE,
        "g" | "gb" | "gib" => 1024 * MEBIBYTE,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<MediaSettings, ConfigError> {
        MediaSettings::read(&Env::of(values.iter().copied()), Path::new("/data"))
    }

    #[test]
    fn nothing_set_gives_a_folder_a_day_and_64_mebibytes() {
        let settings = read(&[]).expect("defaults");
        assert_eq!(settings.location.to_string(), "folder /data/media");
        assert_eq!(settings.url_lifetime, Duration::from_hours(24));
        assert_eq!(settings.max_upload, 67_108_864);
    }

    #[test]
    fn a_bucket_has_its_prefix_and_the_usual_variables() {
        let secret = ("AWS_SECRET_ACCESS_KEY", "secret");
        let settings = read(&[("WINDU_MEDIA_URL", "s3://bucket/a/b/"), secret]).expect("settings");
        assert_eq!(format!("{settings:?}").matches("secret").count(), 0);
        let MediaLocation::S3 { bucket, prefix, variables } = settings.location else { panic!("S3") };
        assert_eq!((bucket.as_str(), prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(variables, [(secret.0.to_owned(), secret.1.to_owned())]);
        let settings = read(&[("WINDU_MEDIA_URL", "file:///srv/media")]).expect("settings");
        assert_eq!(settings.location.to_string(), "folder /srv/media");
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1 B", 1), ("10 KiB", 10_240), ("64MiB", 67_108_864), ("2 g", 2_147_483_648)] {
            assert_eq!(read(&[(MAX_UPLOAD, text)]).expect(text).max_upload, bytes, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            (LOCATION, "media"),
            (LOCATION, "https://bucket.example"),
            (LOCATION, "s3:///prefix"),
            (LOCATION, "s3://user@bucket/prefix"),
            (LIFETIME, "4000d"),
            (LIFETIME, "0"),
            (MAX_UPLOAD, "0"),
            (MAX_UPLOAD, "5 GiB"),
            (MAX_UPLOAD, "-1"),
            (MAX_UPLOAD, "1.5 MiB"),
            (MAX_UPLOAD, "many"),
            (MAX_UPLOAD, "64"),
        ] {
            assert_eq!(read(&[(name, value)]).expect_err(value).variable, name, "{value}");
        }
    }
}
