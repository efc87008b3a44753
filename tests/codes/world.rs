//! The fixture: database, provider and verification of one test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use windu::config::{CodeSettings, CodeSurroundings, Env};
use windu::db::Db;
use windu::domain::{AccountId, PhoneNumber, UserId};
use windu::fetch::{Fetch, UntrustedRules};
use windu::lifecycle::Lifecycle;
use windu::secrets::MasterKey;
use windu::store::Store;
use windu::verification::{Method, Proved, RequestError, Verification};

use crate::provider::Provider;
use crate::support::postgres::Database;
use crate::support::wait::{DEADLINE, wait_until_async};

pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const TWILIO_SID: &str = "AC0123456789abcdef0123456789abcdef";
pub const TWILIO_TOKEN: &str = "fedcba9876543210fedcba9876543210";

pub struct World {
    pub pool: PgPool,
    pub store: Store,
    pub provider: Provider,
    pub verification: Verification,
    pub lifecycle: Lifecycle,
    master_key: MasterKey,
    options: PgConnectOptions,
}

/// An account that waits for its code.
#[derive(Clone)]
pub struct PendingAccount {
    pub user: UserId,
    pub account: AccountId,
    pub number: PhoneNumber,
}

impl World {
    /// With the webhook sender.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With additional or changed settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let lifecycle = Lifecycle::default();
        let provider = Provider::start(&lifecycle).await;
        let settings = Self::settings(&provider, settings);
        Self::build(lifecycle, provider, settings).await
    }

    /// With these settings only; the provider is not used.
    pub async fn with_settings(settings: CodeSettings) -> Self {
        let lifecycle = Lifecycle::default();
        let provider = Provider::start(&lifecycle).await;
        Self::build(lifecycle, provider, settings).await
    }

    async fn build(lifecycle: Lifecycle, provider: Provider, settings: CodeSettings) -> Self {
        let database = Database::create();
        let options: PgConnectOptions = database.url().parse().unwrap();
        let pool = PgPool::connect_with(options.clone()).await.unwrap();
        let store = Store::new(Db::new(options.clone(), 8));
        let master_key = MasterKey::from_base64(&MasterKey::generate_base64(), None).unwrap();
        let verification = verification(&store, &master_key, settings, &lifecycle);
        Self { pool, store, provider, verification, lifecycle, master_key, options }
    }

    /// The verification of another process: its own pool, with the same database and provider.
    pub fn another_process(&self, settings: &[(&str, &str)]) -> Verification {
        let store = Store::new(Db::new(self.options.clone(), 8));
        verification(&store, &self.master_key, Self::settings(&self.provider, settings), &self.lifecycle)
    }

    fn settings(provider: &Provider, more: &[(&str, &str)]) -> CodeSettings {
        let (webhook, base) = (provider.url("/send?key=hidden-in-url"), provider.url("/twilio/"));
        let mut values = vec![
            ("WINDU_CODE_SENDER", "webhook"),
            ("WINDU_CODE_WEBHOOK_URL", webhook.as_str()),
            ("WINDU_CODE_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("WINDU_TWILIO_ACCOUNT_SID", TWILIO_SID),
            ("WINDU_TWILIO_AUTH_TOKEN", TWILIO_TOKEN),
            ("WINDU_TWILIO_FROM", "+1 555 010 0000"),
            ("WINDU_TWILIO_BASE_URL", base.as_str()),
        ];
        values.extend_from_slice(more);
        let surroundings =
            CodeSurroundings { loopback_only: false, terminal: false, data_dir: Path::new("/nowhere") };
        let mut settings = CodeSettings::read(&Env::of(values), surroundings).unwrap();
        // Long enough for a busy machine, short enough for a test that waits for it.
        settings.timeout = Duration::from_secs(2);
        settings
    }

    pub async fn user(&self) -> UserId {
        let name = windu::secrets::random_id();
        let id =
            sqlx::query_scalar("INSERT INTO windu_user (name, password_hash) VALUES ($1, '-') RETURNING id")
                .bind(name)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        UserId(id)
    }

    pub async fn account(&self, user: UserId, number: &str) -> PendingAccount {
        let counter: i64 = sqlx::query_scalar(
            "INSERT INTO account_counter (user_id, number, epoch) VALUES ($1, $2, '-')
             ON CONFLICT (user_id, number) DO UPDATE SET epoch = '-' RETURNING id",
        )
        .bind(user.0)
        .bind(number)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        let account = sqlx::query_scalar(
            "INSERT INTO account (user_id, number, counter_id, network) VALUES ($1, $2, $3, 'local') RETURNING id",
        )
        .bind(user.0)
        .bind(number)
        .bind(counter)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        PendingAccount { user, account: AccountId(account), number: number.parse().unwrap() }
    }

    /// A new user's account.
    pub async fn pending_account(&self, number: &str) -> PendingAccount {
        self.account(self.user().await, number).await
    }

    pub async fn request(&self, pending: &PendingAccount) -> Result<(), RequestError> {
        self.request_at(&self.verification, pending, Method::Sms).await
    }

    /// Requests a code through one of several processes.
    pub async fn request_at(
        &self,
        process: &Verification,
        pending: &PendingAccount,
        method: Method,
    ) -> Result<(), RequestError> {
        let tx = self.store.begin().await?;
        process.request(tx, pending.user, pending.account, &pending.number, method, None).await
    }

    pub async fn check(
        &self,
        pending: &PendingAccount,
        code: &str,
    ) -> Result<Proved, windu::verification::CheckError> {
        self.verification.check(pending.user, pending.account, &pending.number, code).await
    }

    /// Requests a code and returns the one that the provider received.
    pub async fn code(&self, pending: &PendingAccount) -> String {
        self.request(pending).await.unwrap();
        self.provider.last_code()
    }

    /// Ages all records.
    pub async fn age(&self, seconds: f64) {
        for statement in [
            "UPDATE code_sent SET sent_at = sent_at - make_interval(secs => $1)",
            "UPDATE code_guess SET guessed_at = guessed_at - make_interval(secs => $1)",
            "UPDATE verification_code SET expires_at = expires_at - make_interval(secs => $1)",
        ] {
            sqlx::query(statement).bind(seconds).execute(&self.pool).await.unwrap();
        }
    }

    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    /// Polls until the count is what it should be.
    pub async fn until(&self, statement: &'static str, expected: i64) {
        let reached = async || (self.count(statement).await == expected).then_some(());
        wait_until_async(statement, DEADLINE, reached).await;
    }
}

fn verification(
    store: &Store,
    master_key: &MasterKey,
    settings: CodeSettings,
    lifecycle: &Lifecycle,
) -> Verification {
    let fetch = Arc::new(Fetch::new(UntrustedRules::default()));
    Verification::new(store.clone(), master_key.clone(), settings, fetch, lifecycle.clone()).unwrap()
}
