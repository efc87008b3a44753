//! The sender `log`: codes go to the operator, not to phones. Never through tracing, whose lines may be forwarded.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;

use super::delivery::{Delivery, SendError};
use crate::clock;
use crate::config::LogTarget;

/// Writes to the terminal, or to a file with mode 0600.
pub struct LogSender {
    target: LogTarget,
}

impl LogSender {
    pub fn new(target: LogTarget) -> Self {
        Self { target }
    }

    /// The same for every process with these settings, whether this one has a terminal or not.
    pub fn destination(&self) -> String {
        format!("to the terminal of the server, or to {} when it has none", self.target.file.display())
    }

    /// Writes one line: time, number, method, code.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        let Delivery { number, code, method } = delivery;
        let time = clock::now().format("%Y-%m-%dT%H:%M:%S");
        let line = format!("{time} {} code for {number}: {}\n", method.as_str(), code.digits());
        let written = if self.target.terminal {
            // In bold (ECMA-48, 8.3.117), to be found among the lines of the log.
            writeln!(io::stdout().lock(), "\x1b[1m{}\x1b[0m", line.trim_end())
        } else {
            append(&self.target.file, &line).await
        };
        written.map_err(|error| SendError::failed(format!("the code could not be written: {error}")))
    }
}

/// One write per line: several programs may share the file.
async fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    if file.metadata().await?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).await?;
    }
    file.write_all(line.as_bytes()).await?;
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::Method;
    use crate::verification::code::Code;

    #[tokio::test]
    async fn a_file_gets_one_line_per_code_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.log");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let sender = LogSender::new(LogTarget { terminal: false, file: path.clone() });
        let (number, code) = ("15551230000".parse().unwrap(), Code::random());
        for method in [Method::Sms, Method::Voice] {
            sender.send(&Delivery { number: &number, code: &code, method }).await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let ends: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(' ')).map(|(_, end)| end).collect();
        let digits = code.digits();
        let expected = ["sms", "voice"].map(|method| format!("{method} code for 15551230000: {digits}"));
        assert_eq!(ends, expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_destination_is_that_of_the_server_and_not_of_a_command_in_a_terminal() {
        for terminal in [true, false] {
            let sender = LogSender::new(LogTarget { terminal, file: "/data/codes.log".into() });
            assert_eq!(
                sender.destination(),
                "to the terminal of the server, or to /data/codes.log when it has none"
            );
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_a_failure() {
        let file = "/nowhere/at/all/codes.log".into();
        let sender = LogSender::new(LogTarget { terminal: false, file });
        let number = "15551230000".parse().unwrap();
        let delivery = Delivery { number: &number, code: &Code::random(), method: Method::Sms };
        assert!(matches!(sender.send(&delivery).await, Err(SendError::Failed { .. })));
    }
}
