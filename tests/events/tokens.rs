//! Further tokens of a user.

use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::owner::Owner;
use crate::support::people::PASSWORD;
use crate::support::server::Server;

pub const PUBLIC_CLIENT: &str = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";

/// A token of the owner with other scopes, with its refresh token.
pub async fn token(owner: &Owner, server: &Server, scope: &str) -> (String, String) {
    let name = block_in_place(|| {
        server.database().sql(&format!(
            "SELECT u.name FROM windu_user u JOIN account_counter c ON c.user_id = u.id WHERE c.number = '{}'",
            owner.numbers[0]
        ))
    });
    let form = [
        ("grant_type", "password"),
        ("username", name.as_str()),
        ("password", PASSWORD),
        ("client_id", PUBLIC_CLIENT),
        ("scope", scope),
    ];
    let answer = Client::new(server.url().to_owned()).post("/o/token/", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let word = |name: &str| answer.json()[name].as_str().expect("a token").to_owned();
    (word("access_token"), word("refresh_token"))
}

pub async fn revoke(server: &Server, token: &str) {
    let form = [("token", token), ("client_id", PUBLIC_CLIENT)];
    assert_eq!(Client::new(server.url().to_owned()).post("/o/revoke-token/", &form).await.status, 200);
}

/// The access token that a refresh token gives.
pub async fn refreshed(server: &Server, refresh: &str) -> String {
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", PUBLIC_CLIENT)];
    let answer = Client::new(server.url().to_owned()).post("/o/token/", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().expect("a token").to_owned()
}
