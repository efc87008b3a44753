//! Calls that come while one is under way wait together and share the next round trip.
//!
//! Nothing waits for company: a call that comes alone is on its way at once. The busier the database, the more calls
//! share, so that a round trip, and with it a commit, costs each of them less.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Store, StoreError};

/// Calls that may wait in one line. Each has a caller that waits for it, or did; beyond it they are turned away.
const LONGEST: usize = 20_000;

/// Calls that share a round trip.
pub(super) const MOST: usize = 500;

/// What answers many calls at once. A call that it does not answer is told that the program ends.
pub(super) type AnswerAll<Q, A> = fn(Store, Vec<Asked<Q, A>>) -> Boxed<'static, ()>;

/// One round trip for many questions: an answer for each, in order, or nothing for one that is left out.
pub(super) type Attempt<Q, A> =
    for<'a> fn(&'a Store, &'a [&'a Q]) -> Boxed<'a, Result<Vec<Option<Answer<A>>>, StoreError>>;

/// The answer to the question at `place`, which a query numbers from 1 on (WITH ORDINALITY).
pub(super) fn at_place<T>(answers: &mut [T], place: i64) -> Option<&mut T> {
    answers.get_mut(usize::try_from(place - 1).ok()?)
}

/// A future on the heap.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a caller hears.
pub(super) type Answer<A> = Result<A, StoreError>;

/// A line of calls of one kind.
pub(super) struct Gather<Q, A> {
    line: Arc<Mutex<Line<Q, A>>>,
    answer: How<Q, A>,
}

enum How<Q, A> {
    /// One query, which leaves nothing out.
    Query(Attempt<Q, A>),
    /// As the caller of [`Gather::by`] says.
    By(AnswerAll<Q, A>),
}

impl<Q, A> Clone for How<Q, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, A> Copy for How<Q, A> {}

struct Line<Q, A> {
    waiting: Vec<Asked<Q, A>>,
    under_way: bool,
}

/// A call and where its answer goes.
pub(super) struct Asked<Q, A> {
    pub question: Q,
    reply: oneshot::Sender<Answer<A>>,
}

impl<Q, A> Asked<Q, A> {
    /// Answers; a caller that has gone away hears nothing.
    pub fn answer(self, answer: Answer<A>) {
        let _ = self.reply.send(answer);
    }
}

impl<Q: Send + Sync + 'static, A: Send + 'static> Gather<Q, A> {
    /// A line whose calls share one query, which leaves nothing out.
    pub fn of(query: Attempt<Q, A>) -> Self {
        Self::new(How::Query(query))
    }

    /// A line whose calls are answered in another way.
    pub fn by(answer_all: AnswerAll<Q, A>) -> Self {
        Self::new(How::By(answer_all))
    }

    fn new(answer: How<Q, A>) -> Self {
        Self { line: Arc::new(Mutex::new(Line { waiting: Vec::new(), under_way: false })), answer }
    }

    /// Asks, together with whoever else asks now.
    ///
    /// # Errors
    /// As the shared query; [`StoreError::Unavailable`] when too many wait.
    pub async fn ask(&self, store: &Store, question: Q) -> Answer<A> {
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            if line.waiting.len() >= LONGEST {
                return Err(StoreError::from(sqlx::Error::PoolTimedOut));
            }
            line.waiting.push(Asked { question, reply });
            !std::mem::replace(&mut line.under_way, true)
        };
        if begins {
            let working = work(self.line.clone(), self.answer, store.clone());
            #[expect(
                clippy::disallowed_methods,
                reason = "its callers wait for it; it ends with the last of them"
            )]
            tokio::spawn(working);
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::ended()))
    }
}

/// Answers all calls in one round trip, but for those that `attempt` leaves out, which are returned. A round trip that
/// fails is split, so that a question that cannot be answered harms only its own caller.
pub(super) async fn together<Q: Send + Sync, A: Send>(
    store: &Store,
    mut asked: Vec<Asked<Q, A>>,
    attempt: Attempt<Q, A>,
) -> Vec<Asked<Q, A>> {
    let outcome = {
        let questions: Vec<&Q> = asked.iter().map(|asked| &asked.question).collect();
        attempt(store, &questions).await
    };
    match outcome {
        Ok(answers) => {
            let mut left_out = Vec::new();
            for (asked, answer) in asked.into_iter().zip(answers) {
                match answer {
                    Some(answer) => asked.answer(answer),
                    None => left_out.push(asked),
                }
            }
            left_out
        }
        Err(error) if asked.len() == 1 || is_for_all(&error) => {
            for asked in asked {
                asked.answer(Err(error.clone()));
            }
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(calls = asked.len(), error = crate::telemetry::chain(&error), "a batch is split");
            let second = asked.split_off(asked.len() / 2);
            let mut left_out = Box::pin(together(store, asked, attempt)).await;
            left_out.extend(Box::pin(together(store, second, attempt)).await);
            left_out
        }
    }
}

/// The database is away for all of them, unless one was given up for another transaction's sake.
fn is_for_all(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_)) && !error.is_conflict()
}

/// Answers until nobody waits any more.
async fn work<Q: Send + Sync, A: Send>(line: Arc<Mutex<Line<Q, A>>>, answer: How<Q, A>, store: Store) {
    let end = End(&line);
    loop {
        // Whoever is about to ask comes along.
        tokio::task::yield_now().await;
        let asked: Vec<_> = {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            if line.waiting.is_empty() {
                // Under the same lock as the look, so that whoever asks next begins anew.
                line.under_way = false;
                std::mem::forget(end);
                return;
            }
            let count = line.waiting.len().min(MOST);
            line.waiting.drain(..count).collect()
        };
        match answer {
            How::Query(query) => drop(together(&store, asked, query).await),
            How::By(answer_all) => answer_all(store.clone(), asked).await,
        }
    }
}

/// After a panic: those who wait hear that there is no answer, and the next call begins anew.
struct End<'a, Q, A>(&'a Mutex<Line<Q, A>>);

impl<Q, A> Drop for End<'_, Q, A> {
    fn drop(&mut self) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.under_way = false;
        line.waiting.clear();
    }
}
