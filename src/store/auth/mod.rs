//! Users, clients, tokens, logins, and the codes that prove numbers.

pub mod client;
pub mod login;
pub mod ticket;
pub mod token;
pub mod user;
pub mod verification;
