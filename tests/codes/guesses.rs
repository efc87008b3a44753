//! Entering codes: right, wrong, late, too often, and concurrently.

use futures_util::future::join_all;
use windu::verification::CheckError;

use crate::support::people::other_code;
use crate::world::{PendingAccount, World};

#[tokio::test]
async fn the_right_code_proves_the_number_until_it_is_used_up() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let code = world.code(&pending).await;
    let typed =
        [code.clone(), format!("{}-{}", &code[..3], &code[3..]), format!(" {} {}\n", &code[..1], &code[1..])];
    // More often than wrong guesses are allowed: a right code is no guess.
    for typed in typed.iter().cycle().take(30) {
        let _ = world.check(&pending, typed).await.unwrap();
    }
    assert_eq!(world.count("SELECT count(*) FROM code_guess").await, 0);
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.consume_code(pending.account).await.unwrap());
    drop(tx);
    // Rolled back: the code is still valid.
    let _ = world.check(&pending, &code).await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.consume_code(pending.account).await.unwrap());
    tx.commit().await.unwrap();
    assert!(matches!(world.check(&pending, &code).await, Err(CheckError::NoneAsked)));
    let mut tx = world.store.begin().await.unwrap();
    assert!(!tx.consume_code(pending.account).await.unwrap());
}

#[tokio::test]
async fn a_code_is_valid_for_one_user_account_and_number_only() {
    let world = World::new().await;
    let (mine, theirs) =
        (world.pending_account("15551230000").await, world.pending_account("15551230000").await);
    assert!(matches!(world.check(&mine, "123456").await, Err(CheckError::NoneAsked)));
    let code = world.code(&mine).await;
    assert!(matches!(world.check(&theirs, &code).await, Err(CheckError::NoneAsked)));
    let mixtures = [
        PendingAccount { account: mine.account, ..theirs.clone() },
        PendingAccount { account: theirs.account, ..mine.clone() },
        PendingAccount { number: "15551230001".parse().unwrap(), ..mine.clone() },
    ];
    for mixture in mixtures {
        assert!(matches!(world.check(&mixture, &code).await, Err(CheckError::NoneAsked)));
    }
    // Even if the rows are exchanged in the database, the MAC binds the code to its account.
    sqlx::query("UPDATE verification_code SET account_id = $1")
        .bind(theirs.account.0)
        .execute(&world.pool)
        .await
        .unwrap();
    assert!(matches!(world.check(&theirs, &code).await, Err(CheckError::Wrong)));
}

#[tokio::test]
async fn a_code_expires_after_ten_minutes() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let code = world.code(&pending).await;
    world.age(580.0).await;
    let _ = world.check(&pending, &code).await.unwrap();
    world.age(20.5).await;
    assert!(matches!(world.check(&pending, &code).await, Err(CheckError::Expired)));
    assert_eq!(world.count("SELECT count(*) FROM code_guess").await, 0);
}

#[tokio::test]
async fn a_newer_code_replaces_the_older_and_its_guesses() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let older = world.code(&pending).await;
    for _ in 0..4 {
        assert!(matches!(world.check(&pending, &other_code(&older)).await, Err(CheckError::Wrong)));
    }
    world.age(61.0).await;
    let newer = world.code(&pending).await;
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 1);
    if older != newer {
        assert!(matches!(world.check(&pending, &older).await, Err(CheckError::Wrong)));
    }
    let _ = world.check(&pending, &newer).await.unwrap();
}

#[tokio::test]
async fn after_five_wrong_guesses_the_right_code_is_refused() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let code = world.code(&pending).await;
    for typed in [other_code(&code).as_str(), "", "12345", "1234567", "abcdef"] {
        assert!(matches!(world.check(&pending, typed).await, Err(CheckError::Wrong)), "{typed}");
    }
    // Until a new code may be requested.
    let retry_after = too_many(world.check(&pending, &code).await);
    assert!((40..=60).contains(&retry_after), "{retry_after}");
    world.age(61.0).await;
    assert_eq!(too_many(world.check(&pending, &code).await), 1);
    let code = world.code(&pending).await;
    let _ = world.check(&pending, &code).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_five_of_twelve_concurrent_guesses_are_compared() {
    let world = World::new().await;
    let other = world.another_process(&[]);
    let pending = world.pending_account("15551230000").await;
    let code = world.code(&pending).await;
    let wrong = other_code(&code);
    let guesses = (0..12).map(|turn| {
        let process = if turn % 2 == 0 { &world.verification } else { &other };
        process.check(pending.user, pending.account, &pending.number, &wrong)
    });
    let outcomes = join_all(guesses).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Err(CheckError::Wrong))).count(), 5);
    assert_eq!(outcomes.into_iter().filter(is_too_many).count(), 7);
    // A sixth code is not compared, even if it is right.
    too_many(world.check(&pending, &code).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_twenty_wrong_guesses_a_day() {
    let world = World::new().await;
    let user = world.user().await;
    let mut accounts = Vec::new();
    for turn in 0..6 {
        let pending = world.account(user, &format!("1555123000{turn}")).await;
        let code = world.code(&pending).await;
        accounts.push((pending, code));
    }
    let wrong: Vec<String> = accounts.iter().map(|(_, code)| other_code(code)).collect();
    let guesses = (0..30).map(|turn| world.check(&accounts[turn % 6].0, &wrong[turn % 6]));
    let outcomes = join_all(guesses).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Err(CheckError::Wrong))).count(), 20);
    assert_eq!(outcomes.iter().filter(|outcome| is_too_many(outcome)).count(), 10);
    let (pending, code) = &accounts[0];
    let retry_after = too_many(world.check(pending, code).await);
    assert!((86_400 - 60..=86_400).contains(&retry_after), "{retry_after}");
    // Other users may continue, and this user a day later.
    let other = world.pending_account("15551239999").await;
    let code = world.code(&other).await;
    let _ = world.check(&other, &code).await.unwrap();
    world.age(f64::from(u32::try_from(retry_after).unwrap())).await;
    let code = world.code(pending).await;
    let _ = world.check(pending, &code).await.unwrap();
}

fn is_too_many<T>(outcome: &Result<T, CheckError>) -> bool {
    matches!(outcome, Err(CheckError::TooMany { .. }))
}

fn too_many<T>(outcome: Result<T, CheckError>) -> u64 {
    match outcome {
        Err(CheckError::TooMany { retry_after }) => retry_after,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("must not be compared"),
    }
}
