//! Restoring a backup into an empty deployment.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::archive::{self, Beginning, Counts, End};
use super::{open, write_missing};
use crate::db::DbError;
use crate::db::copy::CopiedTable;
use crate::domain::BlobHash;
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::store::{KEY_FINGERPRINT, Store};

/// The table that is empty in an empty deployment.
const USERS: &str = "windu_user";
/// The table with facts about the whole deployment.
const DEPLOYMENT: &str = "deployment";
/// Parts that may wait for the database.
const WAITING: usize = 4;

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    counts: Counts,
    epoch: String,
    /// Files that the storage did not have when the backup was written.
    missing: u64,
}

impl fmt::Display for Restored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, epoch, missing } = self;
        write!(formatter, "restored: {counts}. Event epoch: {epoch}. All tokens ended")?;
        write_missing(*missing, formatter)
    }
}

struct Part {
    stream: String,
    bytes: Vec<u8>,
}

/// A backup that is whole.
pub struct WholeBackup {
    /// Its master key, in base64.
    pub key: String,
    pub(super) end: End,
}

/// Reads all of a backup.
///
/// # Errors
/// When the backup is not whole, or its tables were used with another key: then nothing of it may be used.
pub fn read(path: &Path) -> anyhow::Result<WholeBackup> {
    let (mut key, mut deployment, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    let begin = |beginning: &Beginning| {
        let mut tables = beginning.tables.iter();
        columns =
            tables.find(|table| table.name == DEPLOYMENT).map_or_else(Vec::new, |it| it.columns.clone());
        Ok(())
    };
    let keep = |stream: &str, bytes: &[u8]| {
        if stream == "key" {
            key.extend_from_slice(bytes);
        } else if stream.strip_prefix("table/") == Some(DEPLOYMENT) {
            deployment.extend_from_slice(bytes);
        }
        Ok(())
    };
    let end = archive::read(open(path)?, begin, keep).with_context(|| path.display().to_string())?;
    let text = String::from_utf8(key).context("the backup's key is damaged")?;
    let key =
        MasterKey::from_base64(&text, None).map_err(|_| anyhow!("the backup has no key that can be used"))?;
    if fingerprint(&columns, &String::from_utf8_lossy(&deployment)).is_some_and(|of| of != key.fingerprint())
    {
        bail!("{}: its key is not the one that its tables were used with", path.display());
    }
    Ok(WholeBackup { key: text, end })
}

/// The fingerprint of the key that tables were used with, in the rows of [`DEPLOYMENT`] as text of a copy; `None` when they
/// were used with none. It has nothing that such a text escapes.
fn fingerprint<'a>(columns: &[String], rows: &'a str) -> Option<&'a str> {
    let at = |name| columns.iter().position(|column| column == name);
    let (key, value) = (at("key")?, at("value")?);
    let mut rows = rows.lines().map(|row| row.split('\t').collect::<Vec<_>>());
    rows.find(|row| row.get(key) == Some(&KEY_FINGERPRINT))?.get(value).copied()
}

/// Whether the database is filled with this backup already, by a restoration that was killed before [`finish`].
pub async fn is_filled(backup: &WholeBackup, store: &Store) -> Result<bool, DbError> {
    Ok(store.restoration().await?.as_ref() == Some(&backup.end.id))
}

/// Ends a restoration whose database is filled.
pub async fn finish(backup: &WholeBackup, store: &Store) -> anyhow::Result<Restored> {
    store.db().migrate().await?;
    let epoch = store.epoch().await?;
    Ok(Restored { counts: backup.end.counts, epoch, missing: backup.end.missing })
}

/// Fills a database without users with a backup that is whole ([`read`]). Files go into the storage first; the database
/// changes at once, at the end. Each file is written to the folder `scratch` first.
pub async fn fill(path: &Path, store: &Store, media: &Media, scratch: &Path) -> anyhow::Result<()> {
    let (beginnings, beginning) = tokio::sync::oneshot::channel();
    let (parts, mut received) = mpsc::channel::<Part>(WAITING);
    let file = open(path)?;
    let reading = spawn_blocking(move || {
        archive::read(
            file,
            |beginning| {
                let tables: BTreeMap<String, CopiedTable> =
                    beginning.tables.iter().map(|table| (table.name.clone(), table.clone())).collect();
                let _ = beginnings.send((beginning.migrations.clone(), tables));
                Ok(())
            },
            |stream, bytes| {
                let part = Part { stream: stream.to_owned(), bytes: bytes.to_vec() };
                parts.blocking_send(part).context("the restoration has ended")
            },
        )
    });
    let filled = async {
        let (migrations, tables) = beginning.await.context("it has no beginning")?;
        store.db().migrate_to(&migrations).await?;
        let mut filling = store
            .db()
            .fill(USERS)
            .await?
            .context("somebody else restores into this database, or a server has made a user in it")?;
        let mut counts = Counts::default();
        let mut next = received.recv().await;
        while let Some(part) = next {
            if let Some(name) = part.stream.strip_prefix("table/") {
                let table = tables.get(name).with_context(|| format!("{name} is no table of the backup"))?;
                let mut rows = filling.table(table).await?;
                rows.write(&part.bytes).await?;
                loop {
                    next = received.recv().await;
                    match &next {
                        Some(more) if more.stream == part.stream => rows.write(&more.bytes).await?,
                        _ => break,
                    }
                }
                counts.add_rows(name, rows.end().await?);
            } else if let Some(name) = part.stream.strip_prefix("media/") {
                // Without a name, so that nothing is left of it after a kill either.
                let mut file = tempfile::tempfile_in(scratch)?;
                file.write_all(&part.bytes)?;
                loop {
                    next = received.recv().await;
                    match &next {
                        Some(more) if more.stream == part.stream => file.write_all(&more.bytes)?,
                        _ => break,
                    }
                }
                let hash: BlobHash = name.parse().with_context(|| format!("{name} is no hash"))?;
                media.restore(&hash, file).await?;
                counts.files += 1;
            } else {
                next = received.recv().await;
            }
        }
        Ok::<_, anyhow::Error>((filling, counts))
    }
    .await;
    let (mut filling, counts) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            received.close();
            // It ends at its next part.
            let _ = reading.await;
            return Err(error);
        }
    };
    let end = reading.await?.with_context(|| path.display().to_string())?;
    let counts = Counts { bytes: end.counts.bytes, ..counts };
    if counts != end.counts {
        bail!("{}: {counts} of {} could be restored; nothing is", path.display(), end.counts);
    }
    store.begin_epoch(filling.connection()).await?;
    store.note_restoration(filling.connection(), &end.id).await?;
    Ok(filling.finish(&end.sequences).await?)
}
