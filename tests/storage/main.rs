//! Files: uploads, the storage and its clean-up, and the URLs that open them.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod clean_up;
mod s3;
mod sent_file;
mod signed_urls;
mod uploads;
