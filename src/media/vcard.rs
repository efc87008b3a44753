//! A reader of vCards (versit vCard 2.1, RFC 2426, RFC 6350).
//!
//! The library reads values; phones write more around them than it knows: cards within cards, encodings without their
//! parameter's name, other character sets. So the structure is checked here, and the library gets the names alone.

use std::borrow::Cow;

use calcard::vcard::{VCardProperty, VCardValue};
use calcard::{Entry, Parser};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::catch_panic::catch_panic;

/// The longest text that is accepted, in bytes: a photo of 256 KiB in it, and some lines besides.
pub const LONGEST: usize = 384 << 10;

/// Cards within cards.
const DEEPEST: usize = 8;

/// The content of a text of vCards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VCard {
    /// The first name in it: the formatted name of a card, else the parts of the structured one.
    pub name: Option<String>,
}

/// Why a text is no vCard. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VCardError {
    #[error("a vCard has at most 384 KiB")]
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
    let names = names_only(text.strip_prefix('\u{feff}').unwrap_or(text)).ok_or(VCardError::Unreadable)?;
    catch_panic(|| parse(&names)).flatten().ok_or(VCardError::Unreadable)
}

/// The text of a file, whose lines may name their character sets. Those that are not UTF-8 are converted.
#[must_use]
pub fn decode(bytes: Vec<u8>) -> String {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return decoded("utf-16", &bytes);
    }
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        let mut charset = charsets(&bytes).next().unwrap_or_else(|| "windows-1252".to_owned());
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                    charset = charsets(line).next().unwrap_or_else(|| charset.clone());
                }
                match str::from_utf8(line) {
                    Ok(line) => Cow::Borrowed(line),
                    // It is UTF-8 from now on.
                    Err(_) => decoded(&charset, line).replacen(&format!("={charset}"), "=UTF-8", 1).into(),
                }
            })
            .collect()
    })
}

fn decoded(charset: &str, bytes: &[u8]) -> String {
    charset_decoder(charset.as_bytes())
        .map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decode| decode(bytes))
}

/// The values of the parameters `CHARSET`, which are known character sets.
fn charsets(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| matches!(byte, b';' | b':' | b'\n')).filter_map(|parameter| {
        let (name, value) = str::from_utf8(parameter).ok()?.split_once('=')?;
        let known = name.eq_ignore_ascii_case("CHARSET") && charset_decoder(value.as_bytes()).is_some();
        known.then(|| value.to_owned())
    })
}

/// The cards with their names alone, in encodings that the library knows; `None` when the cards do not follow each other or
/// are not closed. Cards within cards are left out.
fn names_only(text: &str) -> Option<String> {
    let (mut names, mut depth) = (String::new(), 0_usize);
    let mut property: Option<Property> = None;
    for line in text.lines() {
        if depth > 0
            && let Some(property) = &mut property
            && property.goes_on(line)
        {
            property.lines.push(line);
            continue;
        }
        if let Some(property) = property.take().filter(|_| depth == 1) {
            property.write(&mut names);
        }
        if is_delimiter(line, "BEGIN") || (depth > 0 && is_agent(line)) {
            depth += 1;
            if depth == 1 {
                names.push_str("BEGIN:VCARD\n");
            }
        } else if is_delimiter(line, "END") {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                names.push_str("END:VCARD\n");
            }
        } else if depth > 0 {
            property = Property::begin(line);
        } else if !line.trim().is_empty() {
            return None;
        }
        if depth > DEEPEST {
            return None;
        }
    }
    (depth == 0 && !names.is_empty()).then_some(names)
}

/// Whether the line is `BEGIN:VCARD` or `END:VCARD`, in any case.
fn is_delimiter(line: &str, word: &str) -> bool {
    line.split_once(':').is_some_and(|(property, value)| {
        property.trim_end().eq_ignore_ascii_case(word) && value.trim().eq_ignore_ascii_case("VCARD")
    })
}

/// Whether a card within the card begins in the line of its property.
fn is_agent(line: &str) -> bool {
    line.split_once(':').is_some_and(|(head, value)| {
        let name = head.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("AGENT") && is_delimiter(value, "BEGIN")
    })
}

/// A property that may go on in the next lines.
struct Property<'a> {
    /// In capitals, without its group.
    name: String,
    charset: Option<&'a str>,
    quoted_printable: bool,
    /// The line without name and parameters.
    value: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Property<'a> {
    fn begin(line: &'a str) -> Option<Self> {
        let mut quoted = false;
        let colon = line.find(|sign: char| {
            quoted ^= sign == '"';
            sign == ':' && !quoted
        })?;
        let (head, value) = (&line[..colon], &line[colon + 1..]);
        let mut parameters = head.split(';').map(str::trim);
        let name = parameters.next()?.rsplit('.').next()?.to_ascii_uppercase();
        let (mut charset, mut quoted_printable) = (None, false);
        for parameter in parameters {
            // In vCard 2.1 the names of parameters may be left out.
            let (key, value) = parameter.split_once('=').unwrap_or(("ENCODING", parameter));
            match key.trim().to_ascii_uppercase().as_str() {
                "CHARSET" => charset = Some(value.trim()),
                "ENCODING" => quoted_printable |= value.trim().eq_ignore_ascii_case("QUOTED-PRINTABLE"),
                _ => {}
            }
        }
        Some(Self { name, charset, quoted_printable, value, lines: vec![line] })
    }

    /// Whether the line is a part of the value: it is folded, or follows a soft line break.
    fn goes_on(&self, line: &str) -> bool {
        let soft =
            self.quoted_printable && self.lines.last().is_some_and(|last| last.trim_end().ends_with('='));
        (soft && !is_delimiter(line, "END")) || line.starts_with([' ', '\t'])
    }

    /// Writes the property, if it is a name or the version.
    fn write(&self, names: &mut String) {
        if !matches!(self.name.as_str(), "FN" | "N" | "VERSION") {
            return;
        }
        if !self.quoted_printable {
            // Whatever it was, the text is Unicode by now.
            let first = if self.charset.is_some() {
                format!("{}:{}", self.name, self.value)
            } else {
                self.lines[0].to_owned()
            };
            for line in std::iter::once(first.as_str()).chain(self.lines[1..].iter().copied()) {
                names.extend([line, "\n"]);
            }
            return;
        }
        let value = std::iter::once(self.value).chain(self.lines[1..].iter().copied());
        let value: String = value.map(|line| line.trim_end().trim_end_matches('=')).collect();
        let bytes = quoted_printable_decode(value.as_bytes()).unwrap_or_else(|| value.into_bytes());
        let text = match self.charset.filter(|charset| !is_utf8(charset)) {
            Some(charset) => decoded(charset, &bytes),
            None => {
                String::from_utf8(bytes).unwrap_or_else(|error| decoded("windows-1252", error.as_bytes()))
            }
        };
        names.extend([self.name.as_str(), ":", &text.replace(['\r', '\n'], " "), "\n"]);
    }
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("UTF-8") || charset.eq_ignore_ascii_case("UTF8")
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
