//! The work of a statement does not depend on statistics and does not grow with the tables: the endpoints and the work of
//! sessions on a large database, with bounds on the buffers that each statement touches in a call.
//!
//! PostgreSQL counts the buffers (`pg_stat_statements`), so that no result depends on the machine. The database is
//! analysed by nobody but the test: autovacuum is off.

#[path = "../support/mod.rs"]
mod support;

mod background;
mod meter;
mod reads;
mod scene;
mod webhooks;
mod writes;

use meter::Meter;
use scene::{Scene, Size};

#[tokio::test(flavor = "multi_thread")]
async fn without_statistics() {
    let mut scene = Scene::new(|_| {}).await;
    let mut meter = Meter::new(&scene, "without statistics");
    scene.restart_filled(&mut meter, |_| {}).await;
    measure(&scene, meter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn analysed_while_empty_then_filled() {
    let scene = Scene::new(|database| {
        database.sql("ANALYZE");
    })
    .await;
    let mut meter = Meter::new(&scene, "analysed while empty");
    // The connections keep the plans that they make now.
    let mut first = Meter::new(&scene, "empty");
    run(&scene, &mut first, Size::Small).await;
    scene.fill();
    scene.restart_sessions(&mut meter).await;
    measure(&scene, meter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn analysed_when_full() {
    let mut scene = Scene::new(|_| {}).await;
    let mut meter = Meter::new(&scene, "analysed when full");
    scene
        .restart_filled(&mut meter, |database| {
            database.sql("ANALYZE");
        })
        .await;
    measure(&scene, meter).await;
}

async fn measure(scene: &Scene, mut meter: Meter) {
    run(scene, &mut meter, Size::Large).await;
    background::removal(scene, &mut meter).await;
    meter.finish();
}

async fn run(scene: &Scene, meter: &mut Meter, size: Size) {
    for (person, friend) in [(&scene.anna, &scene.bert), (&scene.bert, &scene.anna)] {
        reads::account(scene, meter, person).await;
        reads::contacts(scene, meter, person, friend).await;
        reads::messages(scene, meter, person, friend).await;
        reads::groups(scene, meter, person).await;
        reads::events(scene, meter, person).await;
    }
    writes::messages(scene, meter).await;
    writes::media(scene, meter).await;
    writes::profile(scene, meter).await;
    writes::contacts(scene, meter).await;
    writes::groups(scene, meter).await;
    writes::logins(scene, meter).await;
    writes::accounts(scene, meter).await;
    writes::lists(scene, meter, size).await;
    background::read_marks(scene, meter).await;
    background::sweeps(scene, meter).await;
    background::remote_ids(scene, meter).await;
    webhooks::webhooks(scene, meter).await;
    background::pruning(scene, meter).await;
}
