//! Files: uploads, the storage and its clean-up, and the URLs that open them.

#[path = "../support/mod.rs"]
mod support;

mod forgotten;
mod s3;
mod sent;
mod served;
mod uploads;
