//! Spellings of user names and passwords: composed and decomposed accents, and passwords that everybody uses.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;

use super::{failed, login_with};
use crate::support::server::Server;

const COMPOSED: &str = "Jos\u{e9} Ru\u{17e}i\u{10d}ka";
const DECOMPOSED: &str = "Jose\u{301} Ruz\u{30c}ic\u{30c}ka";

async fn signs_in(server: &Server, name: &str, password: &str) -> bool {
    let form = login_with(&[("username", name), ("password", password)]);
    let answer = server.client().post("/o/token/", &form).await;
    if answer.status != 200 {
        failed(&answer, 400, "invalid_grant");
    }
    answer.status == 200
}

#[tokio::test]
async fn accents_may_be_typed_composed_or_decomposed() {
    let server = Server::start();
    server.run(&["user", "create", DECOMPOSED, "--password-stdin"], &format!("{COMPOSED} 1\n"));
    let taken = server.fail(&["user", "create", COMPOSED, "--password-stdin"], "another long password\n");
    assert!(taken.contains("already"), "{taken}");
    for (name, password) in [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED)] {
        assert!(signs_in(&server, name, &format!("{password} 1")).await, "{name} {password}");
    }
    assert!(!signs_in(&server, COMPOSED, &COMPOSED.replace('\u{e9}', "e")).await);
    server.run(&["user", "set-password", COMPOSED, "--password-stdin"], &format!("{DECOMPOSED} 2\n"));
    assert!(signs_in(&server, DECOMPOSED, &format!("{COMPOSED} 2")).await);
}

#[tokio::test]
async fn a_user_from_before_names_were_normalised_can_still_sign_in() {
    let server = Server::start();
    let hash =
        Argon2::default().hash_password_with_salt(DECOMPOSED.as_bytes(), b"salt of a test").expect("a hash");
    let made = format!("INSERT INTO windu_user (name, password_hash) VALUES ('{DECOMPOSED}', '{hash}')");
    server.database().sql(&made);
    assert!(signs_in(&server, DECOMPOSED, DECOMPOSED).await);
    // The hash is of the normalised password from now on.
    assert!(signs_in(&server, DECOMPOSED, COMPOSED).await);
    server.run(&["user", "disable", DECOMPOSED], "");
    assert!(!signs_in(&server, DECOMPOSED, COMPOSED).await);
}

#[tokio::test]
async fn a_password_that_everybody_uses_is_refused() {
    let server = Server::start();
    for password in ["password", "12345678", "Password1", "QWERTYUIOP", "iloveyou", "football1"] {
        let refused = server.fail(&["user", "create", "bob", "--password-stdin"], &format!("{password}\n"));
        assert!(refused.contains("common"), "{password}: {refused}");
    }
    let refused = server.fail(&["user", "set-password", "alice", "--password-stdin"], "password1\n");
    assert!(refused.contains("common"), "{refused}");
    server.run(&["user", "create", "bob", "--password-stdin"], "horse battery staple\n");
}

#[tokio::test]
async fn a_common_password_in_the_settings_is_refused_for_a_new_user_only() {
    let (status, errors) = Server::setup().env("WINDU_BOOTSTRAP_PASSWORD", "password123").fail();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("windu: WINDU_BOOTSTRAP_PASSWORD: "), "{errors}");
    let server = Server::start();
    let again = Server::setup()
        .database(std::sync::Arc::clone(server.database()))
        .env("WINDU_BOOTSTRAP_PASSWORD", "password123")
        .start();
    assert_eq!(again.client().get("/readyz").await.status, 200);
}
