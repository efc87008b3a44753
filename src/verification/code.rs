//! Codes: their generation, the text that is sent, and the parsing of input.

use std::fmt;

use super::Method;
use crate::secrets::random_below;

/// Digits of a code.
pub const LENGTH: usize = 6;

/// Six random digits, uniformly distributed. Its `Debug` hides them.
pub struct Code(String);

impl Code {
    pub fn random() -> Self {
        Self(format!("{:0LENGTH$}", random_below(1_000_000)))
    }

    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The text of the SMS or of the call. A call says the digits one by one, and twice.
    pub fn text(&self, method: Method) -> String {
        match method {
            Method::Sms => {
                format!("Your Windu code is {}. It is good for 10 minutes. Give it to nobody.", self.0)
            }
            Method::Voice => {
                let digits = self.spoken();
                format!("Your Windu code is: {digits}. Once more: {digits}. Good bye.")
            }
        }
    }

    /// The digits for a voice: `1, 2, 3, 4, 5, 6`.
    fn spoken(&self) -> String {
        let digits: Vec<String> = self.0.chars().map(String::from).collect();
        digits.join(", ")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

/// Removes what a user has typed between the digits.
#[must_use]
pub fn normalise(typed: &str) -> String {
    typed.chars().filter(|sign| !is_separator(*sign)).collect()
}

/// Dashes, blanks, and the invisible marks that a copied text has at its ends.
#[must_use]
pub fn is_separator(sign: char) -> bool {
    // Including the dashes that phones and word processors put in place of a hyphen.
    sign.is_whitespace()
        || "-\u{2010}\u{2011}\u{2012}–—−".contains(sign)
        || matches!(sign, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits_and_keeps_its_zeros() {
        let codes: Vec<Code> = (0..2_000).map(|_| Code::random()).collect();
        for code in &codes {
            assert_eq!(code.digits().len(), LENGTH);
            assert!(code.digits().chars().all(|sign| sign.is_ascii_digit()));
            assert!(!format!("{code:?}").contains(code.digits()));
        }
        for first in '0'..='9' {
            let count = codes.iter().filter(|code| code.digits().starts_with(first)).count();
            assert!((100..=320).contains(&count), "{count} of 2,000 codes begin with {first}");
        }
    }

    #[test]
    fn dashes_and_blanks_are_dropped() {
        for typed in [
            "123456",
            "123-456",
            " 123 456\n",
            "1-2-3\u{a0}4–5—6",
            "\u{202a}123456\u{202c}",
            "\u{feff}123456",
        ] {
            assert_eq!(normalise(typed), "123456");
        }
        assert_eq!(normalise("12a456"), "12a456");
    }

    #[test]
    fn a_voice_says_the_digits_apart() {
        let code = Code("012345".to_owned());
        assert!(code.text(Method::Voice).contains("0, 1, 2, 3, 4, 5. Once more: 0, 1, 2, 3, 4, 5."));
        assert!(code.text(Method::Sms).contains("012345"));
    }
}
