//! Checks of request heads that hyper leaves to the server.

use http::uri::Authority;
use http::{HeaderMap, Version, header};

use crate::http::error::{ApiError, ErrorCode};

/// # Errors
/// 400 unless there is exactly one valid `Host`; only HTTP/1.0 needs none (RFC 9112, section 3.2).
pub fn check_host(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(invalid("the header Host is missing")),
        (Some(_), Some(_)) => Err(invalid("the header Host occurs more than once")),
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(invalid("the header Host is not the name of a host")),
    }
}

/// A name or an address, with or without a port; or nothing, for a target without an authority.
fn is_host(host: &[u8]) -> bool {
    host.is_empty() || (Authority::try_from(host).is_ok() && !host.contains(&b'@'))
}

fn invalid(message: &str) -> ApiError {
    ApiError::bad_request(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn is_accepted(version: Version, hosts: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        check_host(version, &headers).is_ok()
    }

    #[test]
    fn a_request_names_one_valid_host() {
        for host in ["x", "windu.example.org", "windu_1:8000", "127.0.0.1:8000", "[::1]:8000", ""] {
            assert!(is_accepted(Version::HTTP_11, &[host]), "{host}");
        }
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &["a b"], &["name@host"], &["a/b"], &["a,b c"]] {
            assert!(!is_accepted(Version::HTTP_11, hosts), "{hosts:?}");
        }
        assert!(is_accepted(Version::HTTP_10, &[]));
        assert!(!is_accepted(Version::HTTP_10, &["a", "a"]));
    }
}
