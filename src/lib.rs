//! Windu turns a phone number on a messaging network into a REST API.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod lifecycle;
pub mod oauth;
pub mod secrets;
pub mod store;
pub mod telemetry;
