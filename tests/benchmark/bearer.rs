//! The cost of a request and of its token: `/livez` as the floor, an endpoint that reads one account, and the same
//! endpoint with an unknown token.

use crate::Options;
use crate::load;
use crate::meter::Cpu;
use crate::report::Ratios;
use crate::send::{Talk, per_second};

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 40_000;
const ENDPOINT: &str = "/api/account/nickname/";

/// Measures the three in turn.
pub async fn run(options: &Options) {
    let talk = Talk::start(options).await;
    println!("\n== bearer: {CONNECTIONS} connections, {REQUESTS} requests, {} tokens", talk.pairs.len());
    println!("   CPU in µs/request: server, PostgreSQL, load");
    let requests = |path: &str, token: &dyn Fn(usize) -> Option<String>| -> Vec<Vec<u8>> {
        (0..CONNECTIONS).map(|connection| load::get(path, token(connection).as_deref())).collect()
    };
    let cases = [
        ("/livez", 200, requests("/livez", &|_| None)),
        (
            "nickname",
            200,
            requests(ENDPOINT, &|index| Some(talk.pairs[index % talk.pairs.len()].0.token.clone())),
        ),
        ("nickname, invalid token", 401, requests(ENDPOINT, &|index| Some(format!("no-such-token-{index}")))),
    ];
    let mut ratios = [Ratios::default(), Ratios::default()];
    for round in 0..=options.rounds {
        let mut rates = Vec::new();
        for (name, status, requests) in &cases {
            let before = Cpu::read(Some(talk.server.id()));
            let took = load::run(talk.server.address(), requests, REQUESTS, *status).await;
            let [server, postgres, load] = (Cpu::read(Some(talk.server.id())) - before).each(REQUESTS);
            rates.push(per_second(REQUESTS, took));
            // The first round warms up.
            if round > 0 {
                let rate = rates[rates.len() - 1];
                println!("{round:3}  {name:24} {rate:6.0}/s; CPU {server:4.0} {postgres:4.0} {load:3.0}");
            }
        }
        if round > 0 {
            ratios[0].add(rates[1] / rates[0]);
            ratios[1].add(rates[2] / rates[0]);
        }
    }
    ratios[0].print("nickname to /livez", "");
    ratios[1].print("invalid token to /livez", "");
}
