//! The making of a cluster: in a folder of another name, which gets its own when all is done, so that a first start
//! that is killed leaves no half cluster.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::process::{Output, Stdio};
use std::time::Duration;

use super::binaries::Binaries;
use super::error::ClusterError;
use super::layout::Layout;
use crate::db::cluster::blocking::Cancel;
use crate::secrets;

/// The superuser, and the database.
pub(super) const NAME: &str = "windu";

/// How long the initdb of a killed program may go on writing into the folder that is being removed.
const ORPHAN: Duration = Duration::from_secs(20);

/// Makes the cluster and its database. To be called in turn.
pub(super) fn make(layout: &Layout, binaries: &Binaries, cancel: &Cancel) -> Result<(), ClusterError> {
    let removed = cancel.wait("the initdb of a killed program ends", ORPHAN, || remove_drafts(layout))?;
    if removed.is_none() {
        tracing::warn!(folder = %layout.folder.display(), "what a killed first start left could not be removed");
    }
    // A name of its own: an initdb that outlived its killed program must not meet this one.
    let draft = layout.folder.join(format!("data.{}.new", secrets::random_id()));
    let mut command = layout.command(&binaries.program("initdb"));
    command.arg("-D").arg(&draft).args(["--username", NAME, "--encoding=UTF8", "--locale=C"]);
    // Whoever gets into the socket's folder is the cluster's user or root; there is no other way in.
    command.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
    let output = command.output().map_err(ClusterError::at(&binaries.folder))?;
    if !output.status.success() {
        return Err(ClusterError::Program { program: "initdb", output: said(&output) });
    }
    // Without a server, so that the database is there before the cluster has its name.
    let mut command = layout.command(&binaries.program("postgres"));
    command.arg("--single").arg("-D").arg(&draft).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().map_err(ClusterError::at(&binaries.folder))?;
    if let Some(mut input) = server.stdin.take() {
        let statement = format!("CREATE DATABASE {NAME}\n");
        // A server that ended early has said why, below.
        let _ = input.write_all(statement.as_bytes());
    }
    let output = server.wait_with_output().map_err(ClusterError::at(&binaries.folder))?;
    // It ends well even when the statement failed.
    if !output.status.success() || said(&output).contains("ERROR:") {
        return Err(ClusterError::Program { program: "postgres --single", output: said(&output) });
    }
    fs::rename(&draft, &layout.cluster).map_err(ClusterError::at(&layout.cluster))?;
    File::open(&layout.folder).and_then(|folder| folder.sync_all()).map_err(ClusterError::at(&layout.folder))
}

/// Removes what first starts that were killed have left; `None` while somebody still writes there.
fn remove_drafts(layout: &Layout) -> Result<Option<()>, ClusterError> {
    for entry in fs::read_dir(&layout.folder).map_err(ClusterError::at(&layout.folder))? {
        let entry = entry.map_err(ClusterError::at(&layout.folder))?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"data.") && name.ends_with(b".new") {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
                    return Ok(None);
                }
                Err(error) => return Err(ClusterError::at(&entry.path())(error)),
            }
        }
    }
    Ok(Some(()))
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
