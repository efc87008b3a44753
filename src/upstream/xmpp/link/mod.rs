//! The task that owns a stream: it reads and writes stanzas, counts them, answers and awaits IQs, and watches for silence.
//!
//! A received stanza is acknowledged (XEP-0198, section 4) when it is closed in the [`Ledger`], which is after the commit
//! for what is stored. A stream is never resumed: a new one gets what was not acknowledged.

mod handle;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_xmpp::xmlstream::ReadError;

use super::failure::IqFailure;
use super::in_flight::InFlight;
use super::iq;
use super::ledger::Ledger;
use super::login::{ElementStream, LoggedIn, condition};
use super::xml::{Build as _, Element, element, ns};
use crate::lifecycle::Lifecycle;
use crate::secrets;

pub(super) use handle::Link;

use handle::Request;

/// Requests to the link that may wait.
const REQUESTS: usize = 64;
/// Received stanzas that may wait for the reader.
const STANZAS: usize = 64;
/// The server is asked for an acknowledgement at least this often.
const ROUND_TRIP: Duration = Duration::from_secs(20);
/// For an acknowledgement that was asked for, and for one write.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// For what is left to say when a connection is dropped.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The interval of the checks.
const CHECK: Duration = Duration::from_secs(1);

/// What a link passes on.
pub(super) enum Received {
    /// A message or presence, open in the ledger under this number.
    Stanza(u64, Box<Element>),
    /// The server has acknowledged something.
    Alive,
    /// The last one.
    End(LinkEnd),
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// By the server, with this condition (RFC 6120, section 4.9.3), or without one.
    Closed(Option<String>),
    /// By the network, or by what is no XML.
    Broken,
    /// Nothing came in time.
    Silent,
}

/// Starts the task of a stream.
pub(super) fn start(
    logged_in: LoggedIn,
    in_flight: &InFlight,
    lifecycle: &Lifecycle,
) -> (Link, Ledger, mpsc::Receiver<Received>) {
    let (requests, incoming_requests) = mpsc::channel(REQUESTS);
    let (passing_on, received) = mpsc::channel(STANZAS);
    let (ledger, confirmed) = (Ledger::default(), Arc::<AtomicU64>::default());
    let task = LinkTask {
        stream: logged_in.stream,
        requests: incoming_requests,
        own: logged_in.address,
        ledger: ledger.clone(),
        uncounted: u64::try_from(logged_in.early.len()).unwrap_or_default(),
        early: logged_in.early,
        in_flight: in_flight.clone(),
        asked: HashMap::new(),
        sent: 0,
        acknowledged: 0,
        marks: VecDeque::new(),
        confirmed: confirmed.clone(),
        reported: 0,
        heard: Instant::now(),
        awaited_since: None,
    };
    lifecycle.spawn(task.run(passing_on));
    (Link { requests, confirmed }, ledger, received)
}

/// An IQ that has no answer yet.
struct Asked {
    /// The address that it went to; `None`: the account's own.
    to: Option<String>,
    answer: oneshot::Sender<Result<Element, IqFailure>>,
}

struct LinkTask {
    stream: ElementStream,
    requests: mpsc::Receiver<Request>,
    own: String,
    ledger: Ledger,
    /// Stanzas that came before the server began to count, which are the first ones of the ledger.
    early: Vec<Element>,
    uncounted: u64,
    in_flight: InFlight,
    asked: HashMap<String, Asked>,
    /// Stanzas sent.
    sent: u64,
    /// Sent stanzas that the server has acknowledged.
    acknowledged: u64,
    /// Numbers of received stanzas, each with the number of sent stanzas that has their receipts.
    marks: VecDeque<(u64, u64)>,
    confirmed: Arc<AtomicU64>,
    /// Received stanzas that the server knows to be handled.
    reported: u64,
    heard: Instant,
    /// When the server was asked for the acknowledgement that has not come.
    awaited_since: Option<Instant>,
}

impl LinkTask {
    async fn run(mut self, passing_on: mpsc::Sender<Received>) {
        let end = tokio::select! {
            end = self.work(&passing_on) => end,
            // Nobody reads any more.
            () = passing_on.closed() => None,
        };
        if let Some(end) = end {
            let _ = passing_on.send(Received::End(end)).await;
        } else {
            let _ = timeout(LAST_WORDS, self.finish()).await;
        }
    }

    /// Sends what was requested and acknowledges what was handled, so that the server need not repeat it, and closes the
    /// stream.
    async fn finish(&mut self) -> Result<(), LinkEnd> {
        self.requests.close();
        self.catch_up_with_requests().await?;
        self.acknowledge().await?;
        let _ = self.stream.shutdown().await;
        Ok(())
    }

    /// Works until the stream ends; `None` when all handles were dropped.
    async fn work(&mut self, passing_on: &mpsc::Sender<Received>) -> Option<LinkEnd> {
        let ledger = self.ledger.clone();
        for element in std::mem::take(&mut self.early) {
            let permit = passing_on.reserve().await.ok()?;
            if let Err(end) = self.receive(element, permit).await {
                return Some(end);
            }
        }
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let may_read = !ledger.is_full();
            let worked = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request).await,
                    None => return None,
                },
                () = ledger.changed() => self.acknowledge().await,
                _ = check.tick() => self.check(may_read && passing_on.capacity() > 0).await,
                read = read(&mut self.stream, passing_on), if may_read => match read {
                    Some((permit, Ok(element))) => self.receive(element, permit).await,
                    Some((_, Err(ReadError::SoftTimeout))) => Ok(()),
                    Some((_, Err(ReadError::StreamFooterReceived))) | None => Err(LinkEnd::Closed(None)),
                    Some((_, Err(ReadError::HardError(error)))) => {
                        tracing::debug!(%error, "a stream broke");
                        Err(LinkEnd::Broken)
                    }
                    Some((_, Err(ReadError::ParseError(error)))) => {
                        tracing::warn!(%error, "a stream has what cannot be read");
                        Err(LinkEnd::Broken)
                    }
                },
            };
            if let Err(end) = worked {
                return Some(end);
            }
        }
    }

    async fn catch_up_with_requests(&mut self) -> Result<(), LinkEnd> {
        while let Ok(request) = self.requests.try_recv() {
            self.request(request).await?;
        }
        Ok(())
    }

    async fn request(&mut self, request: Request) -> Result<(), LinkEnd> {
        match request {
            Request::Send(stanzas) => self.write(&stanzas).await,
            Request::Mark(number) => {
                self.marks.push_back((number, self.sent));
                self.confirm();
                Ok(())
            }
            Request::Ask { iq, answer } => {
                self.asked.retain(|_, asked| !asked.answer.is_closed());
                let id = secrets::random_id();
                let to = iq.attr("to").map(str::to_owned);
                let iq = iq.attribute("id", &id);
                self.asked.insert(id, Asked { to, answer });
                self.write(&[iq]).await
            }
        }
    }

    /// Writes stanzas, and asks for an acknowledgement.
    async fn write(&mut self, stanzas: &[Element]) -> Result<(), LinkEnd> {
        self.sent += u64::try_from(stanzas.len()).unwrap_or_default();
        let stream = &mut self.stream;
        let writing = async {
            for stanza in stanzas {
                stream.feed(stanza).await?;
            }
            stream.send(&element("r", ns::SM)).await
        };
        self.awaited_since.get_or_insert_with(Instant::now);
        written(timeout(ANSWER_TIMEOUT, writing).await)
    }

    /// Tells the server which stanzas are handled.
    async fn acknowledge(&mut self) -> Result<(), LinkEnd> {
        if self.ledger.handled() == self.reported {
            return Ok(());
        }
        self.report().await
    }

    async fn report(&mut self) -> Result<(), LinkEnd> {
        let handled = self.ledger.handled();
        // The receipts of these stanzas were requested before: a server that forgets a stanza must have its receipt.
        self.catch_up_with_requests().await?;
        self.reported = handled;
        // Counted modulo 2^32 (XEP-0198, section 4).
        let count = (handled.saturating_sub(self.uncounted) & u64::from(u32::MAX)).to_string();
        let answer = element("a", ns::SM).attribute("h", &count);
        written(timeout(ANSWER_TIMEOUT, self.stream.send(&answer)).await)
    }

    /// Looks for silence. While the socket is not read, nothing can be heard.
    async fn check(&mut self, reading: bool) -> Result<(), LinkEnd> {
        if !reading {
            self.heard = Instant::now();
            self.awaited_since = self.awaited_since.map(|_| self.heard);
            return Ok(());
        }
        match self.awaited_since {
            Some(since) if since.elapsed() > ANSWER_TIMEOUT => Err(LinkEnd::Silent),
            None if self.heard.elapsed() > ROUND_TRIP => self.write(&[]).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn receive(&mut self, element: Element, permit: mpsc::Permit<'_, Received>) -> Result<(), LinkEnd> {
        self.heard = Instant::now();
        if element.has_ns(ns::SM) {
            return match element.name() {
                "r" => self.report().await,
                "a" => {
                    self.hear_acknowledgement(&element);
                    permit.send(Received::Alive);
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        if element.is("error", ns::STREAM) {
            return Err(LinkEnd::Closed(Some(condition(&element))));
        }
        if !element.has_ns(ns::CLIENT) {
            return Ok(());
        }
        let number = self.ledger.receive();
        if element.name() == "message"
            && element.attr("type") == Some("error")
            && let Some(id) = element.attr("id")
        {
            // Here and not in the reader, so that it is known when the answer behind it is.
            if self.in_flight.fail(id, &IqFailure::of(&element)) {
                self.ledger.close([number]);
                return Ok(());
            }
        }
        if element.name() == "message"
            && element.attr("type") == Some("groupchat")
            && let Some(id) = element.attr("id")
        {
            self.in_flight.pass(id);
        }
        if element.name() == "iq" {
            self.ledger.close([number]);
            return self.receive_iq(&element).await;
        }
        permit.send(Received::Stanza(number, Box::new(element)));
        Ok(())
    }

    fn hear_acknowledgement(&mut self, element: &Element) {
        let Some(count) = element.attr("h").and_then(|count| count.parse::<u32>().ok()) else { return };
        // The distance is small, whatever the server counts modulo.
        let sent = u32::try_from(self.sent & u64::from(u32::MAX)).unwrap_or_default();
        self.acknowledged = self.sent.saturating_sub(u64::from(sent.wrapping_sub(count)));
        self.awaited_since = if self.acknowledged == self.sent { None } else { Some(Instant::now()) };
        self.confirm();
    }

    fn confirm(&mut self) {
        while let Some((number, _)) = self.marks.pop_front_if(|(_, sent)| *sent <= self.acknowledged) {
            self.confirmed.store(number, Ordering::Release);
        }
    }

    async fn receive_iq(&mut self, iq: &Element) -> Result<(), LinkEnd> {
        match iq.attr("type") {
            Some("result" | "error") => {
                let asked = iq.attr("id").and_then(|id| self.asked.get(id).map(|asked| (id, asked)));
                if let Some((id, asked)) = asked
                    && iq::is_from(&self.own, iq.attr("from"), asked.to.as_deref())
                {
                    let id = id.to_owned();
                    if let Some(asked) = self.asked.remove(&id) {
                        let answer = if iq.attr("type") == Some("error") {
                            Err(IqFailure::of(iq))
                        } else {
                            Ok(iq.clone())
                        };
                        // Fails when the asker has given up.
                        let _ = asked.answer.send(answer);
                    }
                }
                Ok(())
            }
            Some("get" | "set") => {
                let answer = iq::answer(&self.own, iq);
                self.write(&[answer]).await
            }
            _ => Ok(()),
        }
    }
}

/// Reads an element once the reader has room for it; `None` at the end of the stream.
async fn read<'a>(
    stream: &mut ElementStream,
    passing_on: &'a mpsc::Sender<Received>,
) -> Option<(mpsc::Permit<'a, Received>, Result<Element, ReadError>)> {
    let permit = passing_on.reserve().await.ok()?;
    Some((permit, stream.next().await?))
}

fn written(written: Result<std::io::Result<()>, tokio::time::error::Elapsed>) -> Result<(), LinkEnd> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a stream broke");
            Err(LinkEnd::Broken)
        }
        Err(_) => Err(LinkEnd::Silent),
    }
}
