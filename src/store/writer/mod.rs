//! The writer: what the API sends and what sessions store, of many accounts in one transaction (group commit).
//!
//! An account's writes go to one of a few shards; the writes that wait in a shard form the next batch, so the busier the
//! database, the less a write costs. A batch takes only locks that are free. An account that somebody else holds, and a
//! chat that does not exist yet, are left out of it and done by a serial worker: one transaction per account at a time,
//! which waits for its locks, so that a held account holds up nobody else. A batch that fails is split, so that one bad
//! write harms only its own caller.
//!
//! The two frequent transactions are one round trip each: functions of PostgreSQL (`accept_1`, `ingest_1`; the newest
//! migration that makes one is its source), whose steps are plain statements. Each statement sees what was committed before
//! it, so what is read after the locks were taken stands still. The same steps as one statement of common table
//! expressions had to compare versions of rows for that. The benchmark of sending as a ratio to pgbench, median of five
//! alternating pairs, single statements to functions: 0.67 to 0.68 with 32 connections, 1.26 to 1.32 with 128. PostgreSQL's
//! CPU in µs a message: accepting 82 to 86 (16 accounts with 8 messages each), 133 to 122 (128 with one), 114 to 109 (400
//! with one); storing what came in 65 to 61, 98 to 100, 89 to 83.
//!
//! A message from one account to another, with its receipt, writes 5.2 KB of WAL (pg_walinspect, ten pairs, local network):
//! 21 entries of indexes 1.8 KB and their splits 0.4, nine rows (two messages, four events, the queue, two stanzas) 1.6,
//! changes of chats, counters and messages within their page 0.5, locks 0.3, deletions 0.2, the one change that all indexes
//! of a message learn of (its delivery) 0.1, besides four of those entries.

mod accept;
mod group_receipts;
mod ingest;
mod locks;
mod profiles;
mod rare;
mod remote_ids;
mod session_batch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::db::batcher::{BATCH_LIMIT, Pending, Request, Worker, run_batch};
use crate::db::{Db, DbError};
use crate::domain::{CounterId, Lease, SessionState};
use crate::store::{Accepted, Inbound, Settled};
use locks::Locking;

pub(super) use accept::SendRequest;

/// Serial workers that write at one time.
const SERIAL_WRITERS: usize = 4;
/// Writes that may wait in a shard; one more is refused.
const SHARD_LIMIT: usize = 20_000;
/// Writes that may wait in the serial worker of one account; one more is refused.
const SERIAL_LIMIT: usize = 2 * BATCH_LIMIT;

/// What a session writes under its lease.
pub(super) enum SessionWrite {
    /// What its network reported.
    Ingest { batch: Vec<Inbound>, resume_point: Option<Vec<u8>> },
    /// What became of messages that were due.
    Settle(Vec<Settled>),
    /// What it does.
    PublishState { state: SessionState, reason: Option<String> },
}

/// A write and the lease that it is made under.
pub(super) struct Leased {
    pub lease: Lease,
    pub write: SessionWrite,
}

/// The positions, in the batch of an [`SessionWrite::Ingest`], of messages that were dropped, because the account has blocked
/// their sender.
pub(super) type Dropped = Vec<usize>;

/// Writes that wait for the next batch.
#[derive(Default)]
struct Writes {
    sends: Vec<Request<SendRequest, Accepted>>,
    sessions: Vec<Request<Leased, Dropped>>,
}

impl Pending for Writes {
    fn count(&self) -> usize {
        self.sends.len() + self.sessions.len()
    }

    fn take_batch(&mut self) -> Self {
        Self { sends: self.sends.take_batch(), sessions: self.sessions.take_batch() }
    }
}

/// The shards. An account keeps to one, so that shards do not find each other's accounts locked.
pub(super) struct Writer {
    shards: Vec<Worker<Writes>>,
}

impl Writer {
    pub fn new(db: &Db) -> Self {
        // A shard keeps a core of the database busy, but for the time in which it waits for the disk; more shards than
        // cores make smaller transactions, not more of them.
        let shards = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let serial = Arc::new(Serial::new(db));
        let shard = |_| {
            let (db, serial) = (db.clone(), serial.clone());
            Worker::new(SHARD_LIMIT, move |writes| {
                let (db, serial) = (db.clone(), serial.clone());
                Box::pin(async move { serial.enqueue(write_batch(&db, writes, Locking::Free).await) })
            })
        };
        Self { shards: (0..shards).map(shard).collect() }
    }

    /// Accepts a message of the API.
    pub async fn send(&self, send: SendRequest) -> Result<Accepted, DbError> {
        let shard = self.shard(send.counter);
        let (request, answer) = Request::new(send);
        shard.enqueue(request, |writes, request| writes.sends.push(request));
        answer.wait().await
    }

    /// Writes what a session has to write. [`DbError::Fenced`] when its lease has passed on.
    pub async fn write(&self, lease: &Lease, write: SessionWrite) -> Result<Dropped, DbError> {
        let shard = self.shard(lease.counter);
        let (request, answer) = Request::new(Leased { lease: *lease, write });
        shard.enqueue(request, |writes, request| writes.sessions.push(request));
        answer.wait().await
    }

    fn shard(&self, counter: CounterId) -> &Worker<Writes> {
        &self.shards[usize::try_from(counter.0).unwrap_or_default() % self.shards.len()]
    }
}

/// Writes the messages of the API in one transaction and what sessions write in another. Returns what was left out.
async fn write_batch(db: &Db, writes: Writes, locking: Locking) -> Writes {
    let context = (db.clone(), locking);
    let mut deferred = Writes::default();
    if !writes.sends.is_empty() {
        deferred.sends = run_batch(&context, writes.sends, |(db, locking), sends| {
            Box::pin(accept::attempt(db, sends, *locking))
        })
        .await;
    }
    if !writes.sessions.is_empty() {
        deferred.sessions = run_batch(&context, writes.sessions, |(db, locking), writes| {
            Box::pin(ingest::attempt(db, writes, *locking))
        })
        .await;
    }
    deferred
}

/// A worker per account whose writes wait for locks.
struct Serial {
    db: Db,
    permits: Arc<Semaphore>,
    workers: Mutex<HashMap<CounterId, Worker<Writes>>>,
}

impl Serial {
    fn new(db: &Db) -> Self {
        let permits = Arc::new(Semaphore::new(SERIAL_WRITERS));
        Self { db: db.clone(), permits, workers: Mutex::default() }
    }

    fn enqueue(&self, deferred: Writes) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, worker| !worker.is_idle());
        for request in deferred.sends {
            let worker = workers.entry(request.content.counter).or_insert_with(|| self.worker());
            worker.enqueue(request, |writes, request| writes.sends.push(request));
        }
        for request in deferred.sessions {
            let worker = workers.entry(request.content.lease.counter).or_insert_with(|| self.worker());
            worker.enqueue(request, |writes, request| writes.sessions.push(request));
        }
    }

    fn worker(&self) -> Worker<Writes> {
        let (db, permits) = (self.db.clone(), self.permits.clone());
        Worker::new(SERIAL_LIMIT, move |writes| {
            let (db, permits) = (db.clone(), permits.clone());
            Box::pin(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire().await;
                // Nothing is left out by an attempt that waits.
                write_batch(&db, writes, Locking::Waiting).await;
            })
        })
    }
}
