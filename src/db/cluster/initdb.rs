//! Creation of a cluster, in a folder with a temporary name that is renamed at the end: a first start that is killed
//! leaves no half cluster.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::process::{Output, Stdio};
use std::time::Duration;

use super::binaries::Binaries;
use super::error::ClusterError;
use super::layout::Layout;
use crate::db::cluster::blocking::Cancel;
use crate::secrets;

/// The name of the superuser and of the database.
pub(super) const NAME: &str = "windu";

/// How long the initdb of a killed program may go on writing into the folder that is being removed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes the cluster and its database. The caller holds the control lock.
pub(super) fn make(layout: &Layout, binaries: &Binaries, cancel: &Cancel) -> Result<(), ClusterError> {
    let removed =
        cancel.wait("the initdb of a killed program ends", ORPHAN_TIMEOUT, || remove_drafts(layout))?;
    if removed.is_none() {
        tracing::warn!(folder = %layout.folder.display(), "the files of a killed first start could not be removed");
    }
    // A random name: an initdb that outlived its killed program must not write into the same folder.
    let draft = layout.folder.join(format!("data.{}.new", secrets::random_id()));
    let mut command = layout.command(&binaries.program("initdb"));
    command.arg("-D").arg(&draft).args(["--username", NAME, "--encoding=UTF8", "--locale=C"]);
    // Only the cluster's user and root can enter the socket's folder, and there is no other way in.
    command.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
    let output = command.output().map_err(ClusterError::at(&binaries.folder))?;
    if !output.status.success() {
        return Err(ClusterError::Program { program: "initdb", output: output_text(&output) });
    }
    // Without a server, so that the database exists before the cluster has its final name.
    let mut command = layout.command(&binaries.program("postgres"));
    command.arg("--single").arg("-D").arg(&draft).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().map_err(ClusterError::at(&binaries.folder))?;
    if let Some(mut input) = server.stdin.take() {
        let statement = format!("CREATE DATABASE {NAME}\n");
        // A server that ended early reports the reason, see below.
        let _ = input.write_all(statement.as_bytes());
    }
    let output = server.wait_with_output().map_err(ClusterError::at(&binaries.folder))?;
    // Its exit code is 0 even when the statement failed.
    if !output.status.success() || output_text(&output).contains("ERROR:") {
        return Err(ClusterError::Program { program: "postgres --single", output: output_text(&output) });
    }
    fs::rename(&draft, &layout.cluster).map_err(ClusterError::at(&layout.cluster))?;
    File::open(&layout.folder).and_then(|folder| folder.sync_all()).map_err(ClusterError::at(&layout.folder))
}

/// Removes the drafts of killed first starts; `None` while a process still writes there.
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

fn output_text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
