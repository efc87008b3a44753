//! The server that most tests share; each test has its own users and numbers.

use std::sync::LazyLock;

use crate::support::client::{Answer, Client};
use crate::support::server::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// The server that these tests share.
pub fn server() -> &'static Server {
    &SERVER
}

/// A client of it without a token. Its connections belong to the runtime of the test: those of the server's own client would
/// end with whichever test opened them.
pub fn client() -> Client {
    Client::new(server().url().to_owned())
}

/// The response of a URL that this server returned, requested without a token.
pub async fn open(url: &str) -> Answer {
    let path = url.strip_prefix(server().url()).unwrap_or_else(|| panic!("{url} is not on this server"));
    client().get(path).await
}
