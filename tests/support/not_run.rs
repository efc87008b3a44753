//! Reports of tests that cannot run on this machine, or that allow a network more than others; `tests/run` repeats them at
//! its end.

use std::io::Write as _;

/// Prints that a test did not run, and why. Directly to standard output, because the test harness hides the output of a
/// passing test.
pub fn not_run(what: &str) {
    writeln!(std::io::stdout(), "\nnot run: {what}").expect("standard output");
}

/// Prints what a network does in another way than a case of the conformance suite requires of others.
pub fn lossy(what: &str) {
    writeln!(std::io::stdout(), "\nlossy: {what}").expect("standard output");
}
