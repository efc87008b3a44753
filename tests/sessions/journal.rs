//! The journal under load: numbers without gaps, in commit order, and times that never run backwards.

use std::sync::Arc;

use crate::scripted::{Line, message};
use crate::world::{Process, World};
use windu::domain::Account;

const TASKS: u64 = 8;
const EACH: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_numbers_have_no_gaps_and_times_grow_under_concurrent_writes() {
    let world = Arc::new(World::new().await);
    let process = Arc::new(world.process());
    let account = process.online(&world, "15550100001").await;
    let other = world.idle_process(windu::sessions::Timeouts::default());
    let line = world.line(&account);
    let watching = process.lifecycle.spawn(follow(process.clone(), account.clone()));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (process, account, line) = (process.clone(), account.clone(), line.clone());
        tasks.push(process.clone().lifecycle.spawn(async move {
            if task % 2 == 0 { send(&process, &account, task).await } else { receive(&line, task).await }
        }));
    }
    for index in 0..EACH {
        other.send(&account, "15550109999", &index.to_string()).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let half = usize::try_from(TASKS / 2 * EACH).unwrap();
    process.until_entries(&account, "message.received", half).await;
    process.until_entries(&account, "message.sent", half + usize::try_from(EACH).unwrap()).await;

    let journal = process.journal(&account).await;
    assert!(journal.iter().map(|entry| entry.seq).eq(1..=i64::try_from(journal.len()).unwrap()));
    assert!(journal.is_sorted_by(|one, next| one.at < next.at));
    let followed = watching.await.unwrap();
    assert!(followed.is_sorted_by(|one, next| one + 1 == *next), "a follower saw {followed:?}");
    assert_eq!(world.count("SELECT count(*) - count(DISTINCT stored_at) FROM message").await, 0);
    for task in 0..TASKS {
        let texts = process.texts(&account, &format!("155501001{task:02}")).await;
        assert!(texts.into_iter().eq((0..EACH).map(|index| index.to_string())), "chat {task}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_of_one_account_do_not_deadlock() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    for index in 0..EACH {
        let number = |prefix| format!("{prefix}{index:02}");
        let inbound = vec![
            message(&number("155502"), "m1", "hello", 2 * index + 1),
            message(&number("155501"), "m1", "hello", 2 * index + 2),
        ];
        let (name, first, other, added) =
            (index.to_string(), number("155503"), number("155501"), number("155504"));
        // The victim of a deadlock fails here, or reconnects.
        tokio::join!(
            process.send(&account, &first, "first of its chat"),
            process.send(&account, &other, "first of another"),
            process.add_contact(&account, &added, true),
            process.set_nickname(&account, &name),
            line.stores(inbound),
        );
    }
    assert_eq!(line.logins().len(), 1);
    assert_eq!(process.entries(&account, "session.changed").await.len(), 1);
}

/// Follows the journal, as a client does, until everything was sent and received.
async fn follow(process: Arc<Process>, account: Account) -> Vec<i64> {
    let mut wakes = process.store.notifications().subscribe(windu::store::topic::journal(account.counter));
    let (mut seen, mut done) = (Vec::new(), 0);
    while done < TASKS * EACH + EACH {
        let last = seen.last().copied().unwrap_or(0);
        let entries = process.store.journal_entries(account.counter, last, 100).await.unwrap();
        if entries.is_empty() {
            wakes.woken().await;
        }
        for entry in entries {
            seen.push(entry.seq);
            done += u64::from(entry.kind == "message.sent" || entry.kind == "message.received");
        }
    }
    seen
}

async fn send(process: &Process, account: &Account, task: u64) {
    for index in 0..EACH {
        process.send(account, &format!("155501001{task:02}"), &index.to_string()).await;
    }
}

async fn receive(line: &Line, task: u64) {
    for index in 0..EACH {
        let from = format!("155501001{task:02}");
        let number = task * EACH + index + 1;
        assert!(line.receives(vec![message(&from, &format!("m{index}"), &index.to_string(), number)]).await);
    }
}
