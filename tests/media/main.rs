//! The functions on media files, on small real files (tests/files/make says how they were made) and on broken ones.

mod cards;
mod files;
mod hostile;
mod lengths;
mod photos;
mod pictures;
mod types;
