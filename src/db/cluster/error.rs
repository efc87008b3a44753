//! The errors of the private cluster. The texts are for the person who starts the program, and say what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The oldest PostgreSQL that the schema works on.
pub(super) const OLDEST: u32 = 15;

/// The reason why the private cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "PostgreSQL is not installed. Install it with:\n  {}\nor give the database of your choice in DATABASE_URL",
        install_line()
    )]
    NotInstalled,
    #[error(
        "PostgreSQL {OLDEST} or newer is needed, found only {found}. Install it with:\n  {}",
        install_line()
    )]
    TooOld {
        /// The newest version that is installed.
        found: u32,
    },
    /// `WINDU_PG_BIN` names a folder without the programs.
    #[error("WINDU_PG_BIN: {0} does not hold PostgreSQL's programs postgres and initdb")]
    NoPrograms(PathBuf),
    /// The cluster was made by a version that is no longer installed.
    #[error("{}", version_missing(*.needed, *.found, .folder))]
    VersionMissing {
        /// The version that made the cluster.
        needed: u32,
        /// The newest version that is installed.
        found: u32,
        /// The folder of the cluster and its socket.
        folder: PathBuf,
    },
    /// There is no cluster, and this command does not make one.
    #[error("there is no server's database in {0}: name the data folder of your server in WINDU_DATA_DIR")]
    Missing(PathBuf),
    /// Root may not run PostgreSQL, and there is no other user to run it as.
    #[error(
        "PostgreSQL refuses to run as root and there is no user postgres to run it as: \
         make one (useradd --system postgres) or run windu as another user"
    )]
    NoRunner,
    /// The user that PostgreSQL runs as cannot enter the data folder.
    #[error(
        "PostgreSQL refuses to run as root, so it runs as the user {user}, who cannot enter {folder}. {remedy}"
    )]
    Closed {
        user: String,
        /// A sentence that says what to do.
        remedy: String,
        /// The outermost folder of the path that the user cannot enter.
        folder: PathBuf,
    },
    /// The cluster belongs to another user.
    #[error("{folder} belongs to the user with id {owner}: run windu as that user, or as root")]
    NotOurs {
        /// The cluster's folder.
        folder: PathBuf,
        /// A user id.
        owner: u32,
    },
    /// Neither the data folder nor the system's temp folder can hold the socket.
    #[error("{0} cannot hold the socket of PostgreSQL: {1}. Choose a data folder with a shorter path")]
    SocketFolder(PathBuf, String),
    /// The folder of the cluster exists, but is no cluster.
    #[error("{0} is not a PostgreSQL cluster (it has no readable PG_VERSION)")]
    Damaged(PathBuf),
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        program: &'static str,
        /// The end of its output.
        output: String,
    },
    /// The server did not become ready, or did not end, in time.
    #[error("PostgreSQL did not {0} in time; its log is {1}")]
    TimedOut(&'static str, PathBuf),
    /// Another program held the control lock all the time.
    #[error("another program has been starting or stopping the database for too long (it holds {0})")]
    Busy(PathBuf),
    /// The socket of a running server was removed while others use that server.
    #[error(
        "the socket of the running PostgreSQL is missing: stop every windu on this data folder, then start again"
    )]
    SocketMissing,
    /// The caller no longer waits, or the cluster was stopped already.
    #[error("the start of PostgreSQL was cancelled")]
    Cancelled,
    /// An error of the file system.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        source: io::Error,
    },
}

impl ClusterError {
    /// Adds the path to an error of the file system.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// The command that installs PostgreSQL on this system.
fn install_line() -> &'static str {
    let has = |path: &str| Path::new(path).exists();
    let root = nix::unistd::Uid::effective().is_root();
    if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else if has("/usr/bin/apt-get") && root {
        "apt-get update && apt-get install -y postgresql"
    } else if has("/usr/bin/apt-get") {
        "sudo apt-get update && sudo apt-get install -y postgresql"
    } else if has("/usr/bin/dnf") {
        "sudo dnf install -y postgresql-server"
    } else if has("/sbin/apk") {
        "apk add postgresql"
    } else {
        "the package manager of this system; the package is called postgresql"
    }
}

fn version_missing(needed: u32, found: u32, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "the database in {folder} was made by PostgreSQL {needed}, which is not installed here (found: {found}). \
         Install version {needed} again, or move the data to {found}:\n\
         1. with version {needed}, while windu runs: \
         pg_dump -h {folder} -U windu --format=custom --file=windu.dump windu\n\
         2. stop windu, and put the old cluster aside: mv {folder} {folder}.{needed}\n\
         3. with version {found}, start windu, which makes an empty database; while it runs: \
         pg_restore -h {folder} -U windu -d windu --clean --if-exists --single-transaction windu.dump\n\
         4. restart windu"
    )
}
