//! The cost of idle sessions: memory, CPU, and the time until all are online.

use std::time::{Duration, Instant};

use crate::Options;
use crate::meter::Cpu;
use crate::people;
use crate::statements;
use crate::support::server::Server;
use crate::world::World;

/// Memory is at rest when it has not grown for this time.
const REST: Duration = Duration::from_secs(5);
/// Idle CPU is measured for this time.
const IDLE: Duration = Duration::from_secs(10);

/// Resident memory without accounts and with sessions that are online.
pub async fn memory(options: &Options) {
    let sessions = options.sessions;
    println!("\n== memory: without accounts, and with {sessions} idle sessions");
    let mut found = Vec::new();
    for count in [0, sessions] {
        let world = World::new().await;
        people::make(&world.pool, count).await;
        world.analyze().await;
        let server = world.setup(&options.log).start();
        people::until_online(&world.pool, count).await;
        found.push(measure(&server, count).await);
    }
    #[expect(clippy::cast_precision_loss, reason = "KiB and sessions, far below 2^52")]
    let each = found[1].saturating_sub(found[0]) as f64 / sessions as f64;
    println!("memory: {each:.1} KiB for each idle session");
}

/// Prints what idle sessions cost, and returns the resident memory in KiB.
pub async fn measure(server: &Server, sessions: usize) -> u64 {
    let memory = at_rest(server).await;
    let before = Cpu::read(Some(server.id()));
    tokio::time::sleep(IDLE).await;
    let cpu = Cpu::read(Some(server.id())) - before;
    let share = |time: Duration| time.as_secs_f64() * 100.0 / IDLE.as_secs_f64();
    let (own, postgres) = (share(cpu.server), share(cpu.postgres));
    println!(
        "{sessions:6} sessions: {memory} KiB resident; idle CPU: server {own:.1} %, PostgreSQL {postgres:.1} %"
    );
    memory
}

/// The time of a start with many accounts, the first time and after a kill.
pub async fn start(options: &Options) {
    let accounts = options.accounts;
    println!("\n== start: {accounts} accounts");
    let world = World::new().await;
    people::make(&world.pool, accounts).await;
    world.analyze().await;
    if options.statements {
        statements::reset(&world).await;
    }
    let mut began = Instant::now();
    let mut server = world.setup(&options.log).on_a_fixed_port().start();
    for name in ["first start", "after a kill"] {
        let ready = until_ready(&server, began).await;
        let before = Cpu::read(Some(server.id()));
        people::until_online(&world.pool, accounts).await;
        let online = began.elapsed();
        let [own, postgres, _] = (Cpu::read(Some(server.id())) - before).each(accounts);
        println!(
            "{name}: ready after {:.2} s, all online after {:.2} s; CPU in µs/session: server {own:.0}, PostgreSQL \
             {postgres:.0}",
            ready.as_secs_f64(),
            online.as_secs_f64(),
        );
        if options.statements {
            statements::print(&world, accounts, "session").await;
            statements::reset(&world).await;
        }
        println!("{name}: {} KiB resident at rest", at_rest(&server).await);
        if name == "first start" {
            server.kill();
            // The state of the last process must not count as online.
            sqlx::query("UPDATE account SET session_state = 'starting'")
                .execute(&world.pool)
                .await
                .expect("the states");
            began = Instant::now();
            server.restart();
        }
    }
}

async fn until_ready(server: &Server, began: Instant) -> Duration {
    loop {
        if server.client().get("/readyz").await.status == 200 {
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The resident memory in KiB, once it has not grown for some time.
pub async fn at_rest(server: &Server) -> u64 {
    let (mut largest, mut since) = (0, Instant::now());
    while since.elapsed() < REST {
        let now = server.memory("VmRSS") / 1024;
        // Occasional single pages are no growth.
        if now > largest + largest / 200 {
            (largest, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.memory("VmRSS") / 1024
}
