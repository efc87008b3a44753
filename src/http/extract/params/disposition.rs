//! The header `Content-Disposition` of a part of a form, as all common clients write it: names in quotation marks or bare,
//! `filename*` (RFC 8187), also in numbered pieces (RFC 2231), encoded words (RFC 2047), and raw bytes in UTF-8 or Latin-1.

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use percent_encoding::percent_decode;

/// The names of a part. One with a file name, even an empty one, is a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    pub name: Option<String>,
    /// As the client wrote it: for people, never a path.
    pub file_name: Option<String>,
}

/// Reads the header; what cannot be read of it is ignored.
pub fn parse(header: &[u8]) -> Disposition {
    let (mut names, mut file_names) = (Names::default(), Names::default());
    for (key, value) in parameters(header) {
        let (key, piece) =
            key.split_once('*').map_or((key.as_str(), None), |(key, piece)| (key, Some(piece)));
        match key {
            "name" => names.add(piece, value),
            "filename" => file_names.add(piece, value),
            _ => {}
        }
    }
    Disposition { name: names.text(), file_name: file_names.text() }
}

/// The spellings of one name.
#[derive(Default)]
struct Names {
    plain: Option<String>,
    extended: Option<String>,
    /// By their number.
    pieces: Vec<(u32, Vec<u8>, bool)>,
}

impl Names {
    /// `piece` is what follows the star of the parameter's name: nothing, or a number, maybe with a star again.
    fn add(&mut self, piece: Option<&str>, value: Vec<u8>) {
        match piece {
            None => self.plain = Some(words(&text(value))),
            Some("") => self.extended = Some(extended(&value)),
            Some(piece) => {
                let number = piece.trim_end_matches('*').parse();
                self.pieces.extend(number.ok().map(|number| (number, value, piece.ends_with('*'))));
            }
        }
    }

    /// The extended spelling before the others, which are for older readers.
    fn text(mut self) -> Option<String> {
        self.extended.or_else(|| {
            self.pieces.sort_by_key(|(number, ..)| *number);
            let is_extended = self.pieces.first().is_some_and(|(.., extended)| *extended);
            let whole: Vec<u8> = self.pieces.into_iter().flat_map(|(_, value, _)| value).collect();
            match (whole.is_empty(), is_extended) {
                (true, _) => self.plain,
                (false, true) => Some(extended(&whole)),
                (false, false) => Some(text(whole)),
            }
        })
    }
}

/// The parameters behind the type, their names in lower case.
fn parameters(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = after(header, b';');
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(rest[..end].trim_ascii()).to_ascii_lowercase();
        if rest.get(end) != Some(&b'=') {
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        let value = rest[end + 1..].trim_ascii_start();
        if let Some(quoted) = value.strip_prefix(b"\"") {
            let (value, behind) = unquoted(quoted);
            found.push((name, value));
            rest = after(behind, b';');
        } else {
            let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
            found.push((name, value[..end].trim_ascii_end().to_vec()));
            rest = value.get(end + 1..).unwrap_or_default();
        }
    }
    found
}

fn after(bytes: &[u8], sign: u8) -> &[u8] {
    bytes.iter().position(|byte| *byte == sign).map_or(&[], |at| &bytes[at + 1..])
}

/// The text up to the closing quotation mark, and what follows. A backslash stands for itself, because some clients send
/// whole Windows paths, unless a quotation mark or another one follows it.
fn unquoted(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut value, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => return (value, &bytes[at + 1..]),
            (b'\\', Some(sign @ (b'"' | b'\\'))) => {
                value.push(*sign);
                at += 1;
            }
            (byte, _) => value.push(byte),
        }
        at += 1;
    }
    (value, &[])
}

/// UTF-8, or else Latin-1 as browsers read it.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| decoded("windows-1252", error.as_bytes()))
}

fn decoded(charset: &str, bytes: &[u8]) -> String {
    charset_decoder(charset.as_bytes())
        .map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decode| decode(bytes))
}

/// RFC 8187: charset, language and percent-encoded text, between apostrophes. Without these it is UTF-8.
fn extended(value: &[u8]) -> String {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, text) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => (String::from_utf8_lossy(charset).into_owned(), text),
        _ => ("utf-8".to_owned(), value),
    };
    let bytes: Vec<u8> = percent_decode(text).collect();
    if charset.eq_ignore_ascii_case("utf-8") { self::text(bytes) } else { decoded(&charset, &bytes) }
}

/// Decodes the encoded words in a text; blanks between two of them are part of neither.
fn words(text: &str) -> String {
    let (mut decoded, mut rest, mut behind_word) = (String::new(), text, false);
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let mut stream = MessageStream::new(&word.as_bytes()[1..]);
        let found = stream.decode_rfc2047().zip(word.get(1 + stream.offset()..));
        if !(behind_word && found.is_some() && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        behind_word = found.is_some();
        if let Some((text, behind)) = found {
            decoded.push_str(&text);
            rest = behind;
        } else {
            decoded.push_str("=?");
            rest = &word[2..];
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_of_all_clients_are_read() {
        for (header, file_name) in [
            (&b"form-data; name=\"f\"; filename=\"a.jpg\""[..], "a.jpg"),
            (b"form-data; filename=\"a.jpg\"; name=\"f\"", "a.jpg"),
            (b"form-data; name=f; filename=a.jpg", "a.jpg"),
            (b"Form-Data; NAME=\"f\"; FileName=\"a.jpg\"", "a.jpg"),
            (b"form-data;name=\"f\";filename=\"\"", ""),
            (b"form-data; name=\"f\"; filename*=UTF-8''%C3%A9%20b.jpg", "\u{e9} b.jpg"),
            (b"form-data; filename*=utf-8'en'%C3%A9.jpg; name=\"f\"; filename=\"e.jpg\"", "\u{e9}.jpg"),
            (b"form-data; filename=\"e.jpg\"; filename*=iso-8859-1''%E9.jpg; name=f", "\u{e9}.jpg"),
            (b"form-data; name=f; filename*=%C3%A9.jpg", "\u{e9}.jpg"),
            (b"form-data; name=f; filename*1=b.jpg; filename*0=a", "ab.jpg"),
            (b"form-data; name=f; filename*0*=utf-8''%C3%A9; filename*1*=%C3%A8.jpg", "\u{e9}\u{e8}.jpg"),
            (b"form-data; name=\"f\"; filename=\"\xc3\xa9.jpg\"", "\u{e9}.jpg"),
            (b"form-data; name=\"f\"; filename=\"\xe9.jpg\"", "\u{e9}.jpg"),
            (b"form-data; name=\"f\"; filename=\"=?UTF-8?B?w6kuanBn?=\"", "\u{e9}.jpg"),
            (b"form-data; name=\"f\"; filename==?iso-8859-1?Q?=E9_b?= =?utf-8?q?.jpg?=", "\u{e9} b.jpg"),
            (b"form-data; name=\"f\"; filename=\"=?no word.jpg\"", "=?no word.jpg"),
            (b"form-data; name=\"f\"; filename=\"a \\\"b\\\" ; c.jpg\"", "a \"b\" ; c.jpg"),
            (b"form-data; name=\"f\"; filename=\"C:\\photos\\a.jpg\"", "C:\\photos\\a.jpg"),
            (b"form-data; filename=\"name=x\"; name=\"f\"", "name=x"),
        ] {
            let expected = Disposition { name: Some("f".to_owned()), file_name: Some(file_name.to_owned()) };
            assert_eq!(parse(header), expected, "{}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn a_part_without_a_file_name_is_none() {
        for header in
            [&b"form-data; name=\"f\""[..], b"form-data; name=\"f\"; x-filename=\"a\"; size", b";name=f;"]
        {
            assert_eq!(parse(header), Disposition { name: Some("f".to_owned()), file_name: None });
        }
        assert_eq!(parse(b"form-data"), Disposition::default());
        assert_eq!(parse(b"form-data; filename=\"a").file_name.as_deref(), Some("a"));
    }
}
