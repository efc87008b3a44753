//! The settings of the audit.

use std::time::Duration;

use super::{ConfigError, Env};

const RETENTION: &str = "WINDU_AUDIT_RETENTION";

/// `WINDU_AUDIT_RETENTION`.
#[derive(Clone, Copy, Debug)]
pub struct AuditSettings {
    /// How long administrative acts are stored.
    pub retention: Duration,
}

impl AuditSettings {
    /// The variables that [`AuditSettings::read`] reads.
    pub const NAMES: &[&str] = &[RETENTION];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { retention: env.duration(RETENTION, Duration::from_hours(400 * 24))? })
    }
}
