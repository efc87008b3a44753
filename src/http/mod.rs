//! All of axum: the router, the extractors, the errors, one file per resource.

pub mod error;
