//! `windu backup` and `windu restore`.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{anyhow, bail};

use super::{Database, Settings, open};
use crate::backup;
use crate::config::{Env, Missing, data_dir, restore_key};
use crate::lifecycle::Lifecycle;
use crate::store::Store;

/// `windu backup FILE`: writes everything to a new file; prints what it holds.
pub async fn backup(
    env: &Env,
    path: &Path,
    with_media: bool,
    record: impl AsyncFnOnce(&Store, bool),
) -> anyhow::Result<()> {
    let database = open(env).await?;
    let media = database.media("");
    let lifecycle = Lifecycle::default();
    lifecycle.listen_for_signals()?;
    // What is written so far is removed when it is dropped.
    let written = tokio::select! {
        written = backup::backup(path, &database.store, with_media.then_some(&media), &database.keys) => written,
        () = lifecycle.soft().cancelled() => Err(anyhow!("stopped: nothing is written")),
    };
    record(&database.store, written.is_ok()).await;
    database.close(true).await;
    Ok(writeln!(io::stdout(), "{}: {}", path.display(), written?)?)
}

/// `windu backup --verify FILE`.
pub fn verify_backup(path: &Path) -> anyhow::Result<()> {
    let verified = backup::verify(path)?;
    Ok(writeln!(io::stdout(), "{}: {verified}", path.display())?)
}

/// `windu restore FILE`: into an empty database and data folder.
pub async fn restore(env: &Env, path: &Path, record: impl AsyncFnOnce(&Store)) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    // Reads all of it: nothing is changed by a backup that is not whole.
    let whole = backup::read(path)?;
    restore_key(env, &settings.database, &whole.key)?;
    let database = Database::open(env, &settings, Missing::Create).await?;
    let scratch = &data_dir::make(&settings.database.data_dir)?;
    let restored = async {
        database.store.db().connect_once().await?;
        let store = &database.store;
        if !store.is_in_use().await? {
            backup::fill(path, store, &database.media(""), scratch).await?;
        } else if !backup::is_filled(&whole, store).await? {
            bail!(
                "there are users in the database {} already: restore into an empty one",
                store.db().location()
            );
        }
        let restored = backup::finish(&whole, store).await?;
        record(store).await;
        // Before it is forgotten: a command that was killed without a report can be repeated.
        writeln!(io::stdout(), "{restored}")?;
        Ok(store.forget_restoration().await?)
    }
    .await;
    database.close(true).await;
    restored
}
