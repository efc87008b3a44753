//! `windu user`: commands on the users of this server. They work beside a running one.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::announce_revocation;
use crate::app::audit::{self, Intent};
use crate::backup;
use crate::domain::{NewPassword, UserName, normalised};
use crate::oauth::hash_password;
use crate::secrets;
use crate::sessions::Sessions;
use crate::store::Store;

/// In bytes; longer than any password.
const LONGEST_INPUT: u64 = 16 * 1_024;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user, with a random password that is shown once
    Create {
        /// The name to sign in with
        name: String,
        /// Read the password from standard input instead: one line of 8 to 1,000 characters
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all users
    List,
    /// Set another password, random and shown once, and revoke the user's tokens
    SetPassword {
        /// The user's name
        name: String,
        /// Read the password from standard input instead: one line of 8 to 1,000 characters
        #[arg(long)]
        password_stdin: bool,
    },
    /// Disable a user and revoke the tokens
    Disable {
        /// The user's name
        name: String,
    },
    /// Enable a disabled user again
    Enable {
        /// The user's name
        name: String,
    },
    /// Write everything that belongs to a user to a new file: a tar of JSON lines and media, without secrets
    Export {
        /// The user's name
        name: String,
        /// A new file
        file: PathBuf,
    },
    /// Delete a user with everything that belongs to it: tokens, accounts, messages
    Delete {
        /// The user's name
        name: String,
    },
}

impl UserCommand {
    /// What it does, for the audit.
    pub fn intent(&self) -> Intent {
        let (action, name) = match self {
            Self::Create { name, .. } => ("user.create", name),
            Self::SetPassword { name, .. } => ("user.set_password", name),
            Self::Disable { name } => ("user.disable", name),
            Self::Enable { name } => ("user.enable", name),
            Self::Export { name, .. } => ("user.export", name),
            // A deletion is recorded under another name, together with it.
            Self::List | Self::Delete { .. } => return None,
        };
        Some((action, normalised(name)))
    }
}

pub async fn run(command: UserCommand, store: &Store, sessions: &Sessions) -> anyhow::Result<()> {
    match command {
        UserCommand::Create { name, password_stdin } => {
            let name = UserName::parse(&name)?;
            let (password, generated) = password(password_stdin)?;
            if store.create_user(&name, &hash_password(&password).await?).await?.is_none() {
                bail!("there is a user {name} already");
            }
            show(&password, generated)
        }
        UserCommand::List => list(store).await,
        UserCommand::SetPassword { name, password_stdin } => {
            let (password, generated) = password(password_stdin)?;
            let name = stored_name(store, &name).await?;
            require(store.set_password(&name, &hash_password(&password).await?).await?, &name)?;
            announce_revocation(store);
            show(&password, generated)
        }
        UserCommand::Disable { name } => {
            let name = stored_name(store, &name).await?;
            require(store.disable_user(&name).await?, &name)?;
            announce_revocation(store);
            Ok(())
        }
        UserCommand::Enable { name } => {
            let name = stored_name(store, &name).await?;
            require(store.enable_user(&name).await?, &name)
        }
        UserCommand::Export { name, file } => {
            let name = stored_name(store, &name).await?;
            let Some(user) = store.user_by_name(&name).await? else { return require(false, &name) };
            let summary = backup::export(&file, store, sessions.media(), user.id).await?;
            Ok(writeln!(io::stdout(), "{}: {summary}", file.display())?)
        }
        UserCommand::Delete { name } => {
            let name = stored_name(store, &name).await?;
            if let Err(error) = delete(&name, store, sessions).await {
                audit::record(store, Some(("user.delete", name)), false).await;
                return Err(error);
            }
            // What the user's last requests have made meanwhile.
            Ok(store.delete_all_removed().await?)
        }
    }
}

/// Deletes the user, and records that when it is done. The user goes last, so that a deletion that was killed can be repeated.
async fn delete(name: &str, store: &Store, sessions: &Sessions) -> anyhow::Result<()> {
    let Some(user) = store.user_by_name(name).await? else { bail!("there is no user {name:?}") };
    let counts = store.counts_of(user.id).await?;
    // No new account while the old ones leave their networks.
    store.disable_user(name).await?;
    announce_revocation(store);
    sessions.remove_all(user.id).await.context("an account could not leave its network")?;
    store.disown(user.id).await?;
    store.delete_all_removed().await?;
    require(store.delete_user(name, &audit::actor()).await?, name)?;
    let (accounts, messages) = (counts.accounts, counts.messages);
    Ok(writeln!(io::stdout(), "deleted {name}: {accounts} accounts, {messages} messages")?)
}

/// The name normalised, or as it is for a user who was created before names were normalised.
async fn stored_name(store: &Store, name: &str) -> anyhow::Result<String> {
    let normal = normalised(name);
    let is_older = normal != name && store.user_by_name(&normal).await?.is_none();
    Ok(if is_older { name.to_owned() } else { normal })
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut lines = vec!["name\tcreated\tstate".to_owned()];
    for user in store.users().await? {
        let state = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
        lines.push(format!("{}\t{}\t{state}", user.name, user.created_at.format("%FT%T")));
    }
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn require(found: bool, name: &str) -> anyhow::Result<()> {
    if !found {
        bail!("there is no user {name:?}");
    }
    Ok(())
}

/// The password, and whether it was generated here.
fn password(from_stdin: bool) -> anyhow::Result<(NewPassword, bool)> {
    if !from_stdin {
        return Ok((NewPassword::parse(&secrets::random_id())?, true));
    }
    let mut text = String::new();
    io::stdin()
        .take(LONGEST_INPUT)
        .read_to_string(&mut text)
        .context("the password on standard input is no UTF-8 text")?;
    Ok((NewPassword::parse(one_line(&text)?)?, false))
}

/// The text without the line feed that `echo` or an editor adds.
fn one_line(text: &str) -> anyhow::Result<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\0']) {
        bail!("the password on standard input must be one line without NUL");
    }
    Ok(line)
}

/// Prints a generated password, this once.
fn show(password: &NewPassword, generated: bool) -> anyhow::Result<()> {
    if generated {
        writeln!(io::stdout(), "password: {}", password.reveal())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (text, password) in [("secret", "secret"), (" a b \n", " a b "), ("a\r\n", "a"), ("", "")] {
            assert_eq!(one_line(text).expect("one line"), password);
        }
        for text in ["a\nb", "a\n\n", "a\0b"] {
            assert!(one_line(text).is_err(), "{text:?}");
        }
    }
}
