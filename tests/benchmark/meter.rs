//! CPU time and memory of the programs, from /proc.

use std::fs;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

use crate::support::cluster::postmaster;

/// CPU time, of user and system together.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// The server.
    pub server: Duration,
    /// PostgreSQL, all of its processes.
    pub postgres: Duration,
    /// This program: the load generator. The children that it waited for count too: pgbench.
    pub load: Duration,
}

impl Cpu {
    /// The CPU time up to now. `server`: its process id, if it runs.
    pub fn read(server: Option<u32>) -> Self {
        let postmaster = postmaster();
        let postgres = processes().filter(|process| process.id == postmaster || process.parent == postmaster);
        Self {
            server: server.and_then(Process::read).map(|process| process.own).unwrap_or_default(),
            postgres: postgres
                .map(|process| {
                    // Only the postmaster has relevant children: backends that have ended.
                    process.own + if process.id == postmaster { process.children } else { Duration::ZERO }
                })
                .sum(),
            load: Process::read(std::process::id())
                .map(|process| process.own + process.children)
                .unwrap_or_default(),
        }
    }

    /// Microseconds of the server, PostgreSQL and the load for each of `count`.
    pub fn each(&self, count: usize) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        [self.server, self.postgres, self.load].map(|time| time.as_secs_f64() * 1e6 / count as f64)
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            load: self.load.saturating_sub(earlier.load),
        }
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.server += other.server;
        self.postgres += other.postgres;
        self.load += other.load;
    }
}

/// The CPU time of a process up to now.
pub fn process(id: u32) -> Duration {
    Process::read(id).map(|process| process.own).unwrap_or_default()
}

struct Process {
    id: u32,
    parent: u32,
    own: Duration,
    /// CPU time of children that have ended and were waited for.
    children: Duration,
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may contain blanks. The fields after it begin with the third one of proc(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
        // Ticks of a hundredth of a second on every Linux.
        let ticks = |ticks: u64| Duration::from_millis(ticks * 10);
        Some(Self {
            id,
            parent: u32::try_from(number(4)?).ok()?,
            own: ticks(number(14)? + number(15)?),
            children: ticks(number(16)? + number(17)?),
        })
    }
}

fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?))
}
