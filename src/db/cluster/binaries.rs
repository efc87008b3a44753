//! PostgreSQL's programs on this machine, and the choice of a version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{ClusterError, OLDEST};

/// The folder of one version's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    /// The major version.
    pub(super) version: u32,
}

impl Binaries {
    /// The programs for a cluster: those in `pg_bin` (`WINDU_PG_BIN`), else of all installed ones.
    ///
    /// An existing cluster needs the version that made it; a new one gets the newest.
    pub(super) fn find(
        pg_bin: Option<&Path>,
        existing: Option<u32>,
        cluster_folder: &Path,
    ) -> Result<Self, ClusterError> {
        let found = match pg_bin {
            Some(folder) => {
                vec![probe(folder).ok_or_else(|| ClusterError::NoPrograms(folder.to_owned()))?]
            }
            None => usual_folders().iter().filter_map(|folder| probe(folder)).collect(),
        };
        choose(found, existing, cluster_folder)
    }

    /// One of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn choose(
    mut found: Vec<Binaries>,
    existing: Option<u32>,
    cluster_folder: &Path,
) -> Result<Binaries, ClusterError> {
    // Stable: of two folders with the same version the first found stays first.
    found.sort_by_key(|binaries| std::cmp::Reverse(binaries.version));
    let newest = found.first().ok_or(ClusterError::NotInstalled)?.clone();
    match existing {
        Some(needed) => found.into_iter().find(|binaries| binaries.version == needed).ok_or_else(|| {
            ClusterError::VersionMissing { needed, found: newest.version, folder: cluster_folder.to_owned() }
        }),
        None if newest.version < OLDEST => Err(ClusterError::TooOld { found: newest.version }),
        None => Ok(newest),
    }
}

/// Debian, Red Hat, Homebrew's keg-only folders (Apple, Intel, Linux), Postgres.app, PATH.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let named =
            entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
        folders.extend(named.map(|entry| entry.path().join(rest)));
    }
    folders.sort();
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    folders
}

/// The programs in a folder, if both exist and print their version.
fn probe(folder: &Path) -> Option<Binaries> {
    let (server, initdb) = (folder.join("postgres"), folder.join("initdb"));
    if !server.is_file() || !initdb.is_file() {
        return None;
    }
    let output = Command::new(server).arg(OsStr::new("--version")).output().ok()?;
    let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { folder: folder.to_owned(), version })
}

/// The major version in text such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `.. 19beta1`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL)").nth(1)?.trim_start();
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(versions: &[u32]) -> Vec<Binaries> {
        versions.iter().map(|&version| Binaries { folder: format!("/{version}").into(), version }).collect()
    }

    fn choice(versions: &[u32], existing: Option<u32>) -> Result<u32, ClusterError> {
        choose(installed(versions), existing, Path::new("/data/pg")).map(|binaries| binaries.version)
    }

    #[test]
    fn a_new_cluster_gets_the_newest_and_an_old_one_its_own() {
        assert_eq!(choice(&[15, 17, 16], None).expect("one"), 17);
        assert_eq!(choice(&[15, 17, 16], Some(15)).expect("one"), 15);
        assert!(matches!(choice(&[], None), Err(ClusterError::NotInstalled)));
        assert!(matches!(choice(&[13, 9], None), Err(ClusterError::TooOld { found: 13 })));
    }

    #[test]
    fn the_error_of_a_missing_version_says_how_to_move_the_data() {
        let text = choice(&[16, 17], Some(15)).expect_err("missing").to_string();
        for part in
            ["PostgreSQL 15", "found: 17", "pg_dump -h /data/pg ", "mv /data/pg ", "pg_restore -h /data/pg "]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn versions_are_parsed_as_the_programs_print_them() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn the_error_of_a_configured_folder_without_the_programs_names_it() {
        let error =
            Binaries::find(Some(Path::new("/nowhere")), None, Path::new("/data/pg")).expect_err("nothing");
        assert!(error.to_string().starts_with("WINDU_PG_BIN: /nowhere"), "{error}");
    }
}
