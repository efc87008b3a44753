//! Typing notifications, sent as hints from any process to the one that runs the account's session.

use std::convert::Infallible;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Sessions;
use super::fault::Fault;
use super::session::Session;
use super::timeouts::bounded;
use crate::domain::{AccountId, Typing};
use crate::store::topic;
use crate::upstream::{Address, Connection};

/// A request to show typing, as it travels between processes.
#[derive(Serialize, Deserialize)]
struct TypingRequest {
    to: String,
    composing: bool,
}

impl Sessions {
    /// Shows a person or a group that the account is typing, if its session is online. Lost otherwise.
    pub fn typing(&self, account: AccountId, to: &Address, typing: Typing) {
        let request = TypingRequest { to: to.0.clone(), composing: typing == Typing::Composing };
        if let Ok(body) = serde_json::to_string(&request) {
            self.store.notifications().hint(topic::work(account), body);
        }
    }
}

impl Session {
    /// Shows typing as long as the connection lasts.
    pub(super) async fn show_typing(&self, connection: &Arc<dyn Connection>) -> Result<Infallible, Fault> {
        let mut hints = self.store.notifications().hints(topic::work(self.lease.account));
        loop {
            let hint = hints.next().await;
            let Ok(request) = serde_json::from_str::<TypingRequest>(&hint) else { continue };
            let typing = if request.composing { Typing::Composing } else { Typing::Paused };
            let to = Address(request.to);
            if let Err(failure) = bounded(self.timeouts.step, connection.typing(&to, typing)).await? {
                tracing::debug!(account = %self.lease.account, %failure, "typing was not shown");
            }
        }
    }
}
