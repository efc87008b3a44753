//! Untrusted URLs and the addresses that they may reach, with real sockets on this machine's loopback addresses. No
//! test dials any other address, even when it fails; the unit tests of `windu::fetch` check public addresses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod allowed_urls;
mod dialled_addresses;
mod limits;
mod redirects;
mod refused_addresses;
mod site;
mod tls;
