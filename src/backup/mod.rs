//! Backups of a whole deployment: every table, the media and the master key in one file, taken beside a running server.

mod archive;
mod export;
mod new_file;
mod restore;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;

use self::archive::{Beginning, Counts, FORMAT, Writer};
use self::new_file::NewFile;
use crate::domain::BlobHash;
use crate::media::{ByteStream, Media, MediaError};
use crate::secrets::MasterKey;
use crate::store::{KeyError, Store};

pub use export::{ExportSummary, export};
pub use restore::{Restored, WholeBackup, fill, finish, is_filled, read};

/// Tables whose rows end with their process, their request or their tokens: a token that was revoked since would live again.
const LEFT_OUT: [&str; 6] =
    ["process", "command", "oauth_grant", "oauth_token", "event_ticket", "media_reservation"];

const BUFFER: usize = 1024 * 1024;

/// What a backup holds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    counts: Counts,
    has_media: bool,
    /// Files that a message refers to and the storage does not have.
    missing: u64,
}

/// Writes a backup to `path`, which must not exist: it appears under its name only when it is whole, with mode 0600.
pub async fn backup(
    path: &Path,
    store: &Store,
    media: Option<&Media>,
    key: &MasterKey,
) -> anyhow::Result<Summary> {
    if key.is_being_changed() {
        bail!("a backup holds one key: end the change of keys first, and unset WINDU_SECRET_KEY_OLD");
    }
    if !store.key_fits(key).await? {
        return Err(KeyError::Other.into());
    }
    let file = NewFile::create(path)?;
    let out = BufWriter::with_capacity(BUFFER, file.file());
    let summary = write(out, store, media, key).await.with_context(|| path.display().to_string())?;
    file.keep()?;
    Ok(summary)
}

async fn write(
    out: impl Write,
    store: &Store,
    media: Option<&Media>,
    key: &MasterKey,
) -> anyhow::Result<Summary> {
    let mut snapshot = store.db().snapshot().await?;
    let beginning = Beginning {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        migrations: snapshot.migrations().await?,
        tables: snapshot.tables().await?,
    };
    let mut writer = Writer::begin(out, &beginning)?;
    let mut stream = writer.stream("key");
    stream.write(key.reveal_base64().as_bytes())?;
    stream.end()?;
    let mut counts = Counts::default();
    for table in beginning.tables.iter().filter(|table| !LEFT_OUT.contains(&table.name.as_str())) {
        let mut stream = writer.stream(&format!("table/{}", table.name));
        let rows = snapshot.copy(table, |piece| stream.write(piece).map_err(anyhow::Error::from)).await?;
        stream.end()?;
        counts.add_rows(&table.name, rows);
    }
    let sequences = snapshot.sequences().await?;
    drop(snapshot);
    let mut missing = 0;
    if let Some(media) = media {
        (counts.files, missing) = write_media(&mut writer, store, media).await?;
    }
    let (mut out, counts) = writer.finish(sequences, counts, missing)?;
    out.flush()?;
    Ok(Summary { counts, has_media: media.is_some(), missing })
}

/// Every file that something refers to; those of the snapshot are among them, or were deleted since. Returns how many there
/// are, and how many the storage does not have.
async fn write_media<W: Write>(
    writer: &mut Writer<W>,
    store: &Store,
    media: &Media,
) -> anyhow::Result<(u64, u64)> {
    const PAGE: i64 = 1_000;
    let (mut files, mut missing, mut after) = (0, 0, None);
    loop {
        let page = store.referred_blobs(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((files, missing)) };
        after = Some(*last);
        for hash in &page {
            let Some(mut bytes) = stored(media, hash).await? else {
                missing += 1;
                continue;
            };
            let mut stream = writer.stream(&format!("media/{hash}"));
            while let Some(piece) = bytes.try_next().await? {
                stream.write(&piece)?;
            }
            stream.end()?;
            files += 1;
        }
    }
}

/// What is to be said of a backup that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Files that the storage did not have when it was written.
    pub missing: u64,
}

/// Reads all of a backup.
///
/// # Errors
/// When it is not whole, or has no key or not that of its tables.
pub fn verify(path: &Path) -> anyhow::Result<Verified> {
    Ok(Verified { missing: read(path)?.end.missing })
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let unreadable = || format!("{}: cannot be read", path.display());
    // To open a pipe is to wait for its other end.
    if !path.metadata().with_context(unreadable)?.is_file() {
        bail!("{}: it is no file", path.display());
    }
    let file = File::open(path).with_context(unreadable)?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

/// The bytes of a file; `None` when the storage does not have it.
async fn stored(media: &Media, hash: &BlobHash) -> Result<Option<ByteStream>, MediaError> {
    match media.stream(hash, None).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(MediaError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, and the key", self.counts)?;
        if !self.has_media {
            write!(formatter, "; no media")?;
        }
        if self.missing > 0 {
            write!(formatter, "; {} files are missing in the storage", self.missing)?;
        }
        Ok(())
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("whole")?;
        write_missing(self.missing, formatter)
    }
}

/// What was missing when a backup was written; nothing for a complete one.
fn write_missing(files: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    if files == 0 { Ok(()) } else { write!(formatter, "; {files} files were missing in the storage") }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { users, accounts, messages, files, bytes } = *self;
        write!(formatter, "{users} users, {accounts} accounts, {messages} messages, {files} files, ")?;
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
        let of = |unit: u64| bytes as f64 / unit as f64;
        match bytes {
            0..1_048_576 => write!(formatter, "{:.1} KiB", of(1 << 10)),
            1_048_576..1_073_741_824 => write!(formatter, "{:.1} MiB", of(1 << 20)),
            _ => write!(formatter, "{:.1} GiB", of(1 << 30)),
        }
    }
}
