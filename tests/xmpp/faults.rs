//! Faults between the program and its server, and of both, while messages flow.

use tokio::task::block_in_place;

use crate::support::guarantees::{expire_killed_processes, print_summary, soak};
use crate::support::people::{Person, texts};
use crate::support::proxy::{Proxy, Side};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::{Software, XmppServer};
use crate::traffic::Traffic;
use crate::world::{jid, messages_up_to, outsider_of, romeo, setup, setup_at, shared};

on_both_servers!(
    connections_are_cut_in_the_middle_of_stanzas,
    connections_are_reset,
    the_link_is_slow,
    connections_fall_silent,
    the_xmpp_server_is_killed,
    the_program_is_killed,
    the_program_is_killed_while_it_catches_up,
    what_is_not_stored_yet_is_not_acknowledged,
    messages_that_no_archive_may_have_wait_for_the_account,
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
    print_summary(
        "xmpp_silence",
        &[("black_holes", rounds)],
        traffic.finish_after_silence(&server, xmpp, rounds).await,
    );
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

/// What the server sends before the session is online is read from the archive and comes by itself, and the kills come in
/// between.
async fn the_program_is_killed_while_it_catches_up(software: Software) {
    const WAITING: usize = 200;
    let xmpp = shared(software);
    let proxy = Proxy::start(xmpp.address());
    let mut server = block_in_place(|| server_at(xmpp, &proxy, "starttls"));
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    let mut ids = vec![romeo.chat(&address).text_to_confirm("0").await];
    let outsider = outsider_of(&anna).await;
    block_in_place(|| server.kill());
    for number in 1..=WAITING {
        ids.push(romeo.chat(&address).text_to_confirm(&number.to_string()).await);
    }
    let mut stored = 1;
    for round in 0..rounds() {
        block_in_place(|| {
            expire_killed_processes(server.database());
            proxy.slow(30_000);
            server.restart();
        });
        // The number that is stored before the kill differs from round to round.
        stored = wait_until_async("more messages", DEADLINE, async || {
            let now =
                server.database().sql("SELECT count(*) FROM message").parse::<usize>().expect("a number");
            (now > stored + 3 * round || now > WAITING).then_some(now)
        })
        .await;
        ids.push(romeo.chat(&address).text_to_confirm(&(WAITING + 1 + round).to_string()).await);
        block_in_place(|| server.kill());
    }
    proxy.heal().await;
    block_in_place(|| {
        expire_killed_processes(server.database());
        server.restart();
    });
    let last = (WAITING + rounds()).to_string();
    let heard = texts(&messages_up_to(&anna, &outsider, &last).await);
    let all: Vec<String> = (0..=WAITING + rounds()).map(|number| number.to_string()).collect();
    assert_eq!(heard, all, "in order, each once");
    // A receipt may come twice, and is never missing.
    for id in ids {
        romeo.until("a receipt", |event| event["receipt"] == id).await;
    }
}

/// No archive has a message without a body and without a hint to store it, so only the server's repetition brings it again.
async fn what_is_not_stored_yet_is_not_acknowledged(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("before").await;
    let outsider = outsider_of(&anna).await;
    let lock = server.database().lock_number(&anna.number);
    let message = format!(
        "<message xmlns='jabber:client' type='chat' to='{address}' id='unknown-1'><poll xmlns='urn:example:poll'/>\
         </message>"
    );
    romeo.raw(&message).await;
    // The program answers behind the message, so it has it; and twice, so that an acknowledgement would be out.
    for _ in 0..2 {
        let ping = format!(
            "<iq xmlns='jabber:client' type='get' to='{address}/windu'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        romeo.request(&ping).await.expect("an answer");
    }
    block_in_place(|| server.kill());
    drop(lock);
    assert_eq!(server.database().sql("SELECT count(*) FROM message"), "1");
    block_in_place(|| {
        expire_killed_processes(server.database());
        server.restart();
    });
    anna.waits_until(&outsider, "unknown-1", |message| message["what"] == "unknown").await;
}

/// The server keeps them apart from the archive, and gives them to the next connection.
async fn messages_that_no_archive_may_have_wait_for_the_account(software: Software) {
    // More than may wait in the memory of the program.
    const COUNT: usize = 250;
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("0").await;
    let outsider = outsider_of(&anna).await;
    block_in_place(|| server.kill());
    let apart = |id: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' to='{address}' id='{id}'><body>{id}</body>\
             <no-permanent-store xmlns='urn:xmpp:hints'/></message>"
        )
    };
    romeo.raw(&apart("apart 1")).await;
    for number in 1..COUNT {
        romeo.chat(&address).text(&number.to_string()).await;
    }
    romeo.raw(&apart("apart 2")).await;
    // The server answers behind the messages.
    let ping = "<iq xmlns='jabber:client' type='get'><ping xmlns='urn:xmpp:ping'/></iq>";
    let _ = romeo.request(ping).await;
    block_in_place(|| {
        expire_killed_processes(server.database());
        server.restart();
    });
    anna.waits_until(&outsider, "apart 1", |_| true).await;
    let heard = texts(&messages_up_to(&anna, &outsider, "apart 2").await);
    let of_archive: Vec<_> = heard.iter().filter(|text| !text.starts_with("apart")).collect();
    assert_eq!(of_archive, Vec::from_iter(&(0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>()));
    assert_eq!(heard.len(), COUNT + 2);
}
