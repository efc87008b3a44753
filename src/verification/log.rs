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

    /// `to this terminal` or `to FILE`.
    pub fn destination(&self) -> String {
        match &self.target {
            LogTarget::Terminal => "to this terminal".to_owned(),
            LogTarget::File(path) => format!("to {}", path.display()),
        }
    }

    /// Writes one line: time, number, method, code.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Result<(), SendError> {
        let Delivery { number, code, method } = delivery;
        let time = clock::now().format("%Y-%m-%dT%H:%M:%S");
        let line = format!("{time} {} code for {number}: {}\n", method.as_str(), code.digits());
        let written = match &self.target {
            // In bold (ECMA-48, 8.3.117), to be found among the lines of the log.
            LogTarget::Terminal => writeln!(io::stdout().lock(), "\x1b[1m{}\x1b[0m", line.trim_end()),
            LogTarget::File(path) => append(path, &line).await,
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
        let sender = LogSender::new(LogTarget::File(path.clone()));
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

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_a_failure() {
        let sender = LogSender::new(LogTarget::File("/nowhere/at/all/codes.log".into()));
        let number = "15551230000".parse().unwrap();
        let delivery = Delivery { number: &number, code: &Code::random(), method: Method::Sms };
        assert!(matches!(sender.send(&delivery).await, Err(SendError::Failed { .. })));
    }
}
