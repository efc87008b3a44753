//! The settings of networks: their names, and the time to live of queued messages.

use std::time::Duration;

use super::{ConfigError, Env, XmppSettings};

/// The networks that this program supports.
pub const KNOWN: &[&str] = &["local", "xmpp"];

/// `WINDU_NETWORKS`, `WINDU_SEND_TTL`, and the settings of the networks themselves.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// The first one is create-account's default.
    pub networks: Vec<String>,
    /// The time to live of a queued message; then it fails as expired.
    pub send_ttl: Duration,
    /// Set if `xmpp` is one of the networks.
    pub xmpp: Option<XmppSettings>,
}

impl NetworkSettings {
    /// The variables that [`NetworkSettings::read`] reads.
    pub const NAMES: &[&str] = &["WINDU_NETWORKS", "WINDU_SEND_TTL"];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let mut networks: Vec<String> = env.list("WINDU_NETWORKS").into_iter().map(str::to_owned).collect();
        if networks.is_empty() {
            networks.push("local".to_owned());
        }
        if networks.iter().any(|network| !KNOWN.contains(&network.as_str())) {
            let known = KNOWN.join(", ");
            return Err(ConfigError::new(
                "WINDU_NETWORKS",
                format!("the networks of this program are: {known}"),
            ));
        }
        let send_ttl = env.duration("WINDU_SEND_TTL", Duration::from_hours(24))?;
        let has_xmpp = networks.iter().any(|network| network == "xmpp");
        let xmpp = if has_xmpp { Some(XmppSettings::read(env)?) } else { None };
        Ok(Self { networks, send_ttl, xmpp })
    }
}
