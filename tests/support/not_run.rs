//! Reports of tests that cannot run on this machine; `tests/run` repeats them at its end.

use std::io::Write as _;

/// Prints that a test did not run, and why. Directly to standard output, because the test harness hides the output of a
/// passing test.
pub fn not_run(what: &str) {
    writeln!(std::io::stdout(), "\nnot run: {what}").expect("standard output");
}
