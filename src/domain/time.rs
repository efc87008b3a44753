//! Times in requests and responses.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A time in a response: UTC, `2016-05-20T05:52:45`, cut to the second and never rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

/// The same uncut and with its zone: `2016-05-20T05:52:45.123456Z`. It stands beside each [`Timestamp`] of a response: beside
/// `time` as `timestamp`, beside any other NAME as `NAME_timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UncutTimestamp(pub DateTime<Utc>);

/// A time in a request, in microseconds as in PostgreSQL. Within the years 0 to 9999, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeParameter {
    at: DateTime<Utc>,
    has_fraction: bool,
}

/// The text is no time. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time such as 2016-05-20T05:52:45 is expected, in UTC unless it ends with a zone such as +02:00; a date \
     without a time and unix seconds work too"
)]
pub struct TimeError;

impl TimeParameter {
    /// The time itself; for a date without a time its first moment.
    #[must_use]
    pub fn at(self) -> DateTime<Utc> {
        self.at
    }

    /// The last moment that a limit "up to this time" covers: without a fraction its whole second.
    #[must_use]
    pub fn last_moment(self) -> DateTime<Utc> {
        if self.has_fraction { self.at } else { self.at + TimeDelta::microseconds(999_999) }
    }
}

impl FromStr for TimeParameter {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        let (at, has_fraction) = unix_seconds(text).or_else(|| date_and_time(text)).ok_or(TimeError)?;
        if (0..=9999).contains(&at.year()) { Ok(Self { at, has_fraction }) } else { Err(TimeError) }
    }
}

impl<'de> Deserialize<'de> for TimeParameter {
    /// From a string, or a JSON number of unix seconds.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = TimeParameter;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeParameter, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<TimeParameter, E> {
                self.visit_str(&seconds.to_string())
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<TimeParameter, E> {
                self.visit_str(&seconds.to_string())
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<TimeParameter, E> {
                self.visit_str(&seconds.to_string())
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Formatting cuts fractions of a second.
        write!(formatter, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for UncutTimestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl Serialize for UncutTimestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at)
    }
}

/// `[-]digits[.digits]`, and whether there was a fraction.
fn unix_seconds(text: &str) -> Option<(DateTime<Utc>, bool)> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(whole, part)| (whole, Some(part)));
    if !is_digits(whole) {
        return None;
    }
    let past_whole = fraction.map_or(Some(0), microseconds)?;
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(past_whole)?;
    let at = DateTime::from_timestamp_micros(if negative { -micros } else { micros })?;
    Some((at, fraction.is_some()))
}

/// A date, optionally with a time, which may have a zone, and seconds with or without a fraction.
fn date_and_time(text: &str) -> Option<(DateTime<Utc>, bool)> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = date_only(date)?;
    if rest.is_empty() {
        return Some((date.and_hms_opt(0, 0, 0)?.and_utc(), false));
    }
    let (hour, rest) = two_digits(rest.strip_prefix(['T', 't', ' '])?)?;
    let (minute, rest) = two_digits(rest.strip_prefix(':')?)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => two_digits(rest).map(|(second, rest)| (Some(second), rest))?,
        None => (None, rest),
    };
    let has_seconds = second.is_some();
    let second = second.unwrap_or(0);
    // A leap second is the first moment after it, as PostgreSQL has it.
    let leap = i64::from(second == 60);
    let at = date.and_hms_opt(hour, minute, if leap == 1 { 59 } else { second })?.and_utc();
    let (fraction, zone) = match rest.strip_prefix('.').filter(|_| has_seconds) {
        None => (None, rest),
        Some(rest) => {
            let end = rest.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(rest.len());
            (Some(microseconds(&rest[..end])?), &rest[end..])
        }
    };
    let at = at
        .checked_add_signed(TimeDelta::seconds(leap))?
        .checked_add_signed(TimeDelta::microseconds(fraction.unwrap_or(0)))?
        .checked_sub_signed(zone_offset(zone)?)?;
    Some((at, fraction.is_some()))
}

fn date_only(text: &str) -> Option<NaiveDate> {
    let (year, rest) = text.split_at_checked(4)?;
    let (month, rest) = two_digits(rest.strip_prefix('-')?)?;
    let (day, rest) = two_digits(rest.strip_prefix('-')?)?;
    if !is_digits(year) || !rest.is_empty() {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month, day)
}

/// Nothing and `Z` are UTC; else hours and minutes, with or without a colon, or hours alone. A form turns the plus of `+02:00`
/// into a space.
fn zone_offset(text: &str) -> Option<TimeDelta> {
    let (sign, rest) = match text.chars().next() {
        None => return Some(TimeDelta::zero()),
        Some('Z' | 'z') if text.len() == 1 => return Some(TimeDelta::zero()),
        Some('+' | ' ') => (1, &text[1..]),
        Some('-') => (-1, &text[1..]),
        Some(_) => return None,
    };
    let (hours, rest) = two_digits(rest)?;
    let (minutes, rest) =
        if rest.is_empty() { (0, rest) } else { two_digits(rest.strip_prefix(':').unwrap_or(rest))? };
    if !rest.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    Some(TimeDelta::minutes(sign * i64::from(hours * 60 + minutes)))
}

fn two_digits(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    if is_digits(digits) { Some((digits.parse().ok()?, rest)) } else { None }
}

/// The digits after a decimal point, cut to microseconds.
fn microseconds(digits: &str) -> Option<i64> {
    if !is_digits(digits) {
        return None;
    }
    format!("{digits:0<6}")[..6].parse().ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn parsed(text: &str) -> String {
        let time: TimeParameter = text.parse().unwrap_or_else(|_| panic!("{text:?} is a time"));
        time.at().format("%Y-%m-%dT%H:%M:%S%.f").to_string()
    }

    #[test]
    fn every_documented_form_is_read() {
        for text in [
            "2016-05-20T05:52:45",
            "2016-05-20 05:52:45",
            "2016-05-20T05:52:45Z",
            "2016-05-20t05:52:45z",
            "2016-05-20T07:52:45+02:00",
            "2016-05-20T07:52:45 02:00",
            "2016-05-20 07:52:45 02:00",
            "2016-05-19T22:22:45-07:30",
            " 2016-05-20T05:52:45 ",
            "2016-05-20T07:52:45+0200",
            "2016-05-20T07:52:45 0200",
            "2016-05-20T05:52:45+0000",
            "2016-05-19T22:22:45-0730",
            "2016-05-20 07:52:45+02",
            "2016-05-20 05:52:45+00",
            "1463723565",
        ] {
            assert_eq!(parsed(text), "2016-05-20T05:52:45", "{text}");
        }
        for text in [
            "2016-05-20T05:52",
            "2016-05-20 05:52",
            "2016-05-20T05:52Z",
            "2016-05-20T07:52+02:00",
            "2016-05-20T07:52 02:00",
            "2016-05-20T07:52+0200",
        ] {
            assert_eq!(parsed(text), "2016-05-20T05:52:00", "{text}");
        }
        assert_eq!(parsed("2016-05-20T07:52:45.25 02:00"), "2016-05-20T05:52:45.250");
        assert_eq!(parsed("2016-05-20T05:52:45.1234569Z"), "2016-05-20T05:52:45.123456");
        assert_eq!(parsed("1463723565.5"), "2016-05-20T05:52:45.500");
        assert_eq!(parsed("2016-05-20"), "2016-05-20T00:00:00");
        assert_eq!(parsed("-1"), "1969-12-31T23:59:59");
        assert_eq!(parsed("-0.5"), "1969-12-31T23:59:59.500");
    }

    #[test]
    fn extremes_are_read_or_refused_and_never_panic() {
        assert_eq!(parsed("0000-01-01T00:00:00"), "0000-01-01T00:00:00");
        assert_eq!(parsed("9999-12-31T23:59:59.999999"), "9999-12-31T23:59:59.999999");
        assert_eq!(parsed("2016-12-31T23:59:60"), "2017-01-01T00:00:00");
        assert_eq!(parsed("2016-02-29"), "2016-02-29T00:00:00");
        for text in [
            "",
            " ",
            "now",
            "T",
            "2016-05-20T24:00:00",
            "2016-05-20T05:60:00",
            "2016-05-20T05:52:61",
            "2015-02-29",
            "2016-13-01",
            "2016-00-00",
            "2016-5-20",
            "2016-05-20T",
            "2016-05-20T05",
            "2016-05-20T05:52:",
            "2016-05-20T05:52.5",
            "2016-05-20T05:5",
            "2016-05-20T05:52:45.",
            "2016-05-20T05:52:45.x",
            "2016-05-20T05:52:45+2",
            "2016-05-20T05:52:45+020",
            "2016-05-20T05:52:45+02:",
            "2016-05-20T05:52:45+02000",
            "2016-05-20T05:52:45+24:00",
            "2016-05-20T05:52:45+02:60",
            "2016-05-20T05:52:45+02:00 ago",
            "2016-05-20T05:52:45ZZ",
            "2016-05-20_05:52:45",
            "２０16-05-20",
            "2016-05-2é",
            "2016-05-20T05:52:4é",
            "2016-05-20T05:52:45é",
            "9999-12-31T23:59:60",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
            "-0001-01-01",
            "10000-01-01",
            "253402300800",
            "99999999999999999999999999",
            "-99999999999999999999999999",
            "9223372036854775807",
            "-9223372036854775808",
            "1e9",
            "NaN",
            "+5",
            "-",
            ".5",
            "5.",
        ] {
            assert_eq!(text.parse::<TimeParameter>(), Err(TimeError), "{text:?}");
        }
    }

    #[test]
    fn a_limit_without_a_fraction_covers_its_second() {
        let limit =
            |text: &str| text.parse::<TimeParameter>().expect(text).last_moment().timestamp_subsec_micros();
        assert_eq!(limit("2016-05-20T05:52:45"), 999_999);
        assert_eq!(limit("1463723565"), 999_999);
        assert_eq!(limit("2016-05-20T05:52:45.0"), 0);
        assert_eq!(limit("2016-05-20T05:52:45.25"), 250_000);
        assert_eq!(limit("9999-12-31T23:59:59"), 999_999);
    }

    #[test]
    fn a_response_is_cut_and_never_rounded() {
        let at = "2016-05-20T05:52:45.999999".parse::<TimeParameter>().expect("a time").at();
        assert_eq!(serde_json::to_value(Timestamp(at)).expect("JSON"), "2016-05-20T05:52:45");
    }

    #[test]
    fn an_uncut_timestamp_has_microseconds_and_a_zone() {
        for (text, uncut) in [
            ("2016-05-20T05:52:45.123456", "2016-05-20T05:52:45.123456Z"),
            ("2016-05-20T07:52:45.5+02:00", "2016-05-20T05:52:45.500000Z"),
            ("2016-05-20", "2016-05-20T00:00:00.000000Z"),
        ] {
            let time: TimeParameter = text.parse().expect(text);
            assert_eq!(serde_json::to_value(UncutTimestamp(time.at())).expect("JSON"), uncut);
            // A response's time is a parameter that means the same moment.
            assert_eq!(uncut.parse::<TimeParameter>().expect(uncut).at(), time.at());
        }
    }

    #[test]
    fn json_numbers_are_unix_seconds() {
        for json in ["1463723565", "1463723565.0", "\"1463723565\""] {
            let time: TimeParameter = serde_json::from_str(json).expect(json);
            assert_eq!(Timestamp(time.at()).to_string(), "2016-05-20T05:52:45");
        }
        for json in ["1e300", "-1e300", "18446744073709551615", "true", "null", "[]"] {
            assert!(serde_json::from_str::<TimeParameter>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_refused(text in ".*") {
            let _ = text.parse::<TimeParameter>();
        }

        #[test]
        fn what_looks_like_a_time_is_read_or_refused(
            text in "[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[ +-][0-9]{2}:?[0-9]{2})?)?",
        ) {
            if let Ok(time) = text.parse::<TimeParameter>() {
                prop_assert!(time.at() <= time.last_moment());
                prop_assert_eq!(time.at().timestamp(), time.last_moment().timestamp());
            }
        }

        #[test]
        fn every_second_is_read_in_each_of_its_notations(second in -62_167_219_200_i64..=253_402_300_799) {
            let at = DateTime::from_timestamp(second, 0).expect("within the years");
            for text in [
                Timestamp(at).to_string(),
                at.format("%Y-%m-%d %H:%M:%S").to_string(),
                at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
                second.to_string(),
            ] {
                prop_assert_eq!(text.parse::<TimeParameter>().map(TimeParameter::at), Ok(at), "{}", text);
            }
        }
    }
}
