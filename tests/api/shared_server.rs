//! One server for all tests that need nothing special: each has users and numbers of its own.

use std::sync::LazyLock;

use crate::support::server::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// The server that these tests share.
pub fn server() -> &'static Server {
    &SERVER
}
