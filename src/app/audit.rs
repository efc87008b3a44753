//! How the acts of the person who runs this program are recorded.

use nix::unistd::{Uid, User};

use crate::store::Store;
use crate::telemetry::chain;

/// What a command does, and on what; `None` for one that only reads.
pub type Intent = Option<(&'static str, String)>;

/// The person at the terminal, or the user that the server runs as, as the audit names them.
#[must_use]
pub fn actor() -> String {
    let name = User::from_uid(Uid::current()).ok().flatten().map(|user| user.name);
    format!("cli:{}", name.unwrap_or_else(|| Uid::current().to_string()))
}

/// Records what was done. A record that cannot be written undoes nothing; the log says so.
pub async fn record(store: &Store, intent: Intent, done: bool) {
    let Some((action, target)) = intent else { return };
    if let Err(error) = store.record_act(&actor(), action, &target, done).await {
        tracing::warn!(action, error = chain(&error), "the audit could not be written");
    }
}
