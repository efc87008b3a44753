//! Messages that flow in groups while something fails. None is lost, none is there twice, and each list has those of one
//! sender in the order in which they were sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use crate::faults::rounds;
use crate::support::guarantees::{
    Tally, assert_guarantees, assert_guarantees_without_receipts, expire_killed_processes, print_summary,
    undelivered,
};
use crate::support::load::{all, numbers};
use crate::support::people::Person;
use crate::support::proxy::Proxy;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::peer::Peer;
use crate::support::xmpp::{Software, XmppServer};
use crate::traffic::{parts, try_to_send};
use crate::world::{jid, outsider_of, romeo, setup, setup_at, shared};

on_both_servers!(
    the_program_is_killed_with_groups,
    connections_are_reset_with_groups,
    the_xmpp_server_is_killed_with_groups,
);

/// Between two messages of a sender.
const PAUSE: Duration = Duration::from_millis(150);

/// Three people who write into a group of theirs, and an outsider who writes into another one of two of them.
struct GroupTraffic {
    people: [Arc<Person>; 3],
    group: String,
    outside: Option<Outside>,
    tasks: JoinSet<(usize, Vec<Option<String>>)>,
    next: Arc<[AtomicUsize; 3]>,
    stop: Arc<AtomicBool>,
}

struct Outside {
    romeo: Arc<Peer>,
    outsider: String,
    group: String,
    room: String,
    writing: JoinSet<usize>,
}

impl GroupTraffic {
    async fn start(server: &Server, xmpp: &XmppServer, with_outsider: bool) -> Self {
        let (anna, ben) = Person::two_friends(server).await;
        let outside = if with_outsider { Some(Outside::start(&anna, &ben, xmpp).await) } else { None };
        let cleo = Person::new(server).await;
        anna.adds_contact(&cleo.number).await;
        let group = anna.makes_group("Traffic", &[&ben.number, &cleo.number]).await;
        for person in [&ben, &cleo] {
            person.group_until(&group, "the group", |_| true).await;
        }
        let (people, next) = ([anna, ben, cleo].map(Arc::new), Arc::<[AtomicUsize; 3]>::default());
        let (stop, mut tasks) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for (index, person) in people.iter().enumerate() {
            tasks.spawn(send_on(index, person.clone(), group.clone(), next.clone(), stop.clone()));
        }
        Self { people, group, outside, tasks, next, stop }
    }

    /// Waits until of each sender `more` messages have arrived that were sent after this call.
    async fn wait_for_more(&self, more: usize) {
        let goals = self.next.each_ref().map(|next| next.load(Ordering::Relaxed) + more);
        for (sender, goal) in goals.into_iter().enumerate() {
            let receiver = &self.people[(sender + 1) % 3];
            wait_until_async(&format!("{goal} of {sender}"), DEADLINE * 2, async || {
                let from = self.people[sender].number.as_str();
                let list = receiver.list(&format!("/api/messages/chats/{}/?limit=50", self.group)).await;
                let list: Vec<Value> =
                    list.into_iter().filter(|message| message["participant"] == from).collect();
                numbers(&list).last().is_some_and(|last| *last >= goal).then_some(())
            })
            .await;
        }
    }

    /// Stops sending and checks what has arrived.
    /// `forgetful`: a server that was killed, and that may have forgotten receipts.
    async fn finish(self, server: &Server, forgetful: Option<&XmppServer>) -> Tally {
        let Self { people, group, outside, tasks, next: _, stop } = self;
        stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        if let Some(outside) = outside {
            tally = tally + outside.finish(&people[..2]).await;
        }
        let sent = tasks.join_all().await;
        wait_until_async("all receipts", DEADLINE * 2, async || {
            block_in_place(|| match forgetful {
                None => undelivered(server.database()).is_empty(),
                Some(xmpp) => undelivered(server.database()).iter().all(|(sender, id)| {
                    // Both other members' receipts are needed.
                    xmpp.kept_for(sender).receipts.get(id).is_none_or(|from| from.len() < 2)
                }),
            })
            .then_some(())
        })
        .await;
        block_in_place(|| match forgetful {
            None => assert_guarantees(server.database()),
            Some(_) => assert_guarantees_without_receipts(server.database()),
        });
        for (sender, ids) in sent {
            let own = listed(&people[sender], &group, None).await;
            for person in people.iter().filter(|person| person.number != people[sender].number) {
                let arrived = listed(person, &group, Some(&people[sender].number)).await;
                assert_eq!(parts(&arrived), parts(&own), "what {} has of {sender}", person.number);
                assert!(numbers(&arrived).is_sorted_by(|one, next| one < next), "{:?}", numbers(&arrived));
                tally.arrived += arrived.len();
            }
            for (number, id) in ids.iter().enumerate() {
                if let Some(id) = id {
                    let text = number.to_string();
                    let stored = own.iter().find(|message| message["text"] == text.as_str());
                    assert_eq!(stored.map(|message| &message["id"]), Some(&json!(id)), "{number} is lost");
                    tally.acknowledged += 1;
                }
            }
        }
        tally
    }
}

impl Outside {
    async fn start(anna: &Person, ben: &Person, xmpp: &XmppServer) -> Self {
        let romeo = Arc::new(romeo(xmpp).await);
        romeo.chat(&jid(anna, xmpp)).text("May I come?").await;
        let outsider = outsider_of(anna).await;
        let group = anna.makes_group("The ball", &[&ben.number, &outsider]).await;
        let invitation = romeo.until("an invitation", |event| event["invited_to"].is_string()).await;
        let room = invitation["invited_to"].as_str().expect("an address").to_owned();
        romeo.join(&room, "Romeo", 0).await.expect("a member may join");
        ben.group_until(&group, "the group", |_| true).await;
        Self { romeo, outsider, group, room, writing: JoinSet::new() }
    }

    /// Writes numbers into its group.
    fn write(&mut self, count: usize) {
        let (romeo, room) = (self.romeo.clone(), self.room.clone());
        self.writing.spawn(async move {
            for number in 0..count {
                romeo.room(&room).text(&number.to_string()).await;
                sleep(PAUSE).await;
            }
            count
        });
    }

    /// What it has written is with both, once and in order.
    async fn finish(self, people: &[Arc<Person>]) -> Tally {
        let count: usize = self.writing.join_all().await.into_iter().sum();
        let expected: Vec<usize> = (0..count).collect();
        for person in people {
            wait_until_async("all of the outsider's messages", DEADLINE * 2, async || {
                let arrived = listed(person, &self.group, Some(&self.outsider)).await;
                (numbers(&arrived).last() == expected.last()).then_some(())
            })
            .await;
            assert_eq!(numbers(&listed(person, &self.group, Some(&self.outsider)).await), expected);
        }
        Tally { acknowledged: count, arrived: count * people.len() }
    }
}

/// Sends numbers into a group until the traffic ends. Returns the ids of those that were accepted.
async fn send_on(
    index: usize,
    sender: Arc<Person>,
    group: String,
    next: Arc<[AtomicUsize; 3]>,
    stop: Arc<AtomicBool>,
) -> (usize, Vec<Option<String>>) {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let text = next[index].fetch_add(1, Ordering::Relaxed).to_string();
        let id = try_to_send(&sender, &[("group_id", &group), ("message", &text)]).await;
        sent.push(id);
        sleep(PAUSE).await;
    }
    (index, sent)
}

/// The messages of one participant in a group, or the own ones, oldest first.
async fn listed(person: &Person, group: &str, from: Option<&str>) -> Vec<Value> {
    let mut messages = all(&person.api, &format!("/api/messages/chats/{group}/")).await;
    messages.retain(|message| match from {
        Some(from) => message["participant"] == from,
        None => message["received"] == false,
    });
    messages
}

async fn the_program_is_killed_with_groups(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let mut traffic = GroupTraffic::start(&server, xmpp, true).await;
    traffic.outside.as_mut().expect("an outsider").write(40 * rounds());
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_groups_killed", &[("kills", rounds())], traffic.finish(&server, None).await);
}

async fn connections_are_reset_with_groups(software: Software) {
    let xmpp = shared(software);
    let proxy = Proxy::start(xmpp.address());
    let server = setup_at(xmpp, proxy.address(), "starttls").on_a_fixed_port().start();
    let mut traffic = GroupTraffic::start(&server, xmpp, true).await;
    traffic.outside.as_mut().expect("an outsider").write(20 * rounds());
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        proxy.reset().await;
        proxy.heal().await;
    }
    traffic.wait_for_more(5).await;
    print_summary("xmpp_groups_reset", &[("resets", rounds())], traffic.finish(&server, None).await);
}

async fn the_xmpp_server_is_killed_with_groups(software: Software) {
    let mut xmpp = block_in_place(|| XmppServer::start(software));
    let server = setup(&xmpp).on_a_fixed_port().start();
    let traffic = GroupTraffic::start(&server, &xmpp, false).await;
    for _ in 0..rounds() {
        traffic.wait_for_more(5).await;
        block_in_place(|| {
            xmpp.kill();
            xmpp.restart();
        });
    }
    traffic.wait_for_more(5).await;
    let forgetful = (software == Software::Ejabberd).then_some(&xmpp);
    let tally = traffic.finish(&server, forgetful).await;
    print_summary("xmpp_groups_server_killed", &[("kills", rounds())], tally);
}
