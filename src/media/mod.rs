//! Stored files: where they lie, how they get there, and the URLs that open them.
//!
//! An upload is written to a [`Spool`] while it arrives. What is kept of it is stored under the hash of its content,
//! behind a row in the database that other rows refer to; what nothing refers to is forgotten after an hour.

#![expect(dead_code, reason = "what keeps files comes with the functions that look into them")]

mod blobs;
mod error;
mod facade;
mod spool;
mod urls;

pub use blobs::ByteStream;
pub use error::MediaError;
pub use facade::{Media, Served};
pub use spool::{Spool, Spooled, Spools};
pub use urls::{Opened, Parts};
