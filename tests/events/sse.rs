//! A client of a stream, as the HTML standard parses it.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::wait::DEADLINE;

/// An open stream.
pub struct Sse {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

/// What stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u64>,
    pub has_comment: bool,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().expect("data")).expect("JSON")
    }

    /// Whether it is an event of a stream, not `ready`, `end` or a sign of life.
    pub fn is_event(&self) -> bool {
        self.data.is_some() && !["ready", "end"].contains(&self.event.as_deref().unwrap_or_default())
    }
}

impl Sse {
    /// # Panics
    /// When the answer is no stream.
    pub async fn open(api: &Client, query: &str) -> Self {
        let request = api.request(Method::GET, &format!("/api/events/stream/?{query}"));
        Self::of(request).await
    }

    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(Duration::from_mins(10)).send().await.expect("an answer");
        let status = response.status().as_u16();
        assert_eq!(status, 200, "{}", response.text().await.unwrap_or_default());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self::over(response)
    }

    /// A stream that was opened.
    pub fn over(response: reqwest::Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(parse(std::str::from_utf8(&text).expect("UTF-8")));
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("in time");
            self.buffer.extend(chunk.ok().flatten()?);
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        loop {
            let frame = self.next().await.expect("an event, not the end");
            if frame.is_event() {
                return frame.json();
            }
            assert_ne!(frame.event.as_deref(), Some("end"), "{frame:?}");
        }
    }

    /// The next event of a type.
    pub async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The code in the frame `end`; then nothing follows.
    pub async fn end(&mut self) -> String {
        loop {
            let frame = self.next().await.expect("a frame");
            if frame.event.as_deref() == Some("end") {
                assert_eq!(self.next().await, None);
                return frame.json()["code"].as_str().expect("a code").to_owned();
            }
        }
    }
}

fn parse(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "" => frame.has_comment |= line.starts_with(':'),
            "id" => frame.id = Some(value),
            "event" => frame.event = Some(value),
            "data" => assert!(frame.data.replace(value).is_none(), "two lines of data: {text}"),
            "retry" => frame.retry = Some(value.parse().expect("digits")),
            _ => panic!("{line}"),
        }
    }
    frame
}
