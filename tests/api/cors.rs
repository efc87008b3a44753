//! CORS: the web pages that may call the API.

use reqwest::Method;

use crate::support::server::Server;

#[tokio::test]
async fn cors_allows_every_origin_or_the_configured_ones() {
    let server = Server::start();
    let preflight = async |server: &Server, path: &str, origin: &str| {
        let request = server
            .client()
            .request(Method::OPTIONS, path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PATCH")
            .header(
                "Access-Control-Request-Headers",
                "authorization, content-type, idempotency-key, x-request-id",
            );
        server.client().send(request).await
    };
    for path in ["/api/account", "/api/account/", "/o/token/", "/api/contacts/15551230000/", "/nothing"] {
        let answer = preflight(&server, path, "https://page.example").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"), "{path}");
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            assert!(answer.header("access-control-allow-methods").contains(method), "{method}");
        }
        for header in
            ["authorization", "content-type", "idempotency-key", "x-request-id", "traceparent", "baggage"]
        {
            assert!(answer.header("access-control-allow-headers").contains(header), "{header}");
        }
        assert!(!answer.header("x-request-id").is_empty());
    }
    let answer = server.client().get("/nothing").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(
        answer.header("access-control-expose-headers"),
        "x-request-id,idempotency-replayed,accept-ranges,content-disposition,content-range,etag,retry-after,\
         ratelimit,ratelimit-policy,www-authenticate"
    );

    let server = Server::setup().env("WINDU_CORS_ORIGINS", "https://a.example, https://b.example").start();
    let answer = preflight(&server, "/livez", "https://b.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://b.example");
    let answer = preflight(&server, "/livez", "https://c.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}
