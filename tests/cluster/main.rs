//! The private PostgreSQL cluster, with the real binaries: starts, stops, crashes, several programs at once.
//!
//! As root every test runs twice: as root, and as a normal user by [`as_a_normal_user`].

mod schema;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, User, getpgid};
use windu::config::Missing;
use windu::db::cluster::{Cluster, ClusterError};
use windu::lifecycle::Lifecycle;

use support::{DataDir, Program, answers, is_root, set, wait_until};

#[tokio::test]
async fn data_survives_a_restart_of_the_cluster() {
    let data = DataDir::new();
    let cluster = data.start().await;
    assert_eq!(answers(&cluster, "SHOW fsync").await, "on");
    assert_eq!(answers(&cluster, "SHOW listen_addresses").await, "");
    assert_eq!(answers(&cluster, "SHOW max_connections").await, "100");
    assert_eq!(answers(&cluster, "SHOW server_encoding").await, "UTF8");
    assert_eq!(answers(&cluster, "SELECT current_user || ' ' || current_database()").await, "windu windu");
    set(&cluster, "CREATE TABLE stored AS SELECT 'yes' AS word").await;
    let postmaster = data.postmaster().expect("it runs");
    assert_eq!(
        getpgid(Some(postmaster)),
        Ok(postmaster),
        "Ctrl-C would stop the database before this program"
    );
    cluster.stop().await.expect("stops");
    cluster.stop().await.expect("once more changes nothing");
    data.assert_nothing_runs();

    let cluster = data.start().await;
    assert_eq!(answers(&cluster, "SELECT word FROM stored").await, "yes");
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn only_the_cluster_user_can_access_its_files() {
    let data = DataDir::new();
    let cluster = data.start().await;
    let pg = fs::metadata(data.path().join("pg")).expect("the folder");
    assert_eq!(pg.permissions().mode() & 0o777, 0o700);
    let mode = fs::metadata(data.path()).expect("the folder").permissions().mode() & 0o777;
    if is_root() {
        let postgres = User::from_name("postgres").expect("users").expect("the user postgres");
        assert_eq!((pg.uid(), mode), (postgres.uid.as_raw(), 0o711));
    } else {
        assert_eq!((pg.uid(), mode), (Uid::effective().as_raw(), 0o700));
    }
    for name in ["cluster.lock", "cluster.users", "postgres.log"] {
        let mode = fs::metadata(data.path().join(name)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    cluster.stop().await.expect("stops");
}

#[tokio::test]
async fn only_some_commands_create_a_cluster() {
    let data = DataDir::new();
    let refused = Cluster::start(data.path(), None, Missing::Refuse).await.err().expect("no cluster yet");
    assert!(matches!(refused, ClusterError::Missing(_)), "{refused}");
    assert!(!data.path().exists());
    data.start().await.stop().await.expect("stops");
    let cluster = Cluster::start(data.path(), None, Missing::Refuse).await.expect("joins");
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_cluster_that_is_dropped_stops() {
    let data = DataDir::new();
    drop(data.start().await);
    data.assert_nothing_runs();
}

#[tokio::test]
async fn the_last_program_stops_the_cluster() {
    let data = DataDir::new();
    let programs: Vec<Program> = (0..3).map(|_| Program::spawn(data.path())).collect();
    let mut programs: Vec<Program> = programs.into_iter().map(Program::ready).collect();
    let postmaster = data.postmaster().expect("it runs");
    while programs.len() > 1 {
        programs.remove(0).finish();
        assert_eq!(data.postmaster(), Some(postmaster));
    }
    // A program that starts while another stops either joins or starts the cluster again.
    let last = programs.remove(0);
    let next = Program::spawn(data.path());
    last.finish();
    next.ready().finish();
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_cluster_of_a_killed_program_is_adopted() {
    let data = DataDir::new();
    Program::spawn(data.path()).ready().kill();
    let postmaster = data.postmaster().expect("it outlives its program");
    let cluster = data.start().await;
    assert_eq!(data.postmaster(), Some(postmaster));
    assert_eq!(answers(&cluster, "SELECT 'here'").await, "here");
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_restarted_without_data_loss() {
    let data = DataDir::new();
    let cluster = data.start().await;
    let lifecycle = Lifecycle::default();
    cluster.supervise(&lifecycle);
    set(&cluster, "CREATE TABLE stored AS SELECT 'yes' AS word").await;
    for _ in 0..support::rounds(2, 20) {
        let postmaster = data.postmaster().expect("it runs");
        kill(postmaster, Signal::SIGKILL).expect("killed");
        wait_until("another postmaster is ready", || data.postmaster().is_some_and(|pid| pid != postmaster));
        assert_eq!(answers(&cluster, "SELECT word FROM stored").await, "yes");
    }
    assert!(lifecycle.drained().await);
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn program_and_database_killed_together_come_back() {
    let data = DataDir::new();
    let program = Program::spawn(data.path()).ready();
    kill(data.postmaster().expect("it runs"), Signal::SIGKILL).expect("killed");
    program.kill();
    let cluster = data.start().await;
    cluster.stop().await.expect("stops");
    // The pid file of a dead server whose process id belongs to another process now: this one.
    let file = data.path().join("pg/data/postmaster.pid");
    let text = format!("{}\n{}\n1\n5432\n/x\n\n 1 1\nready\n", std::process::id(), file.display());
    fs::write(&file, text).expect("a file");
    let cluster = data.start().await;
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_start_waits_for_a_cluster_that_is_stopping() {
    let data = DataDir::new();
    Program::spawn(data.path()).ready().kill();
    let postmaster = data.postmaster().expect("it runs");
    kill(postmaster, Signal::SIGINT).expect("asked to stop");
    let cluster = data.start().await;
    assert_ne!(data.postmaster(), Some(postmaster));
    assert_eq!(answers(&cluster, "SELECT 'here'").await, "here");
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_first_start_that_is_killed_leaves_no_half_cluster() {
    let data = DataDir::new();
    let program = Program::spawn(data.path());
    wait_until("initdb works", || !data.drafts().is_empty());
    program.kill();
    assert!(!data.path().join("pg/data").exists());
    let cluster = data.start().await;
    assert_eq!(answers(&cluster, "SELECT 'here'").await, "here");
    cluster.stop().await.expect("stops");
    assert_eq!(data.drafts(), Vec::<String>::new());
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_dropped_start_leaves_nothing() {
    let data = DataDir::new();
    data.start().await.stop().await.expect("stops");
    {
        let mut start = Box::pin(Cluster::start(data.path(), None, Missing::Create));
        let asked = futures_util::poll!(&mut start);
        assert!(asked.is_pending());
    }
    data.assert_nothing_runs();
    data.start().await.stop().await.expect("stops");
}

#[tokio::test]
async fn a_data_folder_with_a_long_path_gets_its_socket_elsewhere() {
    let data = DataDir::below(&["a folder, with \"signs\"", &"deep".repeat(25)]);
    let cluster = data.start().await;
    let sockets = answers(&cluster, "SHOW unix_socket_directories").await;
    assert!(sockets.contains("/windu-"), "{sockets}");
    let sockets = Path::new(sockets.trim_matches('"'));
    assert_eq!(fs::metadata(sockets).expect("the folder").permissions().mode() & 0o777, 0o700);
    cluster.stop().await.expect("stops");
    assert!(!sockets.exists());
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_data_folder_may_have_special_characters_in_its_name() {
    let data = DataDir::below(&["a, \"b\" c"]);
    data.start().await.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_parent_folder_that_postgres_cannot_enter_is_named() {
    if !is_root() {
        return;
    }
    let data = DataDir::below(&["closed", "clone"]);
    let closed = data.path().ancestors().nth(2).expect("a parent");
    fs::create_dir(closed).expect("a folder");
    fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).expect("a mode");
    let text = Cluster::start(data.path(), None, Missing::Create).await.err().expect("closed").to_string();
    assert!(text.contains("WINDU_DATA_DIR=/var/lib/windu"), "{text}");
    assert!(text.contains(&format!("cannot enter {}.", closed.display())), "{text}");
    assert!(!data.path().join("pg").exists());
}

#[tokio::test]
async fn a_data_folder_that_postgres_cannot_enter_is_opened_by_the_named_command() {
    if !is_root() {
        return;
    }
    let data = DataDir::new();
    fs::create_dir_all(data.path()).expect("a folder");
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    let text = Cluster::start(data.path(), None, Missing::Create).await.err().expect("closed").to_string();
    let command = format!("chmod o+x {}", data.path().display());
    assert!(text.ends_with(&command), "{text}");
    let done = Command::new("sh").args(["-c", &command]).status().expect("a shell");
    assert!(done.success());
    data.start().await.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_cluster_of_a_version_that_is_not_installed_is_refused() {
    let data = DataDir::new();
    data.start().await.stop().await.expect("stops");
    fs::write(data.path().join("pg/data/PG_VERSION"), "14\n").expect("a file");
    let error = Cluster::start(data.path(), None, Missing::Create).await.err().expect("a missing version");
    assert!(matches!(error, ClusterError::VersionMissing { needed: 14, .. }), "{error}");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn the_error_says_why_postgresql_does_not_start() {
    let data = DataDir::new();
    data.start().await.stop().await.expect("stops");
    fs::write(data.path().join("pg/data/postgresql.auto.conf"), "no_such_setting = 1\n").expect("a file");
    let text = Cluster::start(data.path(), None, Missing::Create).await.err().expect("refused").to_string();
    assert!(text.contains("no_such_setting"), "{text}");
    data.assert_nothing_runs();
}

/// Runs all tests above again as the user `nobody`.
#[test]
fn as_a_normal_user() {
    if !is_root() {
        return;
    }
    let nobody = User::from_name("nobody").expect("users").expect("the user nobody");
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let copy = folder.path().join("cluster-tests");
    fs::copy(std::env::current_exe().expect("this program"), &copy).expect("a copy");
    let output = Command::new(copy)
        .args(["--test-threads", "2", "--skip", support::HELPER])
        .env_remove("TMPDIR")
        .current_dir("/")
        .uid(nobody.uid.as_raw())
        .gid(nobody.gid.as_raw())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Not a test: what [`Program`] runs.
#[tokio::test]
async fn program() {
    support::be_the_program().await;
}
