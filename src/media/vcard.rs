//! vCards (versit vCard 2.1, RFC 2426, RFC 6350): whether a text is one, and whose.

use calcard::vcard::{VCardProperty, VCardValue};
use calcard::{Entry, Parser};

use super::contained::contained;

/// The longest text that is read, in bytes.
pub const LONGEST: usize = 64 << 10;

/// What a text of vCards says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VCard {
    /// The name of the first person in it that has one: the formatted name, else the parts of the structured one.
    pub name: Option<String>,
}

/// Why a text is no vCard. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VCardError {
    /// It is longer than [`LONGEST`].
    #[error("a vCard has at most 64 KiB")]
    TooLong,
    /// It does not begin and end as a vCard, or what is in between cannot be read.
    #[error(
        "this is no vCard: it begins with BEGIN:VCARD and ends with END:VCARD, each on a line of its own"
    )]
    Unreadable,
}

/// Reads a text of one vCard or several; lines end in LF or CRLF.
///
/// # Errors
/// When it is too long or no vCard.
pub fn read(text: &str) -> Result<VCard, VCardError> {
    if text.len() > LONGEST {
        return Err(VCardError::TooLong);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().unwrap_or_default();
    if !says(first, "BEGIN") || !says(last, "END") {
        return Err(VCardError::Unreadable);
    }
    contained(|| people(text)).flatten().ok_or(VCardError::Unreadable)
}

/// Whether the line is `BEGIN:VCARD` or `END:VCARD`, in any case.
fn says(line: &str, word: &str) -> bool {
    line.split_once(':').is_some_and(|(property, value)| {
        property.trim_end().eq_ignore_ascii_case(word) && value.trim().eq_ignore_ascii_case("VCARD")
    })
}

/// What the cards say, if each of them can be read.
fn people(text: &str) -> Option<VCard> {
    let mut parser = Parser::new(text);
    let mut name = None;
    loop {
        match parser.entry() {
            Entry::VCard(card) => {
                name = name.or_else(|| formatted(&card).or_else(|| structured(&card)));
            }
            Entry::Eof => return Some(VCard { name }),
            _ => return None,
        }
    }
}

fn formatted(card: &calcard::vcard::VCard) -> Option<String> {
    card.entries
        .iter()
        .filter(|entry| entry.name == VCardProperty::Fn)
        .find_map(|entry| joined(entry.values.iter().flat_map(words)))
}

/// Family, given, further names, what stands before and what after them (RFC 6350, section 6.2.2), in the order in
/// which they are said.
fn structured(card: &calcard::vcard::VCard) -> Option<String> {
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

/// The words in one line, single blanks between them.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let words: Vec<&str> = words.flat_map(str::split_whitespace).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
