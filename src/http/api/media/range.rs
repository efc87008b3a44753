//! Range requests and conditional requests: `Range`, `If-Range` and `If-None-Match` (RFC 9110, sections 13 and 14).

use std::ops::Range;

use http::{HeaderMap, header};

/// The bytes of a file that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// All bytes; also for several ranges and for an invalid range.
    Whole,
    /// Never empty.
    Part(Range<u64>),
    /// Only bytes beyond the end of the file.
    Unsatisfiable,
    /// None: the caller has the file already.
    Unchanged,
}

/// Reads the headers of a request for a file of `size` bytes. `etag` is its strong tag, in quotes.
pub fn requested(headers: &HeaderMap, etag: &str, size: u64) -> RangeRequest {
    if text(headers, header::IF_NONE_MATCH).is_some_and(|tags| names(tags, etag)) {
        return RangeRequest::Unchanged;
    }
    // A date is a weak validator, so it never matches.
    if headers.contains_key(header::IF_RANGE) && text(headers, header::IF_RANGE) != Some(etag) {
        return RangeRequest::Whole;
    }
    text(headers, header::RANGE).map_or(RangeRequest::Whole, |range| part(range, size))
}

/// The header's text, if the header occurs once.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

fn names(tags: &str, etag: &str) -> bool {
    tags == "*" || tags.split(',').map(str::trim).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn part(range: &str, size: u64) -> RangeRequest {
    let Some((unit, range)) = range.split_once('=') else { return RangeRequest::Whole };
    let Some((first, last)) = range.split_once('-') else { return RangeRequest::Whole };
    let range = match (unit.trim().eq_ignore_ascii_case("bytes"), bound(first), bound(last)) {
        (true, RangeBound::Byte(first), RangeBound::Missing) => first..size,
        (true, RangeBound::Byte(first), RangeBound::Byte(last)) if first <= last => {
            first..last.saturating_add(1).min(size)
        }
        (true, RangeBound::Missing, RangeBound::Byte(count)) => size.saturating_sub(count)..size,
        _ => return RangeRequest::Whole,
    };
    if range.is_empty() { RangeRequest::Unsatisfiable } else { RangeRequest::Part(range) }
}

/// One side of a range.
enum RangeBound {
    Missing,
    Byte(u64),
    Invalid,
}

/// A number that is too large counts as the largest.
fn bound(text: &str) -> RangeBound {
    match text.trim() {
        "" => RangeBound::Missing,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            RangeBound::Byte(digits.parse().unwrap_or(u64::MAX))
        }
        _ => RangeBound::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const ETAG: &str = "\"tag\"";

    fn parsed(headers: &[(header::HeaderName, &str)], size: u64) -> RangeRequest {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        requested(&map, ETAG, size)
    }

    #[test]
    fn one_range_is_a_part() {
        for (range, part) in [
            ("bytes=0-", 0..10),
            ("bytes=0-0", 0..1),
            ("bytes=3-5", 3..6),
            ("BYTES = 3 - 5", 3..6),
            ("bytes=3-100", 3..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("bytes=-1", 9..10),
            ("bytes=-10", 0..10),
            ("bytes=-11", 0..10),
        ] {
            assert_eq!(parsed(&[(header::RANGE, range)], 10), RangeRequest::Part(part), "{range}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_is_unsatisfiable() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(parsed(&[(header::RANGE, range)], 10), RangeRequest::Unsatisfiable, "{range}");
        }
        assert_eq!(parsed(&[(header::RANGE, "bytes=0-")], 0), RangeRequest::Unsatisfiable);
    }

    #[test]
    fn several_ranges_and_invalid_ones_give_the_whole_file() {
        for range in [
            "bytes=0-1,3-4",
            "bytes=5-3",
            "bytes=a-",
            "bytes=-",
            "bytes=",
            "bytes",
            "",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(parsed(&[(header::RANGE, range)], 10), RangeRequest::Whole, "{range}");
        }
        let twice = [(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=3-4")];
        assert_eq!(parsed(&twice, 10), RangeRequest::Whole);
        assert_eq!(parsed(&[], 10), RangeRequest::Whole);
    }

    #[test]
    fn a_range_of_another_version_gives_the_whole_file() {
        let range = (header::RANGE, "bytes=0-1");
        assert_eq!(parsed(&[range.clone(), (header::IF_RANGE, ETAG)], 10), RangeRequest::Part(0..2));
        for other in ["\"other\"", "W/\"tag\"", "Wed, 25 Nov 2026 12:00:00 GMT", ""] {
            assert_eq!(
                parsed(&[range.clone(), (header::IF_RANGE, other)], 10),
                RangeRequest::Whole,
                "{other}"
            );
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        for tags in ["*", ETAG, "W/\"tag\"", "\"other\", \"tag\""] {
            let headers = [(header::IF_NONE_MATCH, tags), (header::RANGE, "bytes=0-1")];
            assert_eq!(parsed(&headers, 10), RangeRequest::Unchanged, "{tags}");
        }
        assert_eq!(parsed(&[(header::IF_NONE_MATCH, "\"other\"")], 10), RangeRequest::Whole);
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_always_within_the_file(range in "(bytes)?=?[-0-9a-z, ]{0,12}", size in 0_u64..200) {
            if let RangeRequest::Part(part) = parsed(&[(header::RANGE, range.as_str())], size) {
                proptest::prop_assert!(part.start < part.end && part.end <= size, "{range} {part:?}");
            }
        }
    }
}
