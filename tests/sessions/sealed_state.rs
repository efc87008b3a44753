//! The encryption of what adapters keep.

use windu::upstream::End;

use crate::scripted::Values;
use crate::world::World;

const ANNA: &str = "15550100001";

fn state(values: &[(&str, &str)]) -> Values {
    values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

/// What an adapter keeps may open an account, as its credentials do.
#[tokio::test]
async fn what_an_adapter_keeps_is_encrypted() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let plain = |table: &str| {
        world.sql(&format!("SELECT count(*) FROM {table} WHERE position('start'::bytea IN value) > 0"))
    };
    assert_eq!(world.count("SELECT count(*) FROM registration_state").await, 1);
    assert_eq!(plain("registration_state"), "0");
    process.enter(&world, &account).await.unwrap();
    let line = world.line(&account);
    line.opened(1).await;
    let kept = state(&[("login", "login 1"), ("session", "start submit")]);
    assert_eq!(line.states(), [kept]);
    assert_eq!(world.count("SELECT count(*) FROM adapter_state").await, 2);
    assert_eq!(plain("adapter_state"), "0");

    // An earlier version has stored it plain. It is read, and encrypted.
    world.sql("UPDATE adapter_state SET value = 'start anew' WHERE key = 'session'");
    line.ends(End::Retry("disconnected")).await;
    line.opened(2).await;
    assert_eq!(line.states()[1], state(&[("login", "login 1"), ("session", "start anew")]));
    assert_eq!(plain("adapter_state"), "0");
    line.ends(End::Retry("disconnected")).await;
    line.opened(3).await;
    assert_eq!(line.states()[2], line.states()[1]);

    // A value of another key is none of this one.
    world.sql(
        "UPDATE adapter_state SET value = other.value FROM adapter_state other
         WHERE adapter_state.key = 'session' AND other.key = 'login'",
    );
    line.ends(End::Retry("disconnected")).await;
    line.opened(4).await;
    assert_eq!(line.states()[3], []);
}
