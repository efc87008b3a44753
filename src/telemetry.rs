//! The log: tracing to the standard error stream. Standard output is for what a person must see.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Env, LogFormat, LogSettings};

/// Starts the log of this process.
///
/// # Errors
/// When a setting cannot be used.
pub fn start(env: &Env) -> Result<(), ConfigError> {
    let settings = LogSettings::read(env)?;
    let filter = EnvFilter::try_new(&settings.filter).map_err(|_| {
        ConfigError::new("WINDU_LOG", "a level such as info, or directives such as windu=debug,info")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails only when a log was started before: then that one stays.
    let _ = match settings.format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}
