//! What callers' URLs reach, and what they must not: against real sockets on this machine's loopback addresses. No
//! test dials any other address, also when it fails: what the internet is, the unit tests of `windu::fetch` hold.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod allowed_urls;
mod dialled_addresses;
mod limits;
mod redirects;
mod refused_addresses;
mod site;
mod tls;
