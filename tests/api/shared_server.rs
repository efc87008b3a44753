//! The server that most tests share; each test has its own users and numbers.

use std::sync::LazyLock;

use crate::support::server::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// The server that these tests share.
pub fn server() -> &'static Server {
    &SERVER
}
