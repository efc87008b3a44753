//! Windu turns a phone number on a messaging network into a REST API.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod fetch;
pub mod http;
pub mod lifecycle;
pub mod maintenance;
pub mod oauth;
pub mod secrets;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod verification;
