//! Windu turns a phone number on a messaging network into a REST API.

pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod lifecycle;
pub mod oauth;
pub mod secrets;
pub mod store;
