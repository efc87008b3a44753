//! A reader of vCards (versit vCard 2.1, RFC 2426, RFC 6350).

use calcard::vcard::{VCardProperty, VCardValue};
use calcard::{Entry, Parser};

use super::catch_panic::catch_panic;

/// The longest text that is accepted, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The content of a text of vCards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VCard {
    /// The first name in it: the formatted name of a card, else the parts of the structured one.
    pub name: Option<String>,
}

/// Why a text is no vCard. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VCardError {
    #[error("a vCard has at most 64 KiB")]
    TooLong,
    /// It does not begin and end as a vCard, or cannot be parsed.
    #[error(
        "this is no vCard: it begins with BEGIN:VCARD and ends with END:VCARD, each on a line of its own"
    )]
    Unreadable,
}

/// Reads a text of one vCard or several; lines end in LF or CRLF.
pub fn read(text: &str) -> Result<VCard, VCardError> {
    if text.len() > LONGEST {
        return Err(VCardError::TooLong);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().unwrap_or_default();
    if !is_delimiter(first, "BEGIN") || !is_delimiter(last, "END") {
        return Err(VCardError::Unreadable);
    }
    catch_panic(|| parse(text)).flatten().ok_or(VCardError::Unreadable)
}

/// Whether the line is `BEGIN:VCARD` or `END:VCARD`, in any case.
fn is_delimiter(line: &str, word: &str) -> bool {
    line.split_once(':').is_some_and(|(property, value)| {
        property.trim_end().eq_ignore_ascii_case(word) && value.trim().eq_ignore_ascii_case("VCARD")
    })
}

/// `None` when one of the cards cannot be parsed.
fn parse(text: &str) -> Option<VCard> {
    let mut parser = Parser::new(text);
    let mut name = None;
    loop {
        match parser.entry() {
            Entry::VCard(card) => {
                name = name.or_else(|| formatted_name(&card).or_else(|| structured_name(&card)));
            }
            Entry::Eof => return Some(VCard { name }),
            _ => return None,
        }
    }
}

fn formatted_name(card: &calcard::vcard::VCard) -> Option<String> {
    card.entries
        .iter()
        .filter(|entry| entry.name == VCardProperty::Fn)
        .find_map(|entry| joined(entry.values.iter().flat_map(words)))
}

/// Prefix, given name, further names, family name and suffix. The property has the family name first and the prefix
/// fourth (RFC 6350, section 6.2.2).
fn structured_name(card: &calcard::vcard::VCard) -> Option<String> {
    let entry = card.entries.iter().find(|entry| entry.name == VCardProperty::N)?;
    let order = [3, 1, 2, 0, 4];
    joined(order.iter().filter_map(|part| entry.values.get(*part)).flat_map(words))
}

fn words(value: &VCardValue) -> Vec<&str> {
    match value {
        VCardValue::Text(text) => vec![text],
        VCardValue::Component(texts) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The words in one line with single spaces; `None` without words.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
