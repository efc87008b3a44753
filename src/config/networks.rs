//! Which networks there are, and how long a message may wait for one.

use std::time::Duration;

use super::{ConfigError, Env};

/// The networks that this program brings.
pub const KNOWN: &[&str] = &["local"];

/// `WINDU_NETWORKS` and `WINDU_SEND_TTL`.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// The networks, the first being create-account's choice.
    pub networks: Vec<String>,
    /// How long a message may wait for the network before it fails as expired.
    pub send_ttl: Duration,
}

impl NetworkSettings {
    /// The variables that [`NetworkSettings::read`] reads.
    pub const NAMES: &[&str] = &["WINDU_NETWORKS", "WINDU_SEND_TTL"];

    /// Reads the settings.
    ///
    /// # Errors
    /// When a network is not known, or the time does not parse.
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
        Ok(Self { networks, send_ttl })
    }
}
