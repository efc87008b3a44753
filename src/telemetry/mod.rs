//! The log, and [`traces`]: tracing to the standard error stream. Standard output is for messages to the person at the terminal.
//!
//! Nothing secret is logged: no token, code, message text or query, and only the last three digits of a phone number.

pub mod traces;

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Env, LogFormat, LogSettings};

/// Libraries that log each attempt to connect or to send; the program says once what is wrong. A directive in `WINDU_LOG` wins.
const SILENT: &str = "async_nats=off,opentelemetry=off";

/// Starts the log of this process, and its traces, if a collector is set; the last ones are sent when these are dropped. Must
/// be called outside the asynchronous runtime.
pub fn start(env: &Env) -> Result<Option<traces::Traces>, ConfigError> {
    let terminal = std::io::stderr().is_terminal();
    let settings = LogSettings::read(env, terminal)?;
    let filter = EnvFilter::try_new(format!("{SILENT},{}", settings.filter)).map_err(|_| {
        ConfigError::new("WINDU_LOG", "a level such as info, or directives such as windu=debug,info")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when a log was started before, which is then used.
    let _ = match settings.format {
        LogFormat::Text => log.with_ansi(terminal).try_init(),
        // The list of spans says all that the current one does.
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    std::panic::set_hook(Box::new(log_panic));
    traces::start(env)
}

/// An error with its causes, for the log and for the operator. A cause that the error's own text ends with, as those of sqlx
/// do, is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            let _ = write!(text, ": {words}");
        }
        cause = error.source();
    }
    text
}

/// Logs a panic inside its span, so that a request's panic has the request's id.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no text)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(message, location, backtrace = %std::backtrace::Backtrace::capture(), "panic");
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Like an error of sqlx, whose text has that of its cause.
    #[derive(Debug, thiserror::Error)]
    #[error("error returned from database: {0}")]
    struct Refusal(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the database refused a query")]
    struct Refused(#[source] Refusal);

    #[test]
    fn a_chain_has_the_text_of_each_cause_once() {
        let error = Refused(Refusal(io::Error::other("no such column")));
        let expected = "the database refused a query: error returned from database: no such column";
        assert_eq!(chain(&error), expected);
        let error = anyhow::Error::new(error).context("a.backup");
        assert_eq!(chain(error.as_ref()), format!("a.backup: {expected}"));
    }
}
