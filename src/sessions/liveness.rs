//! The detection of dead processes of this machine, before their heartbeat is missed.
//!
//! A program that was killed and starts again would otherwise wait for its own old leases. A process is named by
//! host, process id and start time, and by the system it runs in (one boot, one namespace of process ids). For processes
//! of other systems the heartbeat decides.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// This process's name: `host:pid:start@system`. The host is for people.
#[must_use]
pub fn own_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let pid = std::process::id();
    let start = start_of(&pid.to_string()).unwrap_or_default();
    format!("{}:{pid}:{start}@{}", host.as_deref().unwrap_or("unknown"), system().unwrap_or_default())
}

/// Whether the process of this name has certainly ended.
pub(super) fn is_dead(name: &str) -> bool {
    match (parse(name), system()) {
        (Some((pid, start, of)), Some(here)) if of == here => {
            let ended = pid.parse().is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
            ended || start_of(pid).is_some_and(|now| now != start)
        }
        _ => false,
    }
}

fn parse(name: &str) -> Option<(&str, &str, &str)> {
    let (process, system) = name.rsplit_once('@')?;
    let (process, start) = process.rsplit_once(':')?;
    let (_, pid) = process.rsplit_once(':')?;
    Some((pid, start, system)).filter(|parts| !parts.1.is_empty() && !parts.2.is_empty())
}

/// The start of a process, in the kernel's ticks since the boot (proc_pid_stat(5), field 22).
fn start_of(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets that may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

/// One boot of one machine and one namespace of process ids; `None` where the kernel does not expose them.
fn system() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_certainly_ended_is_dead() {
        let own = own_name();
        assert!(!is_dead(&own), "{own}");
        let (process, system) = own.rsplit_once('@').expect("a system");
        let (host_and_pid, start) = process.rsplit_once(':').expect("a start");
        let (host, _) = host_and_pid.rsplit_once(':').expect("a process id");
        // The same process id with another start time: another process has it by now.
        assert!(is_dead(&format!("{host_and_pid}:{start}1@{system}")));
        let mut child = std::process::Command::new("true").spawn().expect("true");
        let pid = child.id();
        child.wait().expect("it ends");
        assert!(is_dead(&format!("{host}:{pid}:{start}@{system}")));
        for other in ["", "host:1", "host:1:2@elsewhere", &format!("{host}:x:{start}@{system}"), "a@b"] {
            assert!(!is_dead(other), "{other}");
        }
    }
}
