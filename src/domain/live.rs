//! What an account hears and nobody stores, as it travels between processes.

use serde::{Deserialize, Serialize};

/// News of one account that are worth nothing a second later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNews {
    /// The id of the account's row.
    pub account: i64,
    /// The address of the person on the account's network.
    pub from: String,
    /// The address of the group in which the person is typing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub what: LiveKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveKind {
    Typing,
    Paused,
    /// The presence changed; it is stored.
    Presence,
}

impl LiveKind {
    /// The name of a state of typing.
    #[must_use]
    pub fn typing_state(self) -> Option<&'static str> {
        match self {
            Self::Typing => Some("typing"),
            Self::Paused => Some("paused"),
            Self::Presence => None,
        }
    }
}
