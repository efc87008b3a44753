//! pgbench: the speed of PostgreSQL alone on this machine.

use std::process::Command;

use crate::support::cluster::binaries;
use crate::support::postgres::Database;

/// A script, run by many clients.
pub struct Pgbench<'a> {
    /// Where.
    pub database: &'a Database,
    /// In pgbench's language.
    pub script: &'a str,
    /// The number of concurrent clients.
    pub clients: usize,
    /// The script's variables at the start.
    pub variables: Vec<(&'a str, String)>,
}

impl Pgbench<'_> {
    /// Runs the script about `total` times; returns the transactions per second and their number.
    ///
    /// # Panics
    /// When one fails.
    pub fn run(&self, total: usize) -> (f64, usize) {
        let each = total.div_ceil(self.clients);
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let script = folder.path().join("script");
        std::fs::write(&script, self.script).expect("the script");
        let mut command = Command::new(binaries().join("pgbench"));
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2"]);
        command.arg(format!("--client={}", self.clients)).arg(format!("--transactions={each}"));
        for (name, value) in &self.variables {
            command.arg(format!("--define={name}={value}"));
        }
        let output =
            command.arg("--file").arg(script).arg(self.database.url()).env_clear().output().expect("pgbench");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")).expect("a rate");
        let rate = rate.split_whitespace().next().expect("a word").parse().expect("a number");
        (rate, each * self.clients)
    }
}
