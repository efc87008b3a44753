//! Stored files: where they lie, how they get there, and the URLs that open them; and what files are, what may be
//! sent, and what is taken out of them before they are kept.
//!
//! An upload is written to a [`Spool`] while it arrives. What is kept of it is stored under the hash of its content,
//! behind a row in the database that other rows refer to; what nothing refers to is forgotten after an hour.
//!
//! The functions that look into files take a path and block; they belong on a bounded pool. Files come from strangers:
//! they are read by a bounded head or by seeking, and a panic of a parser makes a file unreadable, nothing else.

mod blobs;
mod contained;
mod error;
mod facade;
mod file_type;
mod keep;
mod mp4;
pub mod picture;
mod probe;
mod reading;
mod row;
mod sniff;
mod source;
mod spool;
mod urls;
pub mod vcard;

pub use blobs::ByteStream;
pub use error::MediaError;
pub use facade::{Media, Served};
pub use file_type::{Family, FileType};
pub use keep::PhotoBlobs;
pub use probe::{Probe, probe};
pub use row::{SendRow, WrongFileType, fits};
pub use sniff::sniff;
pub use spool::{Spool, Spooled, Spools};
pub use urls::{Opened, Parts};
