//! Access to a link: what others ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::xml::Element;

/// Access to a link. Clones share it; the link ends when all are dropped.
#[derive(Clone)]
pub struct Link {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) confirmed: Arc<AtomicU64>,
}

pub(super) enum Request {
    Send(Vec<Element>),
    Ask {
        iq: Box<Element>,
        answer: oneshot::Sender<Result<Element, IqFailure>>,
    },
    /// What was sent until now has the receipts of the received stanzas up to this number.
    Mark(u64),
}

impl Link {
    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends stanzas, in order. They may be lost with the connection.
    pub async fn send(&self, stanzas: Vec<Element>) -> Result<(), IqFailure> {
        self.requests.send(Request::Send(stanzas)).await.map_err(|_| IqFailure::NoAnswer)
    }

    /// Says that the receipts of the received stanzas up to this number were sent.
    pub async fn mark(&self, number: u64) {
        // Fails when the stream has ended; then they may be lost.
        let _ = self.requests.send(Request::Mark(number)).await;
    }

    /// The last received stanza whose receipt, and those before, the server has for certain.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Sends an IQ, to which an id is given, and returns the result.
    pub async fn ask(&self, iq: Element) -> Result<Element, IqFailure> {
        self.begin_to_ask(iq).await?.await.unwrap_or(Err(IqFailure::NoAnswer))
    }

    /// Sends an IQ; the answer comes on the channel.
    pub async fn begin_to_ask(
        &self,
        iq: Element,
    ) -> Result<oneshot::Receiver<Result<Element, IqFailure>>, IqFailure> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(Request::Ask { iq: Box::new(iq), answer })
            .await
            .map_err(|_| IqFailure::NoAnswer)?;
        Ok(answered)
    }
}
