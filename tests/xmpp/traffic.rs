//! Messages that flow while something fails, and the checks after it: none is lost, none is there twice, and each list has
//! them in the order in which they were sent.
//!
//! Two numbers write to each other, and one of them and somebody without a number do. That one has a connection of its own
//! to the server.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use crate::support::guarantees::{Tally, assert_guarantees, assert_guarantees_without_receipts, undelivered};
use crate::support::load::{all, numbers, wait_until_ready};
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};
use crate::support::xmpp::kept::Kept;
use crate::support::xmpp::peer::{Peer, is_from};
use crate::support::xmpp::{Software, XmppServer};
use crate::world::{jid, log_in_again, outsider_of, romeo};

/// Between two messages of a sender.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages of the outsider between two questions whether the server has them.
const BATCH: usize = 5;
/// For the answer to such a question.
const ANSWER: Duration = Duration::from_secs(3);

/// The senders and what they have sent.
pub struct Traffic {
    anna: Arc<Person>,
    ben: Arc<Person>,
    outside: Arc<Outside>,
    /// The outsider, as Anna names them.
    outsider: String,
    tasks: JoinSet<(Flow, Vec<Sent>)>,
    shared: Arc<Shared>,
}

/// Who writes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flow {
    AnnaToBen,
    BenToAnna,
    AnnaToOutsider,
    OutsiderToAnna,
}

impl Flow {
    const ALL: [Self; 4] = [Self::AnnaToBen, Self::BenToAnna, Self::AnnaToOutsider, Self::OutsiderToAnna];
}

/// A sent message.
struct Sent {
    number: usize,
    /// `None`: whether it was accepted is not known.
    id: Option<String>,
}

/// The outsider's client, which is replaced when its server was killed.
struct Outside {
    /// Anna's address.
    to: String,
    jid: String,
    peers: Mutex<Vec<Arc<Peer>>>,
}

#[derive(Default)]
struct Shared {
    /// The next number of each flow.
    next: [AtomicUsize; 4],
    stop: AtomicBool,
}

impl Traffic {
    /// All begin to send. The outsider's client connects to `xmpp` itself.
    pub async fn start(server: &Server, xmpp: &XmppServer) -> Self {
        let (anna, ben) = Person::two_friends(server).await;
        Self::between(anna, ben, xmpp).await
    }

    /// [`Traffic::start`] between two friends that are there.
    pub async fn between(anna: Person, ben: Person, xmpp: &XmppServer) -> Self {
        let peer = romeo(xmpp).await;
        let outside = Arc::new(Outside {
            to: jid(&anna, xmpp),
            jid: peer.jid().to_owned(),
            peers: Mutex::new(vec![Arc::new(peer)]),
        });
        // The first message makes the chat.
        outside.peer().chat(&outside.to).text("0").await;
        // The chat with Ben is there after the first message only.
        let outsider = outsider_of(&anna).await;
        let (anna, ben) = (Arc::new(anna), Arc::new(ben));
        let shared = Arc::<Shared>::default();
        shared.next[Flow::OutsiderToAnna as usize].store(1, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for (flow, person, to) in [
            (Flow::AnnaToBen, &anna, ben.number.clone()),
            (Flow::BenToAnna, &ben, anna.number.clone()),
            (Flow::AnnaToOutsider, &anna, outsider.clone()),
        ] {
            tasks.spawn(send_on(flow, person.clone(), to, shared.clone()));
        }
        tasks.spawn(write_on(outside.clone(), shared.clone()));
        Self { anna, ben, outside, outsider, tasks, shared }
    }

    pub fn people(&self) -> [&Person; 2] {
        [&self.anna, &self.ben]
    }

    /// Waits until of each flow `more` messages have arrived that were sent after this call.
    pub async fn wait_for_more(&self, more: usize) {
        let next = self.shared.next.each_ref().map(|next| next.load(Ordering::Relaxed));
        for flow in Flow::ALL {
            let goal = next[flow as usize] + more;
            wait_until_async(&format!("{flow:?} {goal}"), DEADLINE * 2, async || {
                let last = self.last_arrived(flow).await;
                last.is_some_and(|last| last >= goal).then_some(())
            })
            .await;
        }
    }

    /// The number of the last message that has arrived.
    async fn last_arrived(&self, flow: Flow) -> Option<usize> {
        let (person, with) = match flow {
            Flow::AnnaToBen => (&self.ben, &self.anna.number),
            Flow::BenToAnna => (&self.anna, &self.ben.number),
            Flow::OutsiderToAnna => (&self.anna, &self.outsider),
            Flow::AnnaToOutsider => return self.outside.last_heard(),
        };
        let list = person.list(&format!("/api/messages/chats/{with}/?limit=1&received_only=1")).await;
        numbers(&list).last().copied()
    }

    /// A new client of the outsider, after its server has started again.
    pub async fn outsider_logs_in(&self, xmpp: &XmppServer) {
        let peer = log_in_again(xmpp, &self.outside.peer()).await;
        peer.available().await;
        self.outside.peers.lock().expect("not poisoned").push(Arc::new(peer));
    }

    /// Stops sending and checks what has arrived. The servers must be running.
    pub async fn finish(self, server: &Server) -> Tally {
        self.check(server, None, 0).await
    }

    /// [`Self::finish`] after connections fell silent so often. The process of such a connection hangs in ejabberd until its
    /// socket fails, and archives and passes on what stood in its queue only then, beside the newer messages of the next
    /// connection; that one finds some of the queue in the archive when it reads that once more.
    pub async fn finish_after_silence(self, server: &Server, xmpp: &XmppServer, silences: usize) -> Tally {
        let late = if xmpp.software() == Software::Ejabberd { 2 * silences } else { 0 };
        self.check(server, None, late).await
    }

    /// [`Self::finish`] after the server of the network was killed. What ejabberd forgot may be missing.
    pub async fn finish_after_kill(self, server: &Server, xmpp: &XmppServer) -> Tally {
        self.outside.confirm_all().await;
        self.check(server, (xmpp.software() == Software::Ejabberd).then_some(xmpp), 0).await
    }

    /// `late`: as many queues, each in order, may come beside the messages that are in order.
    async fn check(self, server: &Server, forgetful: Option<&XmppServer>, late: usize) -> Tally {
        let Self { anna, ben, outside, outsider, tasks, shared } = self;
        shared.stop.store(true, Ordering::Relaxed);
        let sent: HashMap<Flow, Vec<Sent>> = tasks.join_all().await.into_iter().collect();
        block_in_place(|| match forgetful {
            None => assert_guarantees(server.database()),
            Some(xmpp) => assert_guarantees_but_for_the_forgotten(server, xmpp),
        });

        let mut tally = Tally::default();
        for (flow, sent) in sent {
            let (out, arrived, recipient) = match flow {
                Flow::AnnaToBen => (
                    listed(&anna, &ben.number, false).await,
                    listed(&ben, &anna.number, true).await,
                    ben.number.as_str(),
                ),
                Flow::BenToAnna => (
                    listed(&ben, &anna.number, false).await,
                    listed(&anna, &ben.number, true).await,
                    anna.number.as_str(),
                ),
                Flow::AnnaToOutsider => (
                    listed(&anna, &outsider, false).await,
                    outside.archived(&outside.to).await,
                    outside.user(),
                ),
                Flow::OutsiderToAnna => (
                    outside.archived(&outside.jid).await,
                    listed(&anna, &outsider, true).await,
                    anna.number.as_str(),
                ),
            };
            let arrived_numbers = numbers(&arrived);
            let allowed = if flow == Flow::AnnaToOutsider { 1 } else { 1 + late };
            assert!(queues(&arrived_numbers) <= allowed, "{flow:?}: {arrived_numbers:?}");
            let mut missing = parts(&out);
            missing.retain(|part| !parts(&arrived).contains(part));
            let forgotten: Vec<usize> = match forgetful {
                Some(xmpp) => {
                    let kept = block_in_place(|| xmpp.kept_for(recipient));
                    let is_kept = |id: &Value| kept.messages.iter().any(|kept| *kept == *id);
                    missing.extract_if(.., |(id, _)| !is_kept(id)).map(|(_, text)| number(text)).collect()
                }
                None => Vec::new(),
            };
            assert!(missing.is_empty(), "{flow:?}: not arrived: {missing:?}");
            assert_eq!(arrived.len() + forgotten.len(), out.len(), "{flow:?}: all that arrived was sent");
            for Sent { number, id } in &sent {
                let place = arrived_numbers.iter().position(|arrived| arrived == number);
                let stored = place.map(|place| &arrived[place]["id"]);
                if let Some(id) = id.as_ref().filter(|_| !forgotten.contains(number)) {
                    assert_eq!(stored, Some(&json!(id)), "{flow:?}: {number} is lost");
                    tally.acknowledged += 1;
                }
            }
            tally.arrived += arrived.len();
        }
        tally
    }
}

/// Of how many increasing sequences at least these numbers are a mixture.
fn queues(numbers: &[usize]) -> usize {
    let mut ends: Vec<usize> = Vec::new();
    for number in numbers {
        // The sequence that it continues with the smallest gap.
        match ends.iter_mut().filter(|end| **end < *number).max() {
            Some(end) => *end = *number,
            None => ends.push(*number),
        }
    }
    ends.len()
}

/// The guarantees, but for receipts that the server has not kept for the sender of the message.
fn assert_guarantees_but_for_the_forgotten(server: &Server, xmpp: &XmppServer) {
    assert_guarantees_without_receipts(server.database());
    // The last ones may still be on their way.
    wait_until("all receipts that were kept", DEADLINE, || {
        let mut kept = HashMap::<String, Kept>::new();
        let is_forgotten = |(sender, id): (String, String)| {
            let kept = kept.entry(sender).or_insert_with_key(|sender| xmpp.kept_for(sender));
            !kept.receipts.contains_key(&id)
        };
        undelivered(server.database()).into_iter().all(is_forgotten).then_some(())
    });
}

impl Outside {
    fn user(&self) -> &str {
        self.jid.split('@').next().expect("a user")
    }

    fn peer(&self) -> Arc<Peer> {
        self.peers.lock().expect("not poisoned").last().expect("a client").clone()
    }

    fn last_heard(&self) -> Option<usize> {
        let from_anna = |event: &Value| event["event"] == "message" && is_from(event, &self.to);
        let events = self.peer().events();
        let texts = events.iter().filter(|event| from_anna(event)).filter_map(|event| event["body"].as_str());
        texts.filter_map(|text| text.parse().ok()).max()
    }

    /// The messages with a text from somebody in its archive, each id once: what was not acknowledged is sent again.
    async fn archived(&self, from: &str) -> Vec<Value> {
        let mut messages: Vec<Value> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.peer().archive(None, after.as_deref(), 100).await;
            let Some(last) = page.last() else { break };
            after = Some(last["archive_id"].as_str().expect("an id").to_owned());
            messages.extend(page);
        }
        let mut ids = HashSet::new();
        let texts =
            messages.into_iter().filter(|message| message["body"].is_string() && is_from(message, from));
        let once = texts.filter(|message| ids.insert(message["id"].to_string()));
        once.map(|message| json!({"id": message["id"], "text": message["body"]})).collect()
    }

    /// Says again that all has arrived: a server that is killed forgets what it was about to pass on.
    async fn confirm_all(&self) {
        for message in self.archived(&self.to).await {
            self.peer().chat(&self.to).receipt(message["id"].as_str().expect("an id")).await;
        }
    }
}

/// Sends numbers through the API, until the traffic ends. A number without a response is not sent again: it may have been
/// accepted.
async fn send_on(flow: Flow, sender: Arc<Person>, to: String, shared: Arc<Shared>) -> (Flow, Vec<Sent>) {
    let mut sent = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next[flow as usize].fetch_add(1, Ordering::Relaxed);
        let text = number.to_string();
        let id = try_to_send(&sender, &[("contact", &to), ("message", &text)]).await;
        sent.push(Sent { number, id });
        sleep(PAUSE).await;
    }
    (flow, sent)
}

/// Sends a message once and returns its id; `None`: whether it was accepted is not known. Then the program serves again.
pub async fn try_to_send(sender: &Person, form: &[(&str, &str)]) -> Option<String> {
    let request = sender.api.request(reqwest::Method::POST, "/api/messages/send-message/").form(form);
    let id = match request.send().await {
        Ok(response) if response.status().as_u16() == 200 => {
            let body = response.json::<Value>().await.ok();
            body.map(|body| body["id"].as_str().expect("an id").to_owned())
        }
        Ok(response) => {
            assert_eq!(response.status().as_u16(), 503, "{}", response.text().await.unwrap_or_default());
            None
        }
        Err(_) => None,
    };
    if id.is_none() {
        wait_until_ready(&sender.api).await;
    }
    id
}

/// Sends numbers as the outsider, until the traffic ends. What its server has before it answers a question is accepted.
async fn write_on(outside: Arc<Outside>, shared: Arc<Shared>) -> (Flow, Vec<Sent>) {
    let flow = Flow::OutsiderToAnna;
    let domain = outside.jid.split('@').nth(1).expect("a domain");
    let ping =
        format!("<iq xmlns='jabber:client' type='get' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>");
    let mut sent = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let peer = outside.peer();
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let number = shared.next[flow as usize].fetch_add(1, Ordering::Relaxed);
            let text = json!({
                "do": "text", "to": outside.to, "kind": "chat", "body": number.to_string(), "receipt": true,
            });
            let id = peer.ask(text).await.ok().and_then(|id| id.as_str().map(str::to_owned));
            batch.push(Sent { number, id });
            sleep(PAUSE).await;
        }
        let answer = timeout(ANSWER, peer.request(&ping)).await;
        if !matches!(answer, Ok(Ok(_))) {
            // The client that comes next sends new numbers.
            for sent in &mut batch {
                sent.id = None;
            }
        }
        sent.extend(batch);
    }
    (flow, sent)
}

/// The messages of a chat in one direction, oldest first.
async fn listed(person: &Person, with: &str, received: bool) -> Vec<Value> {
    let mut messages = all(&person.api, &format!("/api/messages/chats/{with}/")).await;
    messages.retain(|message| message["received"] == received);
    messages
}

fn number(text: &Value) -> usize {
    text.as_str().expect("a text").parse().expect("digits")
}

/// The ids and texts of messages.
pub fn parts(messages: &[Value]) -> Vec<(&Value, &Value)> {
    messages.iter().map(|message| (&message["id"], &message["text"])).collect()
}
