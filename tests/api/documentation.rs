//! The documentation that the server gives of itself, without a token.

use reqwest::Method;
use serde_json::json;

use crate::support::server::Server;

#[tokio::test]
async fn the_root_is_a_page_for_browsers_and_an_object_for_programs() {
    let server = Server::start();
    let object = server.client().get("/").await;
    assert_eq!(object.json(), json!({"name": "Windu", "docs": "/api/docs/", "openapi": "/api/openapi.json"}));
    let request =
        server.client().request(Method::GET, "/").header("accept", "text/html,application/xhtml+xml");
    let page = server.client().send(request).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.text().contains("href=\"/api/docs/\"") && page.text().contains("href=\"/api/openapi.json\"")
    );
    for answer in [&object, &page] {
        assert!(!answer.text().contains(env!("CARGO_PKG_VERSION")), "{}", answer.text());
    }
}

#[tokio::test]
async fn the_openapi_document_is_the_one_of_the_command() {
    let server = Server::start();
    let answer = server.client().get("/api/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let printed: serde_json::Value = serde_json::from_str(&server.run(&["openapi"], "")).expect("JSON");
    assert_eq!(answer.json(), printed);
}

#[tokio::test]
async fn swagger_ui_comes_from_this_server_alone() {
    let server = Server::start();
    for page in ["/api/docs/", "/api/docs"] {
        let page = server.client().get(page).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
        let text = page.text();
        let links = text.split(['"']).filter(|part| part.starts_with('/') || part.contains("://"));
        let mut count = 0;
        for link in links {
            assert!(link.starts_with("/api/docs/"), "{link}");
            let file = server.client().get(link).await;
            assert_eq!(file.status, 200, "{link}");
            assert!(!file.bytes.is_empty(), "{link}");
            count += 1;
        }
        assert!(count >= 4, "{text}");
    }
    let settings = server.client().get("/api/docs/swagger-initializer.js").await.text();
    assert!(
        settings.contains("/api/openapi.json") && settings.contains("\"validatorUrl\": \"none\""),
        "{settings}"
    );
    server.client().get("/api/docs/nothing.js").await.refused(404, "not_found");
}
