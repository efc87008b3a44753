//! `windu account`: commands on the accounts of this server. They work beside a running one.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use crate::app::audit::Intent;
use crate::domain::{PhoneNumber, normalised};
use crate::sessions::Sessions;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// List all accounts, or those of one user
    List {
        /// The user's name
        user: Option<String>,
    },
    /// Take a number off its network and delete the account with all its data
    Remove {
        /// The name of the account's user
        user: String,
        /// The number
        number: String,
        /// Delete it even if its network cannot be reached or is not configured any more
        #[arg(long)]
        force: bool,
    },
}

impl AccountCommand {
    /// What it does, for the audit; a number is not written there.
    pub fn intent(&self) -> Intent {
        match self {
            Self::List { .. } => None,
            // With the arguments in the wrong order the user is a number.
            Self::Remove { user, .. } if user.parse::<PhoneNumber>().is_ok() => {
                Some(("user.remove_account", String::new()))
            }
            Self::Remove { user, .. } => Some(("user.remove_account", normalised(user))),
        }
    }
}

pub async fn run(command: AccountCommand, store: &Store, sessions: &Sessions) -> anyhow::Result<()> {
    match command {
        AccountCommand::List { user } => list(store, user.as_deref()).await,
        AccountCommand::Remove { user, number, force } => {
            let number: PhoneNumber = match number.parse() {
                Err(_) if user.parse::<PhoneNumber>().is_ok() => {
                    bail!("the user's name comes before the number")
                }
                number => number?,
            };
            let Some(owner) = store.user_by_name(&user).await? else { bail!("there is no user {user:?}") };
            let Some(account) = store.account(owner.id, Some(&number)).await? else {
                bail!("{user} has no account {}", number.as_str());
            };
            let removed = sessions.remove(&account, force).await;
            removed.context("it could not leave its network; --force deletes it nevertheless")?;
            Ok(store.delete_all_removed().await?)
        }
    }
}

async fn list(store: &Store, wanted: Option<&str>) -> anyhow::Result<()> {
    let mut lines = vec!["user\taccount\tnetwork\tregistered\tsession".to_owned()];
    let mut found = wanted.is_none();
    for user in store.users().await? {
        if wanted.is_some_and(|wanted| wanted != user.name) {
            continue;
        }
        found = true;
        let Some(record) = store.user_by_name(&user.name).await? else { continue };
        for account in store.accounts(record.id).await? {
            lines.push(format!(
                "{}\t{}\t{}\t{}\t{}",
                user.name,
                account.number.as_str(),
                account.network,
                if account.is_registered() { "yes" } else { "no" },
                account.session.name()
            ));
        }
    }
    if !found {
        bail!("there is no user {:?}", wanted.unwrap_or_default());
    }
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}
