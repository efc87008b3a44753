//! A receiver of webhooks that accepts everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Sink {
    pub address: SocketAddr,
    taken: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let taken = Arc::<AtomicUsize>::default();
        let (mut serving, counter) = (JoinSet::new(), Arc::clone(&taken));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(take(stream, Arc::clone(&counter)));
            }
        });
        Self { address, taken, _serving: serving }
    }

    /// Requests so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

async fn take(mut stream: TcpStream, taken: Arc<AtomicUsize>) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        };
        let length = String::from_utf8_lossy(&bytes[..head]).lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = head + length.unwrap_or_default();
        while bytes.len() < whole {
            if stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        }
        bytes.drain(..whole);
        taken.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}
