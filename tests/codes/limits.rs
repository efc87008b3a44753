//! Limits on sending codes, with several processes at once.

use futures_util::future::join_all;
use windu::verification::{Method, RequestError};

use crate::provider::Behaviour;
use crate::world::{PendingAccount, World};

const DAY: u64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_concurrent_requests_send_one_code() {
    let world = World::new().await;
    let other = world.another_process(&[]);
    let pending = world.pending_account("15551230000").await;
    let requests = (0..20).map(|turn| {
        let process = if turn % 2 == 0 { &world.verification } else { &other };
        world.request_at(process, &pending, Method::Sms)
    });
    let mut sent = 0;
    for outcome in join_all(requests).await {
        match outcome {
            Ok(()) => sent += 1,
            Err(RequestError::TooSoon { retry_after }) => assert!((55..=60).contains(&retry_after)),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((sent, world.provider.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_number_gets_at_most_one_code_per_minute_from_all_users() {
    let world = World::new().await;
    let (mine, theirs) =
        (world.pending_account("15551230000").await, world.pending_account("15551230000").await);
    world.request(&mine).await.unwrap();
    world.age(29.5).await;
    let Err(RequestError::TooSoon { retry_after }) = world.request(&theirs).await else { panic!("too soon") };
    assert!((25..=31).contains(&retry_after), "{retry_after}");
    world.age(30.4).await;
    // At most a tenth of a second is left, which is rounded up to one second, or it has passed by now.
    match world.request(&mine).await {
        Ok(()) | Err(RequestError::TooSoon { retry_after: 1 }) => {}
        outcome => panic!("{outcome:?}"),
    }
    world.age(60.0).await;
    world.request(&theirs).await.unwrap();
}

#[tokio::test]
async fn a_request_after_retry_after_succeeds() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.request(&pending).await.unwrap();
    let Err(RequestError::TooSoon { retry_after }) = world.request(&pending).await else {
        panic!("too soon")
    };
    world.age(f64::from(u32::try_from(retry_after).unwrap())).await;
    world.request(&pending).await.unwrap();
}

#[tokio::test]
async fn a_user_may_send_a_number_five_codes_a_day() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    for _ in 0..5 {
        world.request(&pending).await.unwrap();
        world.age(100.0).await;
    }
    let retry_after = daily(&world, &pending).await;
    assert!((DAY - 500 - 20..=DAY - 500).contains(&retry_after), "{retry_after}");
    // Another user is not limited.
    world.request(&world.pending_account("15551230000").await).await.unwrap();
    world.age(f64::from(u32::try_from(retry_after).unwrap())).await;
    world.request(&pending).await.unwrap();
    // The second code leaves the 24 hours 100 s after the first.
    let retry_after = daily(&world, &pending).await;
    assert!((80..=100).contains(&retry_after), "{retry_after}");
}

#[tokio::test]
async fn a_number_is_sent_thirty_codes_a_day() {
    let world = World::new().await;
    for _ in 0..6 {
        let pending = world.pending_account("15551230000").await;
        for _ in 0..5 {
            world.request(&pending).await.unwrap();
            world.age(60.0).await;
        }
    }
    let pending = world.pending_account("15551230000").await;
    let retry_after = daily(&world, &pending).await;
    assert!((DAY - 1_860..=DAY - 1_800).contains(&retry_after), "{retry_after}");
    world.request(&world.pending_account("15551230001").await).await.unwrap();
}

#[tokio::test]
async fn the_owner_of_a_number_is_not_locked_out_by_others() {
    let world = World::new().await;
    let owner = world.pending_account("15551230000").await;
    sqlx::query("UPDATE account SET registered_at = now(), proved_at = now() WHERE id = $1")
        .bind(owner.account.0)
        .execute(&world.pool)
        .await
        .unwrap();
    for _ in 0..6 {
        let stranger = world.pending_account("15551230000").await;
        for _ in 0..5 {
            world.request(&stranger).await.unwrap();
            world.age(60.0).await;
        }
    }
    let stranger = world.pending_account("15551230000").await;
    daily(&world, &stranger).await;
    // The strangers' codes for the day are used up; the owner still has all of the own ones, and no pause.
    for turn in 0..5 {
        world.request(&owner).await.unwrap();
        if turn == 0 {
            let Err(RequestError::TooSoon { .. }) = world.request(&owner).await else { panic!("too soon") };
        }
        world.age(61.0).await;
    }
    daily(&world, &owner).await;
}

#[tokio::test]
async fn a_code_for_a_stranger_does_not_make_the_owner_wait() {
    let world = World::new().await;
    let (owner, stranger) =
        (world.pending_account("15551230000").await, world.pending_account("15551230000").await);
    sqlx::query("UPDATE account SET registered_at = now() WHERE id = $1")
        .bind(owner.account.0)
        .execute(&world.pool)
        .await
        .unwrap();
    world.request(&stranger).await.unwrap();
    world.request(&owner).await.unwrap();
    // The phone is not flooded: a stranger waits for the owner's code, too.
    let Err(RequestError::TooSoon { .. }) = world.request(&stranger).await else { panic!("too soon") };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_sent_twenty_codes_a_day() {
    let world = World::new().await;
    let user = world.user().await;
    let accounts = join_all((0..25).map(|turn| account(&world, user, turn))).await;
    let outcomes = join_all(accounts.iter().map(|pending| world.request(pending))).await;
    assert_eq!(tally(&outcomes), (20, 5));
    assert_eq!(world.provider.requests().len(), 20);
    world.request(&world.pending_account("15551239999").await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_sends_the_configured_number_of_codes_a_day() {
    let settings = [("WINDU_CODES_PER_DAY", "7")];
    let world = World::with(&settings).await;
    let other = world.another_process(&settings);
    let mut accounts = Vec::new();
    for turn in 0..12 {
        accounts.push(account(&world, world.user().await, turn).await);
    }
    let requests = accounts.iter().enumerate().map(|(turn, pending)| {
        let process = if turn % 2 == 0 { &world.verification } else { &other };
        world.request_at(process, pending, Method::Voice)
    });
    assert_eq!(tally(&join_all(requests).await), (7, 5));
    assert_eq!(world.provider.requests().len(), 7);
}

#[tokio::test]
async fn only_numbers_with_an_allowed_prefix_are_sent_codes() {
    let world = World::with(&[("WINDU_CODE_PREFIXES", "1,+49")]).await;
    world.request(&world.pending_account("15551230000").await).await.unwrap();
    world.request(&world.pending_account("4915551230000").await).await.unwrap();
    let outcome = world.request(&world.pending_account("4415551230000").await).await;
    assert!(matches!(outcome, Err(RequestError::NotAllowed)), "{outcome:?}");
    assert_eq!(world.count("SELECT count(*) FROM code_sent").await, 2);
}

#[tokio::test]
async fn a_refused_code_ends_the_pause_and_counts_for_the_day() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.provider.behave(Behaviour::status(500));
    for _ in 0..5 {
        let outcome = world.request(&pending).await;
        assert!(matches!(outcome, Err(RequestError::SenderFailed { .. })), "{outcome:?}");
    }
    daily(&world, &pending).await;
    assert_eq!(world.provider.requests().len(), 5);
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 0);
}

#[tokio::test]
async fn removing_an_account_does_not_reset_the_limits() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.request(&pending).await.unwrap();
    sqlx::query("DELETE FROM account WHERE id = $1")
        .bind(pending.account.0)
        .execute(&world.pool)
        .await
        .unwrap();
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 0);
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::NoAccount)), "{outcome:?}");
    let again = world.account(pending.user, "15551230000").await;
    let outcome = world.request(&again).await;
    assert!(matches!(outcome, Err(RequestError::TooSoon { .. })), "{outcome:?}");
    // Removing the user does not reset them either.
    sqlx::query("DELETE FROM windu_user WHERE id = $1")
        .bind(pending.user.0)
        .execute(&world.pool)
        .await
        .unwrap();
    let outcome = world.request(&world.pending_account("15551230000").await).await;
    assert!(matches!(outcome, Err(RequestError::TooSoon { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_at_most_ten_accounts_that_were_never_proved() {
    let world = World::new().await;
    let user = world.user().await;
    let made = join_all((0..15).map(|turn| create(&world, user, turn))).await;
    assert_eq!(made.iter().flatten().count(), 10);
    // Proving an account makes room for another, even after its number has moved away.
    let pending = made.into_iter().flatten().next().unwrap();
    world.code(&pending).await;
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.consume_code(pending.account).await.unwrap());
    tx.commit().await.unwrap();
    let made = join_all((20..25).map(|turn| create(&world, user, turn))).await;
    assert_eq!(made.iter().flatten().count(), 1);
    assert!(create(&world, world.user().await, 30).await.is_some());
}

#[tokio::test]
async fn records_that_no_limit_counts_are_pruned() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.code(&pending).await;
    world.check(&pending, "none").await.unwrap_err();
    world.age(23.0 * 3_600.0).await;
    assert_eq!(world.store.prune_verification(100).await.unwrap(), 0);
    world.age(2.5 * 3_600.0).await;
    assert_eq!(world.store.prune_verification(100).await.unwrap(), 3);
}

async fn account(world: &World, user: windu::domain::UserId, turn: u32) -> PendingAccount {
    world.account(user, &format!("155512300{turn:02}")).await
}

/// Creates an account as the API does: checks and inserts in one transaction.
async fn create(world: &World, user: windu::domain::UserId, turn: u32) -> Option<PendingAccount> {
    let mut tx = world.store.begin().await.unwrap();
    let room = world.verification.may_create_account(&mut tx, user).await.unwrap();
    // The row is inserted by another connection, while the transaction holds the user.
    let pending = if room { Some(account(world, user, turn).await) } else { None };
    tx.commit().await.unwrap();
    pending
}

async fn daily(world: &World, pending: &PendingAccount) -> u64 {
    match world.request(pending).await {
        Err(RequestError::DailyLimit { retry_after }) => retry_after,
        outcome => panic!("{outcome:?}"),
    }
}

/// The numbers of sent codes and of refusals by a daily limit.
fn tally(outcomes: &[Result<(), RequestError>]) -> (usize, usize) {
    let sent = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let daily = |outcome: &&Result<(), RequestError>| matches!(outcome, Err(RequestError::DailyLimit { retry_after }) if (DAY - 60..=DAY).contains(retry_after));
    (sent, outcomes.iter().filter(daily).count())
}
