//! The functions on media files, on small real files (tests/files/make says how they were made) and on broken ones.

mod cards;
mod dimensions;
mod files;
mod malformed_files;
mod picture_metadata;
mod profile_photos;
mod types;
