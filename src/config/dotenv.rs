//! The file `.env`: a variable per line, taken literally.

/// Its name, in the working folder.
pub const FILE: &str = ".env";

/// The variables of the text of a file, in order. Lines are `NAME=value`, optionally after `export`; empty lines and those
/// that begin with `#` say nothing. A value ends with the line, or before a blank and `#`; blanks around it do not count.
/// Within single or double quotes every character counts, and none has a meaning of its own: there is no `$` and no `\`.
///
/// # Errors
/// The number of the line that is neither, from 1; never what it says.
pub fn parse(text: &str) -> Result<Vec<(&str, &str)>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).enumerate();
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    said.map(|(index, line)| variable(line).ok_or(index + 1)).collect()
}

fn variable(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = |name: &str| name.bytes().all(|sign| sign.is_ascii_alphanumeric() || sign == b'_');
    if name.is_empty() || !is_name(name) {
        return None;
    }
    Some((name, unquoted(value.trim())?))
}

/// The value without its quotes, or without its comment.
fn unquoted(value: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let (inside, after) = rest.rsplit_once(quote)?;
            let after = after.trim();
            return (after.is_empty() || after.starts_with('#')).then_some(inside);
        }
    }
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']) || *at == 0);
    Some(comment.map_or(value, |(at, _)| value[..at].trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_literally() {
        let text = "\u{feff}A=1\r\n\n# comment\n  export B = two words  \nC=pa$ss\\n#word\nD=x # comment\nE=\nF=#none\n\
                    G=\"a # b \" # comment\nH='it''s \"$x\"'\nI=a=b\nJ=\"a\"b\"\n";
        let values = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "pa$ss\\n#word"),
            ("D", "x"),
            ("E", ""),
            ("F", ""),
            ("G", "a # b "),
            ("H", "it''s \"$x\""),
            ("I", "a=b"),
            ("J", "a\"b"),
        ];
        assert_eq!(parse(text), Ok(values.to_vec()));
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_by_its_number() {
        for (text, line) in [
            ("A=1\nsecret word\n", 2),
            ("=1", 1),
            ("A B=1", 1),
            ("A-B=1", 1),
            ("\nA=\"open\n", 2),
            ("A='a' b", 1),
        ] {
            assert_eq!(parse(text), Err(line), "{text}");
        }
    }
}
