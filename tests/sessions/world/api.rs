//! The HTTP API of a test's process, whose networks are the scripted ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use windu::config::{
    CodeSettings, CodeSurroundings, CorsOrigins, Env, OAuthSettings, QuotaSettings, TrustedProxies,
};
use windu::domain::{NewPassword, UserName};
use windu::events::{Consumers, Events};
use windu::fair_share::FairShare;
use windu::fetch::{Fetch, UntrustedRules};
use windu::http::extract::body_budget::BodyBudget;
use windu::http::rate_limit::RateLimits;
use windu::http::server::{self, ConnectionLimits};
use windu::http::{AppState, Shared, SlowChecks, Started, router};
use windu::oauth::{OAuth, hash_password};
use windu::secrets;
use windu::verification::Verification;
use windu::webhooks::Webhooks;

use super::{A_DAY, Process, World};
use crate::scripted::PERSONS;
use crate::support::client::Client;

const PASSWORD: &str = "correct horse battery staple";

impl Process {
    /// Serves the API. New accounts are on the network of persons; the provider of codes of ours cannot be reached.
    pub async fn serve(&self, world: &World) -> Client {
        let env = Env::of([
            ("WINDU_CODE_SENDER", "webhook"),
            ("WINDU_CODE_WEBHOOK_URL", "http://127.0.0.1:1/"),
            ("WINDU_CODE_PREFIXES", "1"),
        ]);
        let surroundings =
            CodeSurroundings { loopback_only: false, terminal: false, data_dir: Path::new("/nowhere") };
        let codes = CodeSettings::read(&env, surroundings).unwrap();
        let (store, lifecycle) = (self.store.clone(), self.lifecycle.clone());
        let fetch = Arc::new(Fetch::new(UntrustedRules::default()));
        let (keys, started) = (world.keys.clone(), Started::default());
        let events = Events::new(self.store.clone(), self.sessions.media().clone());
        started.set();
        let state = AppState::from(Shared {
            store: store.clone(),
            oauth: Arc::new(OAuth::new(store.clone(), &OAuthSettings::read(&env).unwrap())),
            sessions: self.sessions.clone(),
            verification: Verification::new(store, keys.clone(), codes, fetch.clone(), lifecycle.clone())
                .unwrap(),
            fetch: fetch.clone(),
            media: self.sessions.media().clone(),
            lifecycle: lifecycle.clone(),
            webhooks: Webhooks::new(events.clone(), fetch.clone(), keys.clone()),
            events,
            consumers: Consumers::new(None),
            default_network: PERSONS.into(),
            send_ttl: A_DAY,
            quotas: QuotaSettings::read(&env).unwrap(),
            public_url: "http://127.0.0.1".into(),
            cors_origins: Arc::new(CorsOrigins::Any),
            started,
            bodies: BodyBudget::default(),
            limits: RateLimits::new(None, None),
            slow_checks: SlowChecks::default(),
            requests: FairShare::new(1_000),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let trusted_proxies = TrustedProxies::default();
        let limits =
            ConnectionLimits { total: 1_000, waiting_give_way: false, per_address: 1_000, trusted_proxies };
        lifecycle.spawn(server::serve(listener, router::router(&state), limits, lifecycle.clone()));
        Client::new(base)
    }

    /// A new user, signed in.
    pub async fn caller(&self, api: &Client) -> Client {
        let name = UserName::parse(&secrets::random_id()).unwrap();
        let hash = hash_password(&NewPassword::parse(PASSWORD).unwrap()).await.unwrap();
        self.store.create_user(&name, &hash).await.unwrap().unwrap();
        api.sign_in(name.as_str(), PASSWORD).await
    }
}

impl World {
    /// Lets time pass for the limits on codes.
    pub async fn age_codes(&self, by: Duration) {
        for statement in [
            "UPDATE code_sent SET sent_at = sent_at - make_interval(secs => $1)",
            "UPDATE registration SET again_at = again_at - make_interval(secs => $1)",
        ] {
            sqlx::query(statement).bind(by.as_secs_f64()).execute(&self.pool).await.unwrap();
        }
    }
}
