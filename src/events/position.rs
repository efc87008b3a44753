//! Where a client goes on in a user's sequence, and the events after that.

use super::{Cursor, Events, RenderedEvent};
use crate::db::DbError;
use crate::domain::{CounterId, UserId};
use crate::store::{EventFilter, PlaceOfSeq, SequenceEnds};

/// Places that one query looks through.
const WINDOW: i64 = 2_000;
/// Queries of one reading: a filter may leave out nearly everything.
const WINDOWS: usize = 5;

/// Events that are rendered together.
const RENDERED_AT_ONCE: usize = 100;

/// Where a client wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// From the first event that is kept.
    Oldest,
    /// From the next one.
    Newest,
    Cursor(Cursor),
    /// After the event of a journal with this number, in the epoch of this word if the client names one.
    Seq {
        counter: CounterId,
        seq: i64,
        epoch: Option<String>,
    },
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    pub events: usize,
    /// The part of the page that exceeds them is the last.
    pub bytes: usize,
}

/// Why a client cannot go on from where it was.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    #[error("the events after the cursor cannot be given ({})", .0.reason.name())]
    Gone(Gone),
    #[error(transparent)]
    Store(#[from] DbError),
}

/// What a client needs to know to begin anew.
#[derive(Clone, Debug)]
pub struct Gone {
    pub reason: GoneReason,
    /// The word of the present epoch.
    pub epoch: String,
    pub oldest: Cursor,
    pub newest: Cursor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// The cursor is of another epoch or another user, or was never given out.
    Epoch,
    /// An event after it was deleted because of its age.
    Retention,
}

impl GoneReason {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Retention => "retention",
        }
    }
}

/// Some of the events after a place.
#[derive(Debug)]
pub struct EventPage {
    pub events: Vec<RenderedEvent>,
    /// The place up to which this has all events.
    pub until: i64,
    /// There are later places.
    pub more: bool,
}

impl Events {
    /// A cursor of the present epoch.
    pub async fn cursor(&self, user: UserId, place: i64) -> Result<Cursor, DbError> {
        Ok(Cursor { epoch: self.epochs().await?.present().to_owned(), user, place })
    }

    /// The place from which a client goes on, when the sequence has these ends.
    pub async fn place(&self, user: UserId, after: &After, ends: SequenceEnds) -> Result<i64, PositionError> {
        let present = self.epochs().await?.present();
        let gone = async |reason| Err(self.gone(user, reason, ends).await?);
        match after {
            After::Oldest => Ok(ends.pruned),
            After::Newest => Ok(ends.last),
            After::Cursor(cursor) => {
                if cursor.epoch != present || cursor.user != user || cursor.place > ends.last {
                    gone(GoneReason::Epoch).await
                } else if cursor.place < ends.pruned {
                    gone(GoneReason::Retention).await
                } else {
                    Ok(cursor.place)
                }
            }
            After::Seq { epoch: Some(epoch), .. } if epoch != present => gone(GoneReason::Epoch).await,
            After::Seq { counter, seq, .. } => match self.store().place_of_seq(user, *counter, *seq).await? {
                PlaceOfSeq::At(place) => Ok(place),
                PlaceOfSeq::Pruned => gone(GoneReason::Retention).await,
                PlaceOfSeq::NotReached => gone(GoneReason::Epoch).await,
            },
        }
    }

    async fn gone(
        &self,
        user: UserId,
        reason: GoneReason,
        ends: SequenceEnds,
    ) -> Result<PositionError, DbError> {
        let (oldest, newest) = (self.cursor(user, ends.pruned).await?, self.cursor(user, ends.last).await?);
        let epoch = newest.epoch.clone();
        Ok(PositionError::Gone(Gone { reason, epoch, oldest, newest }))
    }

    /// The first events after a place up to another one, within a limit, as clients see them.
    ///
    /// # Errors
    /// [`PositionError::Gone`] when events after the place were deleted.
    pub async fn read(
        &self,
        user: UserId,
        (after, last): (i64, i64),
        filter: &EventFilter,
        limit: PageLimit,
    ) -> Result<EventPage, PositionError> {
        let (mut found, mut until, mut rendered_until) = (Vec::new(), after, after);
        for _ in 0..WINDOWS {
            if found.len() >= limit.events || until >= last {
                break;
            }
            let window = (until, last.min(until + WINDOW));
            let left = limit.events - found.len();
            let next =
                self.store().sequence(user, window, filter, i64::try_from(left).unwrap_or(i64::MAX)).await?;
            until = match next.last() {
                Some(event) if next.len() == left => event.place,
                _ => window.1,
            };
            found.extend(next);
        }
        let is_whole = i64::try_from(found.len()).is_ok_and(|count| count == until - after);
        if !is_whole {
            // Left out by the filter, or deleted meanwhile.
            let ends = self.store().sequence_ends(user).await?;
            if after < ends.pruned {
                return Err(self.gone(user, GoneReason::Retention, ends).await?);
            }
        }
        let mut events = Vec::with_capacity(found.len());
        let (mut rest, mut bytes) = (&found[..], 0);
        while !rest.is_empty() && bytes < limit.bytes {
            let (rendered, taken) = self.render(user, &rest[..rest.len().min(RENDERED_AT_ONCE)]).await?;
            bytes += rendered.iter().map(|event| event.json.len()).sum::<usize>();
            events.extend(rendered);
            let (part, left) = rest.split_at(taken);
            if let Some(end) = part.last().filter(|_| !left.is_empty()) {
                rendered_until = end.place;
            }
            rest = left;
        }
        if !rest.is_empty() {
            until = rendered_until;
        }
        Ok(EventPage { more: until < last, events, until })
    }
}
