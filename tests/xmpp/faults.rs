//! Faults between the program and its server, and of both, while messages flow.

use tokio::task::block_in_place;

use crate::support::guarantees::{expire_killed_processes, print_summary, soak};
use crate::support::proxy::{Proxy, Side};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::{Software, XmppServer};
use crate::traffic::Traffic;
use crate::world::{setup, setup_at, shared};

on_both_servers!(
    connections_are_cut_in_the_middle_of_stanzas,
    connections_are_reset,
    the_link_is_slow,
    connections_fall_silent,
    the_xmpp_server_is_killed,
    the_program_is_killed,
);

/// The number of rounds of a fault.
pub fn rounds() -> usize {
    if soak() { 20 } else { 3 }
}

fn server_at(xmpp: &XmppServer, proxy: &Proxy, tls: &str) -> Server {
    setup_at(xmpp, proxy.address(), tls).on_a_fixed_port().start()
}

async fn connections_are_cut_in_the_middle_of_stanzas(software: Software) {
    let xmpp = shared(software);
    // Without TLS, half a record of which is nothing, half a stanza is read.
    let proxy = Proxy::start(xmpp.plain());
    let server = server_at(xmpp, &proxy, "off");
    let traffic = Traffic::start(&server, xmpp).await;
    for round in 0..rounds() {
        traffic.wait_for_more(5).await;
        let ends = proxy.ends();
        let towards = if round % 2 == 0 { Side::Client } else { Side::Server };
        proxy.cut_after(1_000 + windu::secrets::random_below(2_000), towards);
        wait_until_async("a cut", DEADLINE, async || (proxy.ends() > ends).then_some(())).await;
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_cut", &[("cuts", rounds())], traffic.finish(&server).await);
}

async fn connections_are_reset(software: Software) {
    let xmpp = shared(software);
    let proxy = Proxy::start(xmpp.address());
    let server = server_at(xmpp, &proxy, "starttls");
    let traffic = Traffic::start(&server, xmpp).await;
    for round in 0..rounds() {
        traffic.wait_for_more(5).await;
        if round % 2 == 1 {
            proxy.refuse().await;
        }
        proxy.reset().await;
        proxy.heal().await;
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_reset", &[("resets", rounds())], traffic.finish(&server).await);
}

async fn the_link_is_slow(software: Software) {
    let xmpp = shared(software);
    let proxy = Proxy::start(xmpp.address());
    let server = server_at(xmpp, &proxy, "starttls");
    let traffic = Traffic::start(&server, xmpp).await;
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        proxy.slow(40_000);
        traffic.wait_for_more(5).await;
        proxy.heal().await;
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_slow", &[("slow_links", rounds())], traffic.finish(&server).await);
}

/// The program notices silence after 20 seconds, so there is one round.
async fn connections_fall_silent(software: Software) {
    let xmpp = shared(software);
    let proxy = Proxy::start(xmpp.address());
    let server = server_at(xmpp, &proxy, "starttls");
    let traffic = Traffic::start(&server, xmpp).await;
    let rounds = if soak() { 5 } else { 1 };
    for _ in 0..rounds {
        traffic.wait_for_more(5).await;
        let ends = server.log().matches("network_silent").count();
        proxy.black_hole();
        wait_until_async("the program to notice", DEADLINE, async || {
            (server.log().matches("network_silent").count() > ends).then_some(())
        })
        .await;
        // What went into it is gone.
        proxy.reset().await;
        proxy.heal().await;
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_silence", &[("black_holes", rounds)], traffic.finish(&server).await);
}

async fn the_xmpp_server_is_killed(software: Software) {
    let mut xmpp = block_in_place(|| XmppServer::start(software));
    let server = setup(&xmpp).on_a_fixed_port().start();
    let traffic = Traffic::start(&server, &xmpp).await;
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        block_in_place(|| {
            xmpp.kill();
            xmpp.restart();
        });
        traffic.outsider_logs_in(&xmpp).await;
    }
    traffic.wait_for_more(5).await;
    let tally = traffic.finish_after_kill(&server, &xmpp).await;
    print_summary("xmpp_server_killed", &[("kills", rounds())], tally);
}

async fn the_program_is_killed(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let traffic = Traffic::start(&server, xmpp).await;
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_killed", &[("kills", rounds())], traffic.finish(&server).await);
}
