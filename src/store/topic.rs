//! The topics of the product's notifications, see [`crate::db::Notifications`]. Each kind has a letter of its own; `m` is
//! the mailboxes of the network `local`.

use crate::db::{Kind, Topic};
use crate::domain::{AccountId, CommandId, CounterId, WebhookId};

/// An account's session has something to send to its network.
#[must_use]
pub fn work(account: AccountId) -> Topic {
    Topic::of_row('w', account.0)
}

/// An account's session has commands to answer, or has lost its account.
#[must_use]
pub fn commands(account: AccountId) -> Topic {
    Topic::of_row('c', account.0)
}

/// An account's session has files to fetch. Only the session's own process is notified.
#[must_use]
pub fn files(account: AccountId) -> Topic {
    Topic::of_row('f', account.0)
}

/// A command was answered.
#[must_use]
pub fn answer(command: CommandId) -> Topic {
    Topic::of_row('a', command.0)
}

/// An account's session changed its state.
#[must_use]
pub fn session(account: AccountId) -> Topic {
    Topic::of_row('s', account.0)
}

/// Accounts were registered, removed or handed over.
#[must_use]
pub fn accounts() -> Topic {
    Topic::single('r')
}

/// The journal of a number grew.
#[must_use]
pub fn journal(counter: CounterId) -> Topic {
    Topic::of_row(JOURNALS, counter.0)
}

/// The kind of [`journal`].
pub const JOURNALS: Kind = 'j';

/// What accounts hear and nobody stores: who is typing, who is online.
#[must_use]
pub fn live() -> Topic {
    Topic::single('v')
}

/// Tokens were revoked.
#[must_use]
pub fn tokens() -> Topic {
    Topic::single('t')
}

/// Work that is done in slices was recorded.
#[must_use]
pub fn slices() -> Topic {
    Topic::single('l')
}

/// A webhook has another setting, or events to send again.
#[must_use]
pub fn webhook(webhook: WebhookId) -> Topic {
    Topic::of_row('k', webhook.0)
}

/// Webhooks were made, changed or given back by a process.
#[must_use]
pub fn webhooks() -> Topic {
    Topic::single('h')
}
