//! The export of one user: a tar of JSON lines, one file for each kind, and of the media under their hashes.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::path::Path;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;

use super::new_file::NewFile;
use super::{archive, stored};
use crate::domain::UserId;
use crate::media::Media;
use crate::store::{Exported, Store};

/// What an export holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportSummary {
    accounts: u64,
    contacts: u64,
    messages: u64,
    files: u64,
    /// Files that a message refers to and the storage does not have.
    missing: u64,
}

/// Writes what a user owns to `path`, which must not exist: it appears under its name only when it is whole, with mode
/// 0600.
pub async fn export(
    path: &Path,
    store: &Store,
    media: &Media,
    user: UserId,
) -> anyhow::Result<ExportSummary> {
    let file = NewFile::create(path)?;
    let summary = write(&file, store, media, user).await.with_context(|| path.display().to_string())?;
    file.keep()?;
    Ok(summary)
}

async fn write(
    file: &NewFile<'_>,
    store: &Store,
    media: &Media,
    user: UserId,
) -> anyhow::Result<ExportSummary> {
    let mut tar = tar::Builder::new(BufWriter::new(file.file()));
    let mut summary = ExportSummary::default();
    let mut snapshot = store.db().snapshot().await?;
    let accounts = store.exported_accounts(snapshot.connection(), user).await?;
    for (what, name) in Exported::ALL {
        let mut lines = BufWriter::new(tempfile::tempfile_in(file.folder)?);
        let mut count = 0;
        for account in &accounts {
            let write = |object: &str| Ok::<_, anyhow::Error>(writeln!(lines, "{object}")?);
            count += store.export(snapshot.connection(), *account, what, write).await?;
        }
        match what {
            Exported::Account => summary.accounts = count,
            Exported::Contacts => summary.contacts = count,
            Exported::Messages => summary.messages = count,
            Exported::Blocked | Exported::Events => {}
        }
        append(&mut tar, name, lines.into_inner().map_err(io::IntoInnerError::into_error)?)?;
    }
    let mut lines = BufWriter::new(tempfile::tempfile_in(file.folder)?);
    for webhook in store.exported_webhooks(snapshot.connection(), user).await? {
        writeln!(lines, "{webhook}")?;
    }
    append(&mut tar, "webhooks.jsonl", lines.into_inner().map_err(io::IntoInnerError::into_error)?)?;
    let mut hashes = BTreeSet::new();
    for account in &accounts {
        hashes.extend(store.exported_files(snapshot.connection(), *account).await?);
    }
    drop(snapshot);
    for hash in hashes {
        let Some(mut bytes) = stored(media, &hash).await? else {
            summary.missing += 1;
            continue;
        };
        let mut content = tempfile::tempfile_in(file.folder)?;
        while let Some(piece) = bytes.try_next().await? {
            content.write_all(&piece)?;
        }
        append(&mut tar, &format!("media/{hash}"), content)?;
        summary.files += 1;
    }
    tar.into_inner()?.flush()?;
    Ok(summary)
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, mut content: File) -> io::Result<()> {
    content.rewind()?;
    let mut header = archive::header(content.metadata()?.len());
    tar.append_data(&mut header, name, content)
}

impl fmt::Display for ExportSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, contacts, messages, files, missing } = *self;
        write!(formatter, "{accounts} accounts, {contacts} contacts, {messages} messages, {files} files")?;
        if missing > 0 { write!(formatter, "; {missing} files are missing in the storage") } else { Ok(()) }
    }
}
