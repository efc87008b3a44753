//! Batchers: requests that come while a batch is running wait and form the next one, so that they share a round trip to
//! PostgreSQL, and with it a commit.
//!
//! No request waits for others to come: one that comes alone runs at once. The busier the database, the larger the
//! batches, so that each request costs less.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Db, DbError};
use crate::telemetry::chain;

/// Requests in one batch.
pub const BATCH_LIMIT: usize = 500;

/// Requests that may wait in a batcher's queue; one more is refused.
const QUEUE_LIMIT: usize = 20_000;

/// A future on the heap.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One query for many requests: an answer to each, in their order. An error is for all of them.
pub type Query<Q, A> = for<'a> fn(&'a Db, &'a [&'a Q]) -> Boxed<'a, Result<Vec<A>, DbError>>;

/// One transaction for many requests: an outcome of each, in their order. An error is for all of them.
pub type Attempt<C, Q, A> = for<'a> fn(&'a C, &'a [&'a Q]) -> Boxed<'a, Result<Vec<Outcome<A>>, DbError>>;

/// What became of one request of a batch.
#[derive(Debug)]
pub enum Outcome<A> {
    /// It was done.
    Done(A),
    /// It cannot be done.
    Failed(DbError),
    /// It was left out of the transaction, because a lock that it needs is not free.
    Deferred,
}

/// A request, and where its answer goes.
pub struct Request<Q, A> {
    /// What is asked for.
    pub content: Q,
    reply: oneshot::Sender<Result<A, DbError>>,
}

/// The answer to a request, once there is one.
pub struct Answer<A>(oneshot::Receiver<Result<A, DbError>>);

impl<Q, A> Request<Q, A> {
    /// A request and the place where its answer arrives.
    pub fn new(content: Q) -> (Self, Answer<A>) {
        let (reply, answer) = oneshot::channel();
        (Self { content, reply }, Answer(answer))
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers; a caller that has gone away hears nothing.
    pub fn answer(self, answer: Result<A, DbError>) {
        let _ = self.reply.send(answer);
    }
}

impl<A> Answer<A> {
    /// Waits for the answer. A request that was dropped without one fails as the program's stop does.
    pub async fn wait(self) -> Result<A, DbError> {
        self.0.await.unwrap_or_else(|_| Err(DbError::shutting_down()))
    }
}

/// Requests that wait for the next batch.
pub trait Pending: Default + Send + 'static {
    /// How many wait.
    fn count(&self) -> usize;
    /// Takes the oldest ones out, at most [`BATCH_LIMIT`] of a kind.
    #[must_use]
    fn take_batch(&mut self) -> Self;
}

impl<Q: Send + 'static, A: Send + 'static> Pending for Vec<Request<Q, A>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn take_batch(&mut self) -> Self {
        let count = self.len().min(BATCH_LIMIT);
        self.drain(..count).collect()
    }
}

/// Runs one batch after another, as long as requests wait; idle, it has no task.
pub struct Worker<P> {
    queue: Arc<Mutex<Queue<P>>>,
    queue_limit: usize,
    run: Arc<dyn Fn(P) -> Boxed<'static, ()> + Send + Sync>,
}

#[derive(Default)]
struct Queue<P> {
    pending: P,
    running: bool,
}

impl<P: Pending> Worker<P> {
    /// A worker whose queue takes `queue_limit` requests and whose batches are done by `run`.
    pub fn new(queue_limit: usize, run: impl Fn(P) -> Boxed<'static, ()> + Send + Sync + 'static) -> Self {
        Self { queue: Arc::default(), queue_limit, run: Arc::new(run) }
    }

    /// Adds a request to those that wait, by `push`; refuses it when the queue is full.
    pub fn enqueue<Q, A>(&self, request: Request<Q, A>, push: impl FnOnce(&mut P, Request<Q, A>)) {
        let starts = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.pending.count() >= self.queue_limit {
                return request.answer(Err(DbError::overloaded()));
            }
            push(&mut queue.pending, request);
            !std::mem::replace(&mut queue.running, true)
        };
        if starts {
            #[expect(
                clippy::disallowed_methods,
                reason = "its callers wait for it; it ends with the last of them"
            )]
            tokio::spawn(run_batches(self.queue.clone(), self.run.clone()));
        }
    }

    /// Whether no batch runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        !self.queue.lock().unwrap_or_else(PoisonError::into_inner).running
    }
}

async fn run_batches<P: Pending>(
    queue: Arc<Mutex<Queue<P>>>,
    run: Arc<dyn Fn(P) -> Boxed<'static, ()> + Send + Sync>,
) {
    let reset = ResetOnPanic(&queue);
    loop {
        // Lets requests that are about to come take part.
        tokio::task::yield_now().await;
        let batch = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.pending.count() == 0 {
                // Under the lock that the next request takes, so that it starts a new task.
                queue.running = false;
                std::mem::forget(reset);
                return;
            }
            queue.pending.take_batch()
        };
        run(batch).await;
    }
}

/// After a panic: the requests that wait are dropped, which their callers notice, and the next one starts anew.
struct ResetOnPanic<'a, P: Default>(&'a Mutex<Queue<P>>);

impl<P: Default> Drop for ResetOnPanic<'_, P> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Queue::default();
    }
}

/// A worker whose requests share one query.
pub struct Batcher<Q, A>(Worker<Vec<Request<Q, A>>>);

impl<Q: Send + Sync + 'static, A: Send + 'static> Batcher<Q, A> {
    /// A batcher that answers its requests by `query`.
    pub fn new(db: &Db, query: Query<Q, A>) -> Self {
        let context = (db.clone(), query);
        Self(Worker::new(QUEUE_LIMIT, move |requests| {
            let context = context.clone();
            Box::pin(async move {
                run_batch(&context, requests, |(db, query), contents| {
                    Box::pin(async move {
                        Ok(query(db, contents).await?.into_iter().map(Outcome::Done).collect())
                    })
                })
                .await;
            })
        }))
    }

    /// Asks, together with all other requests of the moment. Refused when the queue is full.
    pub async fn submit(&self, content: Q) -> Result<A, DbError> {
        let (request, answer) = Request::new(content);
        self.0.enqueue(request, Vec::push);
        answer.wait().await
    }
}

/// Answers all requests by one attempt, and returns those that it deferred. An attempt that fails is split in two, so
/// that a request that cannot be answered harms only its own caller.
pub async fn run_batch<C: Sync, Q: Send + Sync, A: Send>(
    context: &C,
    mut requests: Vec<Request<Q, A>>,
    attempt: Attempt<C, Q, A>,
) -> Vec<Request<Q, A>> {
    // What a caller was refused must not happen later.
    requests.retain(|request| !request.is_abandoned());
    if requests.is_empty() {
        return requests;
    }
    let outcomes = {
        let contents: Vec<&Q> = requests.iter().map(|request| &request.content).collect();
        attempt(context, &contents).await
    };
    match outcomes {
        Ok(outcomes) => {
            let mut deferred = Vec::new();
            for (request, outcome) in requests.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Done(answer) => request.answer(Ok(answer)),
                    Outcome::Failed(error) => request.answer(Err(error)),
                    Outcome::Deferred => deferred.push(request),
                }
            }
            deferred
        }
        Err(error) if requests.len() == 1 || concerns_all(&error) => {
            for request in requests {
                request.answer(Err(error.clone()));
            }
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(requests = requests.len(), error = chain(&error), "a batch is split");
            let second = requests.split_off(requests.len() / 2);
            let mut deferred = Box::pin(run_batch(context, requests, attempt)).await;
            deferred.extend(Box::pin(run_batch(context, second, attempt)).await);
            deferred
        }
    }
}

/// Whether each request would fail alike: the database is away. A conflict with another transaction is not.
fn concerns_all(error: &DbError) -> bool {
    matches!(error, DbError::Unavailable(_)) && !error.is_conflict()
}

/// The answer to the request at `place`, which a query numbers from 1 on (`WITH ORDINALITY`).
pub fn at_position<T>(answers: &mut [T], place: i64) -> Option<&mut T> {
    answers.get_mut(usize::try_from(place - 1).ok()?)
}

/// The items of several requests, each with the index of its request and its own index there.
#[must_use]
pub fn items<'a, T>(requests: &[&'a Vec<T>]) -> Vec<(usize, usize, &'a T)> {
    let of = |(request, items): (usize, &&'a Vec<T>)| {
        items.iter().enumerate().map(move |(index, item)| (request, index, item)).collect::<Vec<_>>()
    };
    requests.iter().enumerate().flat_map(of).collect()
}

/// One value of each row, as `unnest` takes them.
pub fn column<'r, Row, T>(rows: &'r [Row], of: impl FnMut(&'r Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
