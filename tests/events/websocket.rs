//! A client of the socket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::client::Client;
use crate::support::wait::DEADLINE;

pub struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub protocol: Option<String>,
    /// Pings of the server.
    pub pings: usize,
}

/// What a server sends.
#[derive(Debug)]
pub enum Frame {
    Json(Value),
    /// The close code and its reason.
    Closed(u16, String),
    Lost,
}

impl Socket {
    /// With the token of the client, if it has one.
    pub async fn open(api: &Client, query: &str) -> Self {
        let token = (!api.token().is_empty()).then(|| format!("Bearer {}", api.token()));
        let headers = token.as_deref().map(|token| ("authorization", token));
        Self::try_open(api.base(), query, headers.as_slice()).await.expect("an upgrade")
    }

    /// The status, when it is refused before the upgrade.
    pub async fn try_open(base: &str, query: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let url = format!("{}/api/events/ws/?{query}", base.replace("http://", "ws://"));
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers.iter().chain(&[("sec-websocket-protocol", "other, windu.events.v1")]) {
            let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
            request.headers_mut().insert(name.expect("a name"), value.expect("a value"));
        }
        match connect_async(request).await {
            Ok((inner, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().expect("ASCII").to_owned());
                Ok(Self { inner, protocol, pings: 0 })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(_) => Err(0),
        }
    }

    pub async fn says(&mut self, message: &Value) {
        self.sends(Message::text(message.to_string())).await;
    }

    pub async fn sends(&mut self, message: Message) {
        // The server may have closed already.
        let _ = self.inner.send(message).await;
    }

    /// The next frame, within a while.
    pub async fn next(&mut self) -> Frame {
        self.next_within(DEADLINE).await.expect("in time")
    }

    /// `None`: nothing came.
    pub async fn next_within(&mut self, time: Duration) -> Option<Frame> {
        let next = async {
            loop {
                match self.inner.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Frame::Json(serde_json::from_str(&text).expect("JSON"));
                    }
                    Some(Ok(Message::Close(Some(close)))) => {
                        return Frame::Closed(close.code.into(), close.reason.to_string());
                    }
                    Some(Ok(Message::Ping(_))) => self.pings += 1,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Frame::Lost,
                }
            }
        };
        tokio::time::timeout(time, next).await.ok()
    }

    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Frame::Json(value) => value,
            other => panic!("{other:?}"),
        }
    }

    /// The next event of a type.
    pub async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.json().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The close code and its reason, after whatever comes before it.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Frame::Json(_) => {}
                Frame::Closed(code, reason) => return (code, reason),
                Frame::Lost => panic!("lost without a close frame"),
            }
        }
    }
}
