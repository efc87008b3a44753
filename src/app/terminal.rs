//! The message at the start, for the person at the terminal: the server's URL, the first user, and a request for a token.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::oauth::{FirstPassword, PUBLIC_CLIENT};

/// Announces that the server is ready. A generated password is shown this once: on the terminal, else in a file that only
/// this user can read; never in the log. The line with the URL of the listener is also for programs that start this one;
/// `public_url` is the one for callers.
pub fn announce(
    url: &str,
    public_url: &str,
    user: &str,
    first: Option<&FirstPassword>,
    data_dir: &Path,
) -> anyhow::Result<()> {
    let mut out = io::stdout();
    let password = match first {
        Some(first) if out.is_terminal() => {
            let password = first.password.reveal();
            writeln!(
                out,
                "The first user is {}; the password, shown this once, is \x1b[1m{password}\x1b[0m",
                first.user
            )?;
            format!("-d password={password}")
        }
        Some(first) => {
            let path = write_password(first, data_dir)?;
            writeln!(out, "The first user is {}; the password is in {}", first.user, path.display())?;
            format!("--data-urlencode password@{}", path.display())
        }
        None => "--data-urlencode password=YOUR_PASSWORD".to_owned(),
    };
    let user = first.map_or(user, |first| first.user.as_str());
    writeln!(
        out,
        "Windu listens on {url}\n\nA token for {user}:\n\n  curl -d grant_type=password -d username={user} \
         {password} -d client_id={PUBLIC_CLIENT} {public_url}/o/token/\n"
    )?;
    Ok(out.flush()?)
}

/// Writes the password to a file, without a line feed, so that curl can send the file.
fn write_password(first: &FirstPassword, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = data_dir.join("first-password");
    let write = || {
        fs::create_dir_all(data_dir)?;
        // An older file may be open to others.
        let _ = fs::remove_file(&path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(first.password.reveal().as_bytes())
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path)
}
