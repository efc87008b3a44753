//! What holds for every row: paths, request ids, CORS, limits, the orderly stop.

use crate::support::server::Server;

#[tokio::test]
async fn probes_answer() {
    let server = Server::start();
    for path in ["/livez", "/readyz"] {
        let answer = server.client().get(path).await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({"status": "ok"})), "{path}");
    }
}
