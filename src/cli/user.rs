//! `windu user`: the logins of this server. Works beside a running one.

use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::announce;
use crate::domain::{NewPassword, UserName};
use crate::oauth::hash_password;
use crate::secrets;
use crate::sessions::Sessions;
use crate::store::Store;

/// More bytes than any password has.
const LONGEST_INPUT: u64 = 16 * 1_024;

/// What can be done to users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user, with a random password that is shown once
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
    /// Stop a user from signing in and revoke the tokens
    Disable {
        /// The user's name
        name: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// The user's name
        name: String,
    },
    /// Delete a user with everything that belongs to it: tokens, accounts, messages
    Delete {
        /// The user's name
        name: String,
    },
}

/// Does it.
///
/// # Errors
/// When there is no such user, the name is taken, a password does not fit, or the database is away.
pub async fn run(command: UserCommand, store: &Store, sessions: &Sessions) -> anyhow::Result<()> {
    match command {
        UserCommand::Create { name, password_stdin } => {
            let name = UserName::parse(&name)?;
            let (password, made_up) = password(password_stdin)?;
            if store.create_user(&name, &hash_password(&password).await?).await?.is_none() {
                bail!("there is a user {name} already");
            }
            show(&password, made_up)
        }
        UserCommand::List => list(store).await,
        UserCommand::SetPassword { name, password_stdin } => {
            let (password, made_up) = password(password_stdin)?;
            known(store.set_password(&name, &hash_password(&password).await?).await?, &name)?;
            announce(store);
            show(&password, made_up)
        }
        UserCommand::Disable { name } => {
            known(store.disable_user(&name).await?, &name)?;
            announce(store);
            Ok(())
        }
        UserCommand::Enable { name } => known(store.enable_user(&name).await?, &name),
        UserCommand::Delete { name } => {
            let Some(user) = store.user_by_name(&name).await? else { return known(false, &name) };
            // No new account while the old ones leave their networks.
            store.disable_user(&name).await?;
            announce(store);
            sessions.remove_all(user.id).await.context("an account could not leave its network")?;
            known(store.delete_user(&name).await?, &name)
        }
    }
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut lines = vec!["name\tcreated\tstate".to_owned()];
    for user in store.users().await? {
        let state = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
        lines.push(format!("{}\t{}\t{state}", user.name, user.created_at.format("%FT%T")));
    }
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn known(found: bool, name: &str) -> anyhow::Result<()> {
    if !found {
        bail!("there is no user {name:?}");
    }
    Ok(())
}

/// The password, and whether it was made up here.
fn password(from_stdin: bool) -> anyhow::Result<(NewPassword, bool)> {
    if !from_stdin {
        return Ok((NewPassword::parse(secrets::random_id())?, true));
    }
    let mut text = String::new();
    io::stdin()
        .take(LONGEST_INPUT)
        .read_to_string(&mut text)
        .context("the password on standard input is no UTF-8 text")?;
    Ok((NewPassword::parse(one_line(&text)?.to_owned())?, false))
}

/// The text without the line's end that `echo` or an editor adds.
fn one_line(text: &str) -> anyhow::Result<&str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\0']) {
        bail!("the password on standard input must be one line without NUL");
    }
    Ok(line)
}

/// A password that was made up is shown this once.
fn show(password: &NewPassword, made_up: bool) -> anyhow::Result<()> {
    if made_up {
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
