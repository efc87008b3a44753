//! Sockets with a minimum pace of reading: a client that reads its response slowly, or not at all, would keep the response
//! in memory and the connection from others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How much a client may fall behind.
#[derive(Clone, Copy, Debug)]
pub struct ReadingPace {
    /// The time for which writes may wait for the client, in all.
    pub allowance: Duration,
    /// Each of these bytes that the client takes earns a second of the allowance back.
    pub bytes_per_second: u32,
}

pub const READING_PACE: ReadingPace =
    ReadingPace { allowance: Duration::from_secs(30), bytes_per_second: 16 * 1024 };

/// A stream whose writes fail with `TimedOut` when its allowance is used up. Time in which there is nothing to write does
/// not count.
pub struct PacedStream<S> {
    stream: S,
    pace: ReadingPace,
    /// What is left of the allowance.
    left: Duration,
    /// While the socket accepts no more bytes.
    blocked: Option<Blocked>,
    endless: Endless,
}

/// Whether the present response goes on without an end: its pace is that of what happens, so only a client that takes nothing
/// at all is cut off.
#[derive(Clone, Debug, Default)]
pub struct Endless(Arc<AtomicBool>);

impl Endless {
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, is_endless: bool) {
        self.0.store(is_endless, Ordering::Relaxed);
    }
}

/// For which time the client of an endless response may take nothing.
const STALL: Duration = Duration::from_mins(1);

struct Blocked {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> PacedStream<S> {
    pub fn new(stream: S, pace: ReadingPace) -> Self {
        Self { stream, pace, left: pace.allowance, blocked: None, endless: Endless::default() }
    }

    /// To be set when a response begins.
    pub fn endless(&self) -> Endless {
        self.endless.clone()
    }

    /// Counts the time and the bytes of a write; `bytes` is the number that was accepted.
    fn watch<T: Copy>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(T) -> usize,
    ) -> Poll<io::Result<T>> {
        let is_endless = self.endless.is_set();
        if let Poll::Ready(outcome) = written {
            if is_endless {
                self.blocked = None;
                self.left = self.pace.allowance;
                return Poll::Ready(outcome);
            }
            if let Some(blocked) = self.blocked.take() {
                self.left = self.left.saturating_sub(blocked.since.elapsed());
            }
            if let Ok(value) = &outcome {
                let bytes = u32::try_from(bytes(*value)).unwrap_or(u32::MAX);
                let earned =
                    Duration::from_secs_f64(f64::from(bytes) / f64::from(self.pace.bytes_per_second));
                self.left = (self.left + earned).min(self.pace.allowance);
            }
            return Poll::Ready(outcome);
        }
        let left = if is_endless { STALL } else { self.left };
        let blocked = self.blocked.get_or_insert_with(|| {
            let since = Instant::now();
            Blocked { since, timer: Box::pin(tokio::time::sleep_until(since + left)) }
        });
        blocked.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written, |count| count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written, |count| count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const PACE: ReadingPace = ReadingPace { allowance: Duration::from_millis(200), bytes_per_second: 1_000 };

    /// Writes this many bytes to a client that takes `step` of them after each pause.
    async fn write(bytes: usize, step: usize, pause: Duration) -> io::Result<()> {
        // Less than the bytes fit into the buffer, as into a socket's.
        let (server, mut client) = duplex(step.max(10));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let mut taken = vec![0; step];
            loop {
                tokio::time::sleep(pause).await;
                if client.read_exact(&mut taken).await.is_err() {
                    return;
                }
            }
        });
        PacedStream::new(server, PACE).write_all(&vec![0; bytes]).await
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_or_nothing_is_cut_off() {
        // A byte each 10 ms is a tenth of the pace.
        let slow = write(200, 1, Duration::from_millis(10)).await;
        assert_eq!(slow.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        let silent = write(20, 1, PACE.allowance * 100).await;
        assert_eq!(silent.expect_err("silent").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_keeps_the_pace_may_take_longer_than_the_allowance() {
        // Each step earns the whole allowance, which is much longer than its pause, so a busy machine does not fail this.
        assert!(write(10_000, 1_000, PACE.allowance / 5).await.is_ok());
    }
}
