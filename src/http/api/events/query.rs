//! What a client asks for: from where on, of which accounts, and which types.

use std::fmt;

use http::StatusCode;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::{Value, json};

use crate::domain::{PhoneNumber, UserId};
use crate::events::{After, Cursor, Gone, PositionError, kinds};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::EventFilter;

/// Numbers in a list of accounts.
const MOST_ACCOUNTS: usize = 1_000;

/// The parameters that all ways share.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct EventQuery {
    after: Option<Word>,
    types: Option<Word>,
    account: Option<Word>,
    epoch: Option<Word>,
}

/// A word, in JSON also a whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

/// What a client wants, as this server understands it.
#[derive(Clone, Debug)]
pub struct EventRequest {
    pub after: After,
    pub filter: EventFilter,
}

impl EventQuery {
    /// The same query that goes on after another place: `Last-Event-ID` wins over the parameter.
    #[must_use]
    pub fn going_on_after(self, cursor: Option<String>) -> Self {
        Self { after: cursor.map(Word).or(self.after), ..self }
    }

    /// Sets one of the parameters, if it has this name.
    pub fn set(&mut self, name: &str, value: Word) {
        let parameter = match name {
            "after" => &mut self.after,
            "types" => &mut self.types,
            "account" => &mut self.account,
            "epoch" => &mut self.epoch,
            _ => return,
        };
        *parameter = Some(value);
    }

    /// This query, and of another one what this leaves open.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        Self {
            after: self.after.or(other.after),
            types: self.types.or(other.types),
            account: self.account.or(other.account),
            epoch: self.epoch.or(other.epoch),
        }
    }

    /// # Errors
    /// 400 for a parameter that cannot be understood.
    pub async fn read(
        self,
        state: &AppState,
        user: UserId,
        default: After,
    ) -> Result<EventRequest, ApiError> {
        let kinds = self.types.map(|Word(types)| kinds::parse(&types)).transpose().map_err(|error| {
            let error =
                format!("types: {error}; a type is such as message.received, a group such as message.*");
            ApiError::bad_request(ErrorCode::UnknownType, error)
        })?;
        let numbers = self.account.map(|Word(list)| numbers(&list)).transpose()?;
        let counters = match &numbers {
            None => None,
            Some(numbers) => {
                let journals = state.store.journals(user, numbers).await?;
                if journals.len() < numbers.len() {
                    return Err(ApiError::account_unknown());
                }
                Some(journals.into_iter().map(|(counter, _)| counter).collect::<Vec<_>>())
            }
        };
        let after = match self.after.as_ref().map(|Word(after)| after.as_str()) {
            None => default,
            Some("oldest") => After::Oldest,
            Some("newest") => After::Newest,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                match (counters.as_deref(), text.parse()) {
                    (Some([counter]), Ok(seq)) => {
                        After::Seq { counter: *counter, seq, epoch: self.epoch.map(|Word(epoch)| epoch) }
                    }
                    _ => {
                        return Err(invalid_cursor(
                            "after: a number is the seq of an event; name its one account with account=",
                        ));
                    }
                }
            }
            Some(text) => After::Cursor(text.parse::<Cursor>().map_err(|_| {
                invalid_cursor("after: a cursor as an answer has it, oldest or newest is expected")
            })?),
        };
        Ok(EventRequest { after, filter: EventFilter { counters, kinds } })
    }
}

/// The numbers of a list with commas, each once.
fn numbers(list: &str) -> Result<Vec<PhoneNumber>, ApiError> {
    let mut numbers = Vec::new();
    for word in list.split(',').filter(|word| !word.trim().is_empty()) {
        let number: PhoneNumber = word.parse().map_err(|error| {
            ApiError::bad_request(ErrorCode::InvalidParameter, format!("account: {error}"))
        })?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
        if numbers.len() > MOST_ACCOUNTS {
            let message =
                format!("account: at most {MOST_ACCOUNTS} numbers are accepted; without it all are meant");
            return Err(ApiError::bad_request(ErrorCode::InvalidParameter, message));
        }
    }
    Ok(numbers)
}

fn invalid_cursor(message: &str) -> ApiError {
    ApiError::bad_request(ErrorCode::InvalidCursor, message)
}

impl From<PositionError> for ApiError {
    fn from(error: PositionError) -> Self {
        match error {
            PositionError::Store(error) => error.into(),
            PositionError::Gone(gone) => {
                let mut error = Self::new(StatusCode::GONE, ErrorCode::CursorGone, sentence(&gone));
                for (name, value) in fields(&gone) {
                    error = error.with_field(name, value);
                }
                error
            }
        }
    }
}

/// The body of the 410, for a socket.
pub fn gone_body(gone: &Gone) -> Value {
    let mut body = json!({"error": sentence(gone), "code": ErrorCode::CursorGone.as_str()});
    for (name, value) in fields(gone) {
        body[name] = value.into();
    }
    body
}

fn fields(gone: &Gone) -> [(&'static str, String); 4] {
    [
        ("reason", gone.reason.name().to_owned()),
        ("epoch", gone.epoch.clone()),
        ("oldest", gone.oldest.to_string()),
        ("newest", gone.newest.to_string()),
    ]
}

fn sentence(_: &Gone) -> &'static str {
    "the events after this cursor cannot be given: read the lists, and go on from newest, or begin at oldest"
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;
        impl Visitor<'_> for WordVisitor {
            type Value = Word;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.trim().to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
        }
        deserializer.deserialize_any(WordVisitor)
    }
}
