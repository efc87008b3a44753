//! Stored files: how they are uploaded, inspected, cleaned and stored, and the URLs that open them.
//!
//! An upload is written to a [`Spool`] while it arrives. Then it is stored under the hash of its content, behind a row
//! in the database that other rows refer to; a file that nothing refers to is deleted after an hour.
//!
//! The functions that inspect files take a path and block; they belong on the bounded pool. Files come from strangers:
//! only a bounded head is read, or single parts by seeking, or all of it through buffers until a deadline; and a panic of a
//! parser makes a file unreadable, nothing else.

mod accepted_types;
mod blob_storage;
mod blobs;
mod catch_panic;
mod deadline;
mod error;
mod file_type;
mod folder;
mod handle;
mod inspection;
mod mp4;
pub mod picture;
mod probe;
mod read_bytes;
mod sniff;
mod spool;
mod store;
mod uploader;
mod urls;
pub mod vcard;
mod webm;

pub use accepted_types::{WrongFileType, accepts};
pub use blobs::ByteStream;
pub use deadline::{Deadline, DeadlineFile};
pub use error::MediaError;
pub use file_type::{Family, FileType};
pub use handle::{Inventory, Media, ServedFile};
pub use probe::{Probe, probe};
pub use sniff::sniff;
pub use spool::{Spool, Spooled, Spools, UploaderSpools};
pub use store::Sendable;
pub use uploader::Uploader;
pub use urls::{UrlParts, VerifiedUrl};
