//! A TCP proxy that harms connections on demand, as networks do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// At most so many bytes of a connection are in the proxy, for each direction.
const BUFFER: usize = 16 * 1024;
/// How long a closed connection still takes what its ends send, so that they see an orderly close and no reset.
const DRAIN: Duration = Duration::from_secs(5);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to the proxy.
    Client,
    /// Whom the proxy connected to.
    Server,
}

/// A running proxy; its connections end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::Sender<(Command, oneshot::Sender<()>)>,
    /// The worker.
    _tasks: JoinSet<()>,
}

struct Shared {
    to: SocketAddr,
    weather: watch::Sender<Weather>,
    /// How many bytes may still pass towards a side before all is cut.
    allowance: Mutex<Option<(Side, u64)>>,
    accepted: AtomicU64,
    open: AtomicUsize,
}

/// What connections suffer.
#[derive(Clone, Copy, Default)]
struct Weather {
    is_black_hole: bool,
    /// Bytes per second, for each direction of a connection.
    rate: Option<u64>,
    /// The number of ends so far; a connection ends when it changes.
    ends: u64,
    /// How the last one was.
    end: End,
}

/// How connections end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// FIN to both sides.
    #[default]
    Close,
    /// RST to both sides.
    Reset,
}

/// What the worker does; it answers when it is done.
enum Command {
    End(End),
    Refuse,
    Heal,
}

impl Proxy {
    /// Listens on a free port and forwards each connection to `to`. It runs in the current runtime.
    pub fn start(to: SocketAddr) -> Self {
        let reservation = TcpSocket::new_v4().expect("a socket");
        reservation.set_reuseaddr(true).expect("an option");
        reservation.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = reservation.local_addr().expect("its address");
        let listener = listen(address).expect("its own port");
        let shared = Arc::new(Shared {
            to,
            weather: watch::Sender::default(),
            allowance: Mutex::default(),
            accepted: AtomicU64::default(),
            open: AtomicUsize::default(),
        });
        let (commands, received) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let worker = Worker {
            shared: shared.clone(),
            commands: received,
            listener: Some(listener),
            reservation,
            connections: JoinSet::new(),
        };
        tasks.spawn(worker.run());
        Self { address, shared, commands, _tasks: tasks }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted since its start.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How often connections were ended: by [`Proxy::cut`], [`Proxy::reset`] or the bytes of [`Proxy::cut_after`].
    pub fn ends(&self) -> u64 {
        self.shared.weather.borrow().ends
    }

    /// Closes all connections in good order, also those in a black hole.
    pub async fn cut(&self) {
        self.ask(Command::End(End::Close)).await;
    }

    /// Resets all connections (RST to both sides).
    pub async fn reset(&self) {
        self.ask(Command::End(End::Reset)).await;
    }

    /// Closes all connections once the next `bytes` bytes have gone towards a side, those of all connections counted
    /// together. Nothing goes beyond them on the connection that carried the last one.
    pub fn cut_after(&self, bytes: u64, towards: Side) {
        *self.shared.allowance.lock().expect("not poisoned") = Some((towards, bytes));
    }

    /// Forwards nothing any more, either way; new connections are accepted. What was sent arrives after
    /// [`Proxy::heal`], as far as the network keeps it.
    pub fn black_hole(&self) {
        self.shared.weather.send_modify(|weather| weather.is_black_hole = true);
    }

    /// Forwards at most so many bytes per second, in each direction of each connection.
    pub fn slow(&self, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "a black hole is another thing");
        self.shared.weather.send_modify(|weather| weather.rate = Some(bytes_per_second));
    }

    /// Refuses new connections; the open ones go on.
    pub async fn refuse(&self) {
        self.ask(Command::Refuse).await;
    }

    /// Ends the black hole, the slowness, the refusal and a cut that has not happened yet.
    pub async fn heal(&self) {
        *self.shared.allowance.lock().expect("not poisoned") = None;
        self.ask(Command::Heal).await;
    }

    async fn ask(&self, command: Command) {
        let (answer, answered) = oneshot::channel();
        self.commands.send((command, answer)).await.expect("the worker runs");
        answered.await.expect("the worker runs");
    }
}

/// Owns the listener and the connections.
struct Worker {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<(Command, oneshot::Sender<()>)>,
    listener: Option<TcpListener>,
    /// Bound and not listening: keeps the port while nobody listens on it.
    reservation: TcpSocket,
    connections: JoinSet<()>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    let Some((command, answer)) = command else { return };
                    self.obey(command).await;
                    // Who asked may not wait.
                    let _ = answer.send(());
                }
                client = accept(self.listener.as_ref()) => {
                    self.shared.accepted.fetch_add(1, Ordering::Relaxed);
                    let weather = self.shared.weather.subscribe();
                    let open = Open::new(self.shared.clone());
                    // Read here, so that an end that comes from now on reaches it.
                    let ends = weather.borrow().ends;
                    self.connections.spawn(connection(client, open, weather, ends));
                }
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::End(end) => {
                self.shared.end(end);
                // Those that only drain count no more.
                let mut weather = self.shared.weather.subscribe();
                let _ = weather.wait_for(|_| self.shared.open.load(Ordering::Relaxed) == 0).await;
            }
            Command::Refuse => self.listener = None,
            Command::Heal => {
                self.shared.weather.send_modify(|weather| {
                    *weather = Weather { ends: weather.ends, end: weather.end, ..Weather::default() };
                });
                if self.listener.is_none() {
                    let address = self.reservation.local_addr().expect("its address");
                    self.listener = Some(listen(address).expect("its own port"));
                }
            }
        }
    }
}

impl Shared {
    fn end(&self, end: End) {
        self.weather.send_modify(|weather| {
            weather.ends += 1;
            weather.end = end;
        });
    }

    /// How many of the next bytes may pass towards a side, and whether that is the last of them.
    fn allow(&self, towards: Side, length: usize) -> (usize, bool) {
        let mut allowance = self.allowance.lock().expect("not poisoned");
        let Some((side, left)) = &mut *allowance else { return (length, false) };
        if *side != towards {
            return (length, false);
        }
        let bytes = u64::try_from(length).expect("a length");
        if bytes < *left {
            *left -= bytes;
            return (length, false);
        }
        let allowed = usize::try_from(*left).expect("at most a length");
        *allowance = None;
        (allowed, true)
    }
}

/// Counts a connection as open while it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        // Wakes who waits for the last one.
        self.0.weather.send_modify(|_| {});
    }
}

/// Listens on a port that a reservation holds.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // A connection may be gone before it is accepted.
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

/// Forwards a connection until an end that comes after the first `before` ones.
async fn connection(client: TcpStream, open: Open, mut weather: watch::Receiver<Weather>, before: u64) {
    let mut ended = weather.clone();
    let ended = async move {
        let weather = ended.wait_for(|weather| weather.ends != before).await;
        weather.map_or(End::Close, |weather| weather.end)
    };
    tokio::pin!(ended);
    let connect = async {
        until_no_black_hole(&mut weather).await;
        TcpStream::connect(open.0.to).await
    };
    let server = tokio::select! {
        biased;
        end = &mut ended => return finish(end, vec![client], open).await,
        server = connect => server,
    };
    let Ok(server) = server else { return finish(End::Reset, vec![client], open).await };
    let mut streams = [client, server];
    // Small writes go at once, as they came.
    for stream in &streams {
        let _ = stream.set_nodelay(true);
    }
    let end = {
        let [client, server] = &mut streams;
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let forward = async {
            let done = tokio::try_join!(
                pump(&open.0, client_reads, server_writes, Side::Server, weather.clone()),
                pump(&open.0, server_reads, client_writes, Side::Client, weather.clone()),
            );
            // A side that was reset resets the other one.
            if done.is_ok() { End::Close } else { End::Reset }
        };
        tokio::select! {
            biased;
            end = ended => end,
            end = forward => end,
        }
    };
    finish(end, streams.into(), open).await;
}

/// Forwards one direction until its end, which is passed on.
async fn pump(
    shared: &Shared,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    towards: Side,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        until_no_black_hole(&mut weather).await;
        let length = from.read(&mut buffer).await?;
        // The weather may have changed while nothing came.
        until_no_black_hole(&mut weather).await;
        if length == 0 {
            return to.shutdown().await;
        }
        let (allowed, is_last) = shared.allow(towards, length);
        let mut rest = &buffer[..allowed];
        while !rest.is_empty() {
            let piece = until_it_may_go(&mut weather, rest.len()).await;
            to.write_all(&rest[..piece]).await?;
            rest = &rest[piece..];
        }
        if is_last {
            shared.end(End::Close);
            return std::future::pending().await;
        }
    }
}

/// How many of the next bytes may go now: all, but on a slow link what it carries in a twentieth of a second.
async fn until_it_may_go(weather: &mut watch::Receiver<Weather>, length: usize) -> usize {
    until_no_black_hole(weather).await;
    let rate = weather.borrow().rate;
    let Some(rate) = rate else { return length };
    let piece = length.min(usize::try_from(rate / 20).unwrap_or(BUFFER).max(1));
    let nanoseconds = 1_000_000_000 * u64::try_from(piece).expect("a piece") / rate;
    tokio::time::sleep(Duration::from_nanos(nanoseconds)).await;
    piece
}

async fn until_no_black_hole(weather: &mut watch::Receiver<Weather>) {
    let _ = weather.wait_for(|weather| !weather.is_black_hole).await;
}

/// Ends a connection's sockets, then counts it no more.
async fn finish(end: End, mut streams: Vec<TcpStream>, open: Open) {
    if end == End::Reset {
        for stream in &streams {
            let _ = stream.set_zero_linger();
        }
        drop(streams);
        drop(open);
        return;
    }
    for stream in &mut streams {
        let _ = stream.shutdown().await;
    }
    drop(open);
    // Closed with something unread, a socket would send a reset.
    let drained = async {
        let mut buffer = vec![0; 1024];
        for mut stream in streams {
            while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        }
    };
    let _ = tokio::time::timeout(DRAIN, drained).await;
}
