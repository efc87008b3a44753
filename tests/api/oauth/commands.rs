//! `windu user`, `windu client` and the first user, beside a running server.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::{LOGIN, PUBLIC, Pair, failed, line, log_in, login_with};
use crate::support::postgres::Database;
use crate::support::server::{PASSWORD, Server, USER};

#[tokio::test]
async fn users_are_made_listed_and_changed() {
    let server = Server::start();
    let made = server.run(&["user", "create", "bob"], "");
    let password = line(&made, "password: ");
    let login = |password: &str| {
        let password = password.to_owned();
        let server = &server;
        async move {
            server
                .client()
                .post("/o/token/", &login_with(&[("username", "bob"), ("password", &password)]))
                .await
        }
    };
    Pair::of(&login(&password).await);
    assert!(server.fail(&["user", "create", "bob"], "").contains("already"));

    let reset = line(&server.run(&["user", "set-password", "bob"], ""), "password: ");
    failed(&login(&password).await, 400, "invalid_grant");
    Pair::of(&login(&reset).await);
    let output = server.run(&["user", "set-password", "bob", "--password-stdin"], "  blanks count  \r\n");
    assert_eq!(output, "", "a password from standard input is not printed");
    Pair::of(&login("  blanks count  ").await);

    server.run(&["user", "disable", "bob"], "");
    let list = server.run(&["user", "list"], "");
    let endpoints: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(endpoints[0], ["name", "created", "state"]);
    assert_eq!((endpoints[1][0], endpoints[1][2]), (USER, "enabled"));
    assert_eq!((endpoints[2][0], endpoints[2][2]), ("bob", "disabled"));
    server.run(&["user", "delete", "bob"], "");
    assert!(!server.run(&["user", "list"], "").contains("bob"));
    for command in ["set-password", "disable", "enable", "delete"] {
        assert!(server.fail(&["user", command, "bob"], "").contains("no user"), "{command}");
    }
}

#[tokio::test]
async fn passwords_and_user_names_of_a_wrong_length_are_refused() {
    let server = Server::start();
    let create =
        |name: &str, password: &str| server.fail(&["user", "create", name, "--password-stdin"], password);
    for password in ["", "1234567", &"x".repeat(1_001), "two\nlines of it"] {
        assert!(create("bob", password).contains("password"));
    }
    for name in ["", " bob", "bo\tb", &"n".repeat(151)] {
        assert!(create(name, "long enough").contains("user name"));
    }
    for (name, password) in [("eight", "é".repeat(8)), ("thousand", "é".repeat(1_000))] {
        server.run(&["user", "create", name, "--password-stdin"], &password);
        let form = login_with(&[("username", name), ("password", &password)]);
        Pair::of(&server.client().post("/o/token/", &form).await);
    }
}

#[tokio::test]
async fn clients_are_made_rotated_and_deleted() {
    let server = Server::start();
    let list = server.run(&["client", "list"], "");
    assert!(list.contains(&format!("default\t{PUBLIC}\tpublic\tread write\t")), "{list}");

    let public = server.run(&["client", "create", "app"], "");
    assert!(!public.contains("secret"));
    let id = line(&public, "client_id: ");
    Pair::of(&server.client().post("/o/token/", &login_with(&[("client_id", &id)])).await);
    assert!(server.fail(&["client", "create", "app"], "").contains("already"));
    assert!(server.fail(&["client", "rotate", "app"], "").contains("public"));

    let backend = super::Confidential::create(&server, "backend");
    let with = |secret: &str| {
        let form = login_with(&[("client_id", &backend.id), ("client_secret", secret)]);
        form.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let post = async |secret: &str| {
        let request = server.client().request(reqwest::Method::POST, "/o/token/");
        server.client().send(request.form(&with(secret))).await
    };
    Pair::of(&post(&backend.secret).await);
    let rotated = line(&server.run(&["client", "rotate", &backend.id], ""), "client_secret: ");
    failed(&post(&backend.secret).await, 401, "invalid_client");
    Pair::of(&post(&rotated).await);
    assert!(!server.run(&["client", "list"], "").contains(&rotated), "a secret is shown once");

    server.run(&["client", "disable", "backend"], "");
    failed(&post(&rotated).await, 401, "invalid_client");
    server.run(&["client", "enable", "backend"], "");
    Pair::of(&post(&rotated).await);
    server.run(&["client", "delete", "backend"], "");
    failed(&post(&rotated).await, 401, "invalid_client");
    for command in ["rotate", "disable", "enable", "delete"] {
        assert!(server.fail(&["client", command, "backend"], "").contains("no client"), "{command}");
    }
}

#[tokio::test]
async fn a_first_user_is_made_once_by_programs_that_start_together() {
    let database = Arc::new(Database::create());
    let start = |database: Arc<Database>| {
        let setup = Server::setup().env("WINDU_BOOTSTRAP_USER", "").env("WINDU_BOOTSTRAP_PASSWORD", "");
        setup.database(database).start()
    };
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let database = Arc::clone(&database);
            std::thread::spawn(move || start(database))
        })
        .collect();
    let servers: Vec<Server> =
        threads.into_iter().map(|thread| thread.join().expect("a server starts")).collect();
    let files: Vec<_> = servers
        .iter()
        .map(|server| server.folder().join("first-password"))
        .filter(|path| path.exists())
        .collect();
    assert_eq!(files.len(), 1, "one program made the password");
    let mode = std::fs::metadata(&files[0]).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // No newline at its end: the printed curl command sends the file unchanged.
    let password = std::fs::read_to_string(&files[0]).expect("text");
    assert_eq!(password.trim(), password);
    for server in &servers {
        let form = login_with(&[("username", "admin"), ("password", &password)]);
        Pair::of(&server.client().post("/o/token/", &form).await);
        assert!(!server.log().contains(&password) && !server.output().contains(&password));
    }
    std::fs::remove_file(&files[0]).expect("removed");
    let again = start(Arc::clone(&database));
    assert!(!again.folder().join("first-password").exists());
}

#[tokio::test]
async fn the_bootstrap_user_is_made_if_missing_and_never_changed() {
    let mut server = Server::start();
    log_in(server.client()).await;
    server.run(&["user", "set-password", USER, "--password-stdin"], "changed since then");
    server.restart();
    failed(&server.client().post("/o/token/", &LOGIN).await, 400, "invalid_grant");
    let second = Server::setup()
        .database(server.database().clone())
        .env("WINDU_BOOTSTRAP_USER", "carol")
        .env("WINDU_BOOTSTRAP_PASSWORD", PASSWORD)
        .start();
    Pair::of(&second.client().post("/o/token/", &login_with(&[("username", "carol")])).await);
}
