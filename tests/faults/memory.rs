//! Memory under attacks by bodies and logins: bounded, and given back. Bytes are measured, not time.

use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::wait_until;

const MIB: u64 = 1 << 20;
/// The most that an attack may cost.
const MOST: u64 = 96 * MIB;
/// What may stay of it: caches, and the pages of code that it has used.
const STAYS: u64 = 24 * MIB;
/// Within this time the rest is given back.
const GIVEN_BACK: Duration = Duration::from_mins(1);
/// Requests at the same time.
const AT_ONCE: usize = 10;

/// A JSON object of 2 MiB with as many members or items as fit.
fn bodies() -> Vec<String> {
    let fill = |start: &str, item: &str, end: &str| {
        let count = (2 * 1024 * 1024 - start.len() - end.len()) / (item.len() + 1);
        format!("{start}{}{end}", vec![item; count].join(","))
    };
    vec![
        fill("{\"contacts\": [", "{}", "]}"),
        fill("{\"contacts\": [", "{\"name\":1}", "]}"),
        fill("{\"contacts\": [", "[[0]]", "]}"),
        fill("{\"numbers\": [", "1", "]}"),
        fill("{\"unknown\": [", "{\"a\":{\"b\":1}}", "]}"),
        fill("{", "\"a\":{}", "}"),
        fill("{\"message\": [", "\"\"", "]}"),
    ]
}

async fn post(api: Client, path: &'static str, body: String) -> u16 {
    let request = api.request(Method::POST, path).header("content-type", "application/json").body(body);
    api.send(request).await.status
}

/// Checks what the work costs at its peak, and that it is given back.
async fn costs_little(server: &Server, what: &str, work: impl AsyncFnOnce()) {
    let (before, peak_before) = (server.memory("VmRSS"), server.memory("VmHWM"));
    work().await;
    let peak = server.memory("VmHWM");
    let grown = if peak > peak_before { peak - before } else { 0 };
    println!("{what}: {} MiB before, {} MiB more at the peak", before / MIB, grown / MIB);
    assert!(grown < MOST, "{what}: {} MiB", grown / MIB);
    wait_until("the memory to be given back", GIVEN_BACK, || {
        (server.memory("VmRSS") < before + STAYS).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_many_small_values_cost_little() {
    let server = Server::start();
    let anna = Person::new(&server).await;
    // Once, so that the pages of code do not count.
    for path in ["/api/contacts/import-contacts/", "/o/token/"] {
        post(anna.api.clone(), path, bodies().swap_remove(0)).await;
    }
    for (number, body) in bodies().into_iter().enumerate() {
        for path in ["/api/contacts/import-contacts/", "/api/messages/send-message/", "/o/token/"] {
            costs_little(&server, &format!("body {number} to {path}"), async || {
                let mut requests = JoinSet::new();
                for _ in 0..AT_ONCE {
                    requests.spawn(post(anna.api.clone(), path, body.clone()));
                }
                for status in requests.join_all().await {
                    assert!((400..500).contains(&status) || status == 503, "{status}");
                }
            })
            .await;
        }
    }
    assert_eq!(anna.api.get("/api/account/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_cost_a_buffer_for_each_core() {
    let server = Server::setup().env("WINDU_TRUSTED_PROXIES", "127.0.0.0/8").start();
    costs_little(&server, "300 failed logins", async || {
        let mut requests = JoinSet::new();
        for number in 0..300 {
            let api = server.client().clone();
            requests.spawn(async move {
                let (name, address) = (format!("user{number}"), format!("198.51.100.{}", number % 250));
                let form = [
                    ("grant_type", "password"),
                    ("username", name.as_str()),
                    ("password", "a wrong password"),
                    ("client_id", "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY"),
                ];
                let request = api.request(Method::POST, "/o/token/").form(&form);
                let answer = api.send(request.header("x-forwarded-for", address)).await;
                assert!([400, 503].contains(&answer.status), "{}", answer.text());
            });
            // No more at once than may wait for a core, so that most of them are hashed.
            if requests.len() >= 60 {
                requests.join_next().await;
            }
        }
        requests.join_all().await;
    })
    .await;
}
