//! The parameter `account`, which selects the account of a request.

use reqwest::Method;
use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{fresh_number, login, register};

const SEND: &str = "/api/messages/send-message/";

#[tokio::test]
async fn the_account_parameter_selects_an_account_by_its_number() {
    let api = login(server()).await;
    let (first, second, third) = (fresh_number(), fresh_number(), fresh_number());
    let nickname = "/api/account/nickname/";
    api.get(nickname).await.refused(400, "no_account");
    api.get(&format!("{nickname}?account={first}")).await.refused(400, "account_unknown");
    let create = |number: String| {
        let api = &api;
        async move { api.post("/api/account/create-account/", &[("account", number.as_str())]).await.status }
    };
    // An unregistered account cannot be used.
    assert_eq!(create(third.clone()).await, 201);
    api.get(nickname).await.refused(400, "account_not_registered");
    api.get(&format!("{nickname}?account={third}")).await.refused(400, "account_not_registered");
    api.post(SEND, &[("account", &third), ("contact", &first), ("message", "hi")])
        .await
        .refused(400, "account_not_registered");

    register(server(), &api, &first).await;
    register(server(), &api, &second).await;
    api.post(nickname, &[("nickname", "oldest")]).await;
    api.post(nickname, &[("nickname", "other"), ("account", &second)]).await;
    let shown = async |query: &str| api.get(&format!("{nickname}{query}")).await.json()["nickname"].clone();
    // The oldest registered account, although the unregistered one is older.
    assert_eq!(shown("").await, "oldest");
    assert_eq!(shown(&format!("?account={first}")).await, "oldest");
    let pretty = format!("%2B{}%20({}){}.{}-", &second[..1], &second[1..4], &second[4..7], &second[7..]);
    for spelling in [second.as_str(), &pretty, &format!("+{second}")] {
        assert_eq!(shown(&format!("?account={spelling}")).await, "other", "{spelling}");
    }
    let digits: u64 = second.parse().expect("digits");
    let body = |account: Value| api.request(Method::GET, nickname).json(&json!({"account": account}));
    assert_eq!(api.send(body(json!(digits))).await.json()["nickname"], "other");
    assert_eq!(api.send(body(json!(second))).await.json()["nickname"], "other");
    assert_eq!(api.send(body(Value::Null)).await.json()["nickname"], "oldest");
    for wrong in [json!(-5), json!(1.5), json!([]), json!("12a34567"), json!(true)] {
        api.send(body(wrong)).await.refused(400, "invalid_parameter");
    }
    let hint = api.get(&format!("{nickname}?account={second}limit=5")).await;
    assert!(hint.refused(400, "invalid_parameter").contains('&'), "{}", hint.text());
}
