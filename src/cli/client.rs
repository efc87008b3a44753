//! `windu client`: commands on OAuth clients. They work beside a running server.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::announce_revocation;
use crate::app::audit::Intent;
use crate::secrets;
use crate::store::{ClientListing, Store};

const LONGEST_NAME: usize = 150;

/// A `name` may also be a client id.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Create a client that may request the scopes read and write; prints its id
    Create {
        /// The client's name
        name: String,
        /// With a secret, which is shown once: for programs that can protect one, such as a server
        #[arg(long)]
        confidential: bool,
    },
    /// List all clients
    List,
    /// Replace the secret of a confidential client by a new one, which is shown once; tokens stay valid
    Rotate {
        /// The client's name or id
        name: String,
    },
    /// Disable a client and revoke its tokens
    Disable {
        /// The client's name or id
        name: String,
    },
    /// Enable a disabled client again
    Enable {
        /// The client's name or id
        name: String,
    },
    /// Delete a client and revoke its tokens
    Delete {
        /// The client's name or id
        name: String,
    },
}

impl ClientCommand {
    /// What it does, for the audit.
    pub fn intent(&self) -> Intent {
        let (action, name) = match self {
            Self::Create { name, .. } => ("client.create", name),
            Self::List => return None,
            Self::Rotate { name } => ("client.rotate", name),
            Self::Disable { name } => ("client.disable", name),
            Self::Enable { name } => ("client.enable", name),
            Self::Delete { name } => ("client.delete", name),
        };
        Some((action, name.clone()))
    }
}

pub async fn run(command: ClientCommand, store: &Store) -> anyhow::Result<()> {
    match command {
        ClientCommand::Create { name, confidential } => create(store, &name, confidential).await,
        ClientCommand::List => list(store).await,
        ClientCommand::Rotate { name } => {
            let client = find(store, &name).await?;
            let secret = secrets::random_token();
            if !store.rotate_client(&client.client_id, &secrets::sha256(secret.as_bytes())).await? {
                bail!("{name:?} is a public client: it has no secret");
            }
            Ok(writeln!(io::stdout(), "client_secret: {secret}")?)
        }
        ClientCommand::Disable { name } => {
            let client = find(store, &name).await?;
            require(store.disable_client(&client.client_id).await?, &name)?;
            announce_revocation(store);
            Ok(())
        }
        ClientCommand::Enable { name } => {
            let client = find(store, &name).await?;
            require(store.enable_client(&client.client_id).await?, &name)
        }
        ClientCommand::Delete { name } => {
            let client = find(store, &name).await?;
            require(store.delete_client(&client.client_id).await?, &name)?;
            announce_revocation(store);
            Ok(())
        }
    }
}

async fn create(store: &Store, name: &str, confidential: bool) -> anyhow::Result<()> {
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.trim() != name || name.chars().any(char::is_control) {
        bail!("a client's name has 1 to 150 characters, no control characters, and no spaces at its ends");
    }
    let client_id = secrets::random_id();
    let secret = confidential.then(secrets::random_token);
    let secret_hash = secret.as_ref().map(|secret| secrets::sha256(secret.as_bytes()));
    if !store.create_client(&client_id, name, secret_hash.as_ref()).await? {
        bail!("there is a client {name:?} already");
    }
    let mut out = io::stdout();
    writeln!(out, "client_id: {client_id}")?;
    if let Some(secret) = secret {
        writeln!(out, "client_secret: {secret}")?;
    }
    Ok(())
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut lines = vec!["name\tclient_id\tkind\tscope\tcreated\tstate".to_owned()];
    for client in store.clients().await? {
        let kind = if client.confidential { "confidential" } else { "public" };
        let state = if client.disabled_at.is_some() { "disabled" } else { "enabled" };
        let created = client.created_at.format("%FT%T");
        let ClientListing { name, client_id, scope, .. } = client;
        lines.push(format!("{name}\t{client_id}\t{kind}\t{scope}\t{created}\t{state}"));
    }
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

async fn find(store: &Store, name: &str) -> anyhow::Result<ClientListing> {
    store.find_client(name).await?.with_context(|| format!("there is no client {name:?}"))
}

fn require(found: bool, name: &str) -> anyhow::Result<()> {
    if !found {
        bail!("there is no client {name:?} any more");
    }
    Ok(())
}
