//! Users, clients, tokens, logins, and the codes that prove numbers.

pub mod client;
pub mod login;
pub mod token;
pub mod user;
pub mod verification;
