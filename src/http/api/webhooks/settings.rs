//! What the owner of a webhook sets.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use url::Url;

use crate::domain::{PhoneNumber, UserId};
use crate::events::{After, Cursor, kinds};
use crate::fetch::{FetchError, on_behalf_of};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::Selection;
use crate::webhooks::Secret;

/// Characters of a URL.
const LONGEST_URL: usize = 2_048;
/// Numbers or types of a list.
const LONGEST_LIST: usize = 1_000;

/// Words with commas, or a list of such; all are `*`, or an empty list.
pub struct Lists(Selection);

/// A secret in a request.
pub struct SecretText(pub Secret);

/// What is given, as this server stores it.
pub struct Settings {
    pub url: Option<String>,
    pub types: Option<Selection>,
    pub accounts: Option<Selection>,
}

impl Settings {
    /// # Errors
    /// 400 for what is not accepted.
    pub async fn read(
        state: &AppState,
        user: UserId,
        url: Option<String>,
        types: Option<Lists>,
        accounts: Option<Lists>,
    ) -> Result<Self, ApiError> {
        let types = types.map(|Lists(types)| checked(types, read_types)).transpose()?;
        let accounts = accounts.map(|Lists(accounts)| checked(accounts, read_accounts)).transpose()?;
        let url = match url {
            Some(url) => Some(read_url(state, user, url.trim()).await?),
            None => None,
        };
        Ok(Self { url, types, accounts })
    }
}

fn checked(
    selection: Selection,
    read: impl FnOnce(Vec<String>) -> Result<Vec<String>, ApiError>,
) -> Result<Selection, ApiError> {
    Ok(match selection {
        Selection::All => Selection::All,
        Selection::Only(words) => Selection::Only(read(words)?),
    })
}

fn read_types(words: Vec<String>) -> Result<Vec<String>, ApiError> {
    for word in &words {
        kinds::parse(word).map_err(|error| {
            let message =
                format!("types: {error}; a type is such as message.received, a group such as message.*");
            ApiError::bad_request(ErrorCode::UnknownType, message)
        })?;
    }
    Ok(words)
}

fn read_accounts(words: Vec<String>) -> Result<Vec<String>, ApiError> {
    let mut numbers = Vec::with_capacity(words.len());
    for word in words {
        let number: PhoneNumber = word.parse().map_err(|error| invalid(format!("accounts: {error}")))?;
        if !numbers.iter().any(|known: &String| known == number.as_str()) {
            numbers.push(number.as_str().to_owned());
        }
    }
    Ok(numbers)
}

async fn read_url(state: &AppState, user: UserId, text: &str) -> Result<String, ApiError> {
    if text.chars().count() > LONGEST_URL {
        return Err(invalid(format!("url: at most {LONGEST_URL} characters are accepted")));
    }
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            invalid("url: a whole URL is expected, such as https://example.com/events".to_owned())
        })?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(not_allowed("it must have no user name, no password and no fragment"));
    }
    match on_behalf_of(user, state.webhooks.check_url(&url)).await {
        // Signs that a URL cannot have take more room in it.
        Ok(()) if url.as_str().len() > LONGEST_URL => {
            Err(invalid(format!("url: at most {LONGEST_URL} characters are accepted, other signs encoded")))
        }
        Ok(()) => Ok(url.into()),
        Err(FetchError::Busy) => Err(ApiError::unavailable(
            ErrorCode::Unavailable,
            "url: too many names are being looked up; try again soon",
            5,
        )),
        Err(_) => Err(not_allowed(
            "it must be https on port 443 and lead to the internet, or into a network that this server's operator allows",
        )),
    }
}

fn not_allowed(why: &str) -> ApiError {
    ApiError::bad_request(ErrorCode::UrlNotAllowed, format!("url: this URL is not allowed: {why}"))
}

fn invalid(message: String) -> ApiError {
    ApiError::bad_request(ErrorCode::InvalidParameter, message)
}

/// The place from which events are sent.
///
/// # Errors
/// 400 for what is no cursor, 410 for one whose events cannot be given any more.
pub async fn place(state: &AppState, user: UserId, after: &str) -> Result<i64, ApiError> {
    let after = match after.trim() {
        "newest" => After::Newest,
        "oldest" => After::Oldest,
        text => After::Cursor(text.parse::<Cursor>().map_err(|_| {
            ApiError::bad_request(
                ErrorCode::InvalidCursor,
                "after: a cursor as an event has it, oldest or newest is expected",
            )
        })?),
    };
    let ends = state.events.ends(user).await?;
    Ok(state.events.place(user, &after, ends).await?)
}

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Lists;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("words with commas, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Lists, E> {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                collect(words.map(str::to_owned).collect())
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Lists, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lists, A::Error> {
                let mut words = Vec::new();
                while let Some(Lists(item)) = items.next_element()? {
                    words.extend(item.stored().unwrap_or_else(|| vec!["*".to_owned()]));
                    if words.len() > LONGEST_LIST {
                        break;
                    }
                }
                collect(words)
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

fn collect<E: de::Error>(words: Vec<String>) -> Result<Lists, E> {
    if words.len() > LONGEST_LIST {
        return Err(E::custom(format_args!("at most {LONGEST_LIST} items are accepted")));
    }
    let all = words.is_empty() || words.iter().any(|word| word == "*");
    Ok(Lists(if all { Selection::All } else { Selection::Only(words) }))
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Secret::parse(&text).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Option<Vec<String>> {
        let Lists(words) = serde_json::from_value(value).expect("words");
        words.stored()
    }

    #[test]
    fn words_are_a_text_or_a_list() {
        let two = Some(vec!["a".to_owned(), "b".to_owned()]);
        for value in [json!("a,b"), json!(" a , b ,"), json!(["a", "b"]), json!(["a,b"])] {
            assert_eq!(read(value.clone()), two, "{value}");
        }
        for value in [json!("*"), json!([]), json!(""), json!(["*"]), json!("a,*"), json!(["a", "*"])] {
            assert_eq!(read(value.clone()), None, "{value}");
        }
        assert_eq!(read(json!([15_550_001_111_u64])), Some(vec!["15550001111".to_owned()]));
        assert!(serde_json::from_value::<Lists>(json!(vec!["a"; 1_001])).is_err());
    }
}
