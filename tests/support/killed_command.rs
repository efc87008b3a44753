//! A command that is killed at one moment after another.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::wait::{DEADLINE, wait_until};

/// Runs the command again and again, and kills each run a little later than the one before (SIGKILL), until one ends by
/// itself, or was killed after its report. Returns how many were killed without one, and the output of the last one. `after`
/// is called after each kill.
///
/// # Panics
/// When the last one failed.
pub fn kill_until_it_ends(
    command: impl Fn() -> Command,
    first: Duration,
    mut after: impl FnMut(),
) -> (usize, Output) {
    let mut time = first;
    for kills in 0.. {
        let mut child = command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let begun = Instant::now();
        let ended = wait_until("its end, or the moment of its kill", DEADLINE * 4, || {
            let status = child.try_wait().expect("a child");
            (status.is_some() || begun.elapsed() >= time).then_some(status.is_some())
        });
        if ended {
            let output = child.wait_with_output().expect("its output");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "after {kills} kills: {errors}");
            return (kills, output);
        }
        child.kill().expect("killed");
        let output = child.wait_with_output().expect("its output");
        after();
        if !output.stdout.is_empty() {
            return (kills, output);
        }
        time += time / 8;
    }
    unreachable!("a command that never ends")
}
