//! A PostgreSQL proxy that cuts connections during commits.
//!
//! It follows the messages of each connection (PostgreSQL 15, chapter 55, "Frontend/Backend Protocol").

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::support::postgres::Database;

/// The commits that are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// A COMMIT.
    Spoken,
    /// The Sync after a statement that writes and is a transaction by itself, too.
    All,
}

/// The point at which a commit is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Before PostgreSQL receives it.
    Before,
    /// After PostgreSQL has committed, before the program receives the confirmation.
    After,
}

/// Runs until it is dropped.
pub struct Proxy {
    _listening: JoinSet<()>,
    port: u16,
    database: String,
    shared: Arc<Shared>,
}

struct Shared {
    socket: PathBuf,
    kind: Commits,
    /// One of this number of commits is cut off; 0: none.
    one_in: AtomicUsize,
    commits: AtomicUsize,
    before: AtomicUsize,
    after: AtomicUsize,
}

impl Proxy {
    pub async fn start(database: &Database, kind: Commits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            socket: database.cluster().socket(),
            kind,
            one_in: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            before: AtomicUsize::new(0),
            after: AtomicUsize::new(0),
        });
        let mut listening = JoinSet::new();
        let carried = Arc::clone(&shared);
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((program, _)) = listener.accept().await {
                // Every way a connection may end is fine here.
                connections.spawn(carry(program, Arc::clone(&carried)));
            }
        });
        Self { _listening: listening, port, database: database.name().to_owned(), shared }
    }

    /// The value for `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}?sslmode=disable", self.port, self.database)
    }

    /// From now on cuts off one of `commits` commits, in turn before and after; 0: none.
    pub fn cut_one_in(&self, commits: usize) {
        self.shared.one_in.store(commits, Ordering::Relaxed);
    }

    /// The numbers of cut commits so far, before and after.
    pub fn cuts(&self) -> (usize, usize) {
        (self.shared.before.load(Ordering::Relaxed), self.shared.after.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Decides whether and where to cut a commit.
    fn decide(&self) -> Option<Cut> {
        let (one_in, commit) =
            (self.one_in.load(Ordering::Relaxed), self.commits.fetch_add(1, Ordering::Relaxed));
        if one_in == 0 || !commit.is_multiple_of(one_in) {
            return None;
        }
        Some(if (commit / one_in).is_multiple_of(2) { Cut::Before } else { Cut::After })
    }
}

/// Carries one connection until either side ends it, or it is cut.
async fn carry(program: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let postgres = UnixStream::connect(&shared.socket).await?;
    program.set_nodelay(true)?;
    let (mut from_program, mut to_program) = program.into_split();
    let (mut from_postgres, mut to_postgres) = postgres.into_split();
    // The first message has no type: its length, then the rest.
    let length = from_program.read_u32().await?;
    let mut first = vec![0; length as usize - 4];
    from_program.read_exact(&mut first).await?;
    to_postgres.write_all(&length.to_be_bytes()).await?;
    to_postgres.write_all(&first).await?;
    let mut watch = Watch::default();
    let (mut sent, mut answered) = (Reader::default(), Reader::default());
    // A commit was forwarded whose response must not arrive.
    let mut swallowing = false;
    loop {
        tokio::select! {
            message = sent.next(&mut from_program) => {
                let message = message?;
                let commit = watch.commits(&message);
                if commit.is_some_and(|commit| shared.kind == Commits::All || commit == Commits::Spoken) {
                    match shared.decide() {
                        Some(Cut::Before) => {
                            shared.before.fetch_add(1, Ordering::Relaxed);
                            return Ok(());
                        }
                        Some(Cut::After) => swallowing = true,
                        None => {}
                    }
                }
                to_postgres.write_all(&message).await?;
            }
            message = answered.next(&mut from_postgres) => {
                let message = message?;
                if message[0] == b'Z' {
                    watch.in_transaction = message[5] != b'I';
                    if swallowing {
                        shared.after.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                }
                if !swallowing {
                    to_program.write_all(&message).await?;
                }
            }
        }
    }
}

/// Puts messages together: a type, a length and a body. Dropping `next` loses nothing.
#[derive(Default)]
struct Reader(Vec<u8>);

impl Reader {
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.0.get(1..5) {
                let whole = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + 1;
                if self.0.len() >= whole {
                    let rest = self.0.split_off(whole);
                    return Ok(std::mem::replace(&mut self.0, rest));
                }
            }
            if from.read_buf(&mut self.0).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The state of the statements of a connection.
#[derive(Default)]
struct Watch {
    /// Whether each prepared statement writes.
    writes: HashMap<Vec<u8>, bool>,
    /// The statement that waits for its Sync writes.
    pending: bool,
    in_transaction: bool,
}

impl Watch {
    /// Whether this message of the program commits something.
    fn commits(&mut self, message: &[u8]) -> Option<Commits> {
        let mut texts = message[5..].split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default().to_vec();
        match message[0] {
            // Query
            b'Q' => return (text() == b"COMMIT").then_some(Commits::Spoken),
            // Parse: the statement's name, its text.
            b'P' => {
                let (name, text) = (text(), String::from_utf8_lossy(&text()).to_uppercase());
                let writes = ["INSERT", "UPDATE", "DELETE"].iter().any(|word| text.contains(word));
                self.writes.insert(name, writes);
            }
            // Bind: the portal's name, the statement's.
            b'B' => {
                let (_, name) = (text(), text());
                self.pending = self.writes.get(&name).copied().unwrap_or(false);
            }
            // Sync
            b'S' => {
                let writes = std::mem::take(&mut self.pending);
                return (writes && !self.in_transaction).then_some(Commits::All);
            }
            _ => {}
        }
        None
    }
}
