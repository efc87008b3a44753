//! `windu check`: checks of the settings and of everything that they name.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::bail;

use super::database::other_domain;
use super::{Database, Settings};
use crate::config::{Env, Missing};
use crate::db::DbError;
use crate::events::broker;
use crate::fetch::{Fetch, UntrustedRules};
use crate::lifecycle::Lifecycle;
use crate::media::{Inventory, Media};
use crate::store::{KeyError, WebhookTrouble};
use crate::telemetry::chain;
use crate::verification::Verification;

/// The oldest supported PostgreSQL.
const OLDEST_POSTGRES: i32 = 150_000;
/// A message that has waited for longer shows that its network does not take it.
const OUTBOX_LIMIT: Duration = Duration::from_mins(5);
/// An event that has waited for longer shows that the broker does not take it.
const BROKER_LIMIT: Duration = Duration::from_mins(5);
/// A webhook that has failed for longer is named, as is one whose events wait for longer or are more than these.
const WEBHOOK_LIMIT: Duration = Duration::from_hours(1);
const WEBHOOK_EVENTS: i64 = 10_000;
/// Webhooks that are named.
const WEBHOOKS: usize = 10;
/// For all that is asked of the tables.
const TABLES_TIMEOUT: Duration = Duration::from_secs(30);
/// For all that a network is asked.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(30);
/// For one answer of the database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks the settings, the database, the storage of media, the networks and the sender of codes; prints a line for each.
/// It changes nothing: it creates no cluster, and the small object that it writes is deleted again.
///
/// # Errors
/// When a check failed.
pub async fn check(env: &Env) -> anyhow::Result<()> {
    let mut report = Report::default();
    let settings = match Settings::read(env) {
        Ok(settings) => settings,
        Err(error) => {
            report.bad("configuration", &error.to_string())?;
            return report.end();
        }
    };
    report.good("configuration", &format!("listens on {}", settings.listen.address))?;
    let database = match Database::open(env, &settings, Missing::Refuse).await {
        Ok(database) => database,
        Err(error) => {
            report.bad("database", &chain(error.as_ref()))?;
            return report.end();
        }
    };
    let tables = async {
        check_database(&mut report, &database).await?;
        check_sessions(&mut report, &settings, &database).await?;
        check_webhooks(&mut report, &database).await
    };
    match tokio::time::timeout(TABLES_TIMEOUT, tables).await {
        Ok(checked) => checked?,
        Err(_) => report.bad("tables", "do not answer: another program may hold a lock on them")?,
    }
    check_media(&mut report, &settings, &database).await?;
    check_networks(&mut report, &settings, &database).await?;
    check_broker(&mut report, &settings, &database).await?;
    let lifecycle = Lifecycle::default();
    let codes = Verification::new(
        database.store.clone(),
        database.keys.clone(),
        settings.codes.clone(),
        Fetch::new(UntrustedRules::new(settings.fetch.allow.clone())).into(),
        lifecycle.clone(),
    );
    match codes {
        Ok(codes) => report.good("codes", &format!("go {}", codes.destination()))?,
        Err(error) => report.bad("codes", &error.to_string())?,
    }
    lifecycle.drained().await;
    database.close(true).await;
    report.end()
}

async fn check_database(report: &mut Report, database: &Database) -> anyhow::Result<()> {
    let store = &database.store;
    if let Err(error) = store.db().connect_once().await {
        return report.bad("database", &error.to_string());
    }
    let version = match tokio::time::timeout(ANSWER_TIMEOUT, store.server_version()).await {
        Ok(Ok(version)) => version,
        Ok(Err(error)) => return report.bad("database", &chain(&error)),
        Err(_) => return report.bad("database", "does not answer"),
    };
    if version.number < OLDEST_POSTGRES {
        return report
            .bad("database", &format!("PostgreSQL {} is too old: 15 or newer is needed", version.name));
    }
    report.good("database", &format!("PostgreSQL {}, {}", version.name, store.db().location()))?;
    match store.db().is_migrated().await {
        Ok(true) => match store.db().newer_migrations().await? {
            0 => report.good("tables", "at this version")?,
            _ => report.good("tables", "of a newer version, with which this program works")?,
        },
        Ok(false) => {
            return report
                .bad("tables", "older than this program: run windu migrate, or start this version's server");
        }
        Err(error) => return report.bad("tables", &chain(&error)),
    }
    if store.key_fits(&database.keys).await? {
        report.good("secret key", "fits the database")?;
    } else {
        report.bad("secret key", &KeyError::Other.to_string())?;
    }
    let share = store.share().await?;
    let (accounts, processes) = (share.accounts, share.processes);
    let text = format!("{processes} running, {accounts} registered accounts");
    if processes == 0 && accounts > 0 {
        return report.bad("servers", &format!("{text}: nothing is sent or received; start windu serve"));
    }
    report.good("servers", &text)
}

/// Sessions that are not connected although nobody but the network or this program can change that, and messages that
/// wait for too long.
async fn check_sessions(report: &mut Report, settings: &Settings, database: &Database) -> anyhow::Result<()> {
    let figures = match database.store.figures(&settings.networks.networks, false).await {
        Ok(figures) => figures,
        Err(error) => return report.bad("sessions", &chain(&error)),
    };
    for (network, count, oldest) in &figures.outboxes {
        let part = format!("outbox {network}");
        let text = format!("{count} messages wait, the oldest for {} s", oldest.as_secs());
        report.line(*oldest <= OUTBOX_LIMIT, &part, &text)?;
        let of_network = || figures.sessions.iter().filter(|(of, ..)| of == network);
        let part = format!("sessions {network}");
        let states: Vec<String> = of_network().map(|(_, state, count)| format!("{count} {state}")).collect();
        let text = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        let is_down = of_network().any(|(_, state, _)| ["unheld", "waiting", "stopped"].contains(state));
        report.line(!is_down, &part, &text)?;
    }
    Ok(())
}

/// Webhooks that their owners should look at. Nothing here is a failure of this program or can be mended by its operator.
async fn check_webhooks(report: &mut Report, database: &Database) -> anyhow::Result<()> {
    let limit = i64::try_from(WEBHOOKS + 1).unwrap_or(i64::MAX);
    let found = async {
        let figures = database.store.figures(&[], false).await?;
        let troubled = database.store.troubled_webhooks(WEBHOOK_LIMIT, WEBHOOK_EVENTS, limit).await?;
        Ok::<_, DbError>((figures, troubled))
    };
    let (figures, troubled) = match found.await {
        Ok(found) => found,
        Err(error) => return report.bad("webhooks", &chain(&error)),
    };
    let mut states: Vec<String> =
        figures.webhooks.iter().map(|(state, count)| format!("{count} {state}")).collect();
    states.sort();
    let states = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
    let waiting = waiting_events(figures.webhook_waiting, Some(figures.webhook_oldest));
    report.good("webhooks", &format!("{states}; {waiting}"))?;
    for webhook in troubled.iter().take(WEBHOOKS) {
        let trouble = match &webhook.trouble {
            WebhookTrouble::Disabled { since, reason } => {
                format!("disabled by the server for {} s ({reason})", since.as_secs())
            }
            WebhookTrouble::Failing { since, error } => {
                format!("fails for {} s ({error})", since.as_secs())
            }
            WebhookTrouble::Slow => "its receiver is slower than the events come".to_owned(),
        };
        let waiting = waiting_events(webhook.waiting, webhook.oldest);
        let part = format!("webhook {}", webhook.public_id);
        report.note(&part, &format!("of {}: {trouble}; {waiting}", webhook.user_name))?;
    }
    if troubled.len() > WEBHOOKS {
        report.note("webhooks", "more of them are in such a state")?;
    }
    Ok(())
}

fn waiting_events(count: i64, oldest: Option<Duration>) -> String {
    format!("{count} events wait, the oldest for {} s", oldest.unwrap_or_default().as_secs())
}

async fn check_media(report: &mut Report, settings: &Settings, database: &Database) -> anyhow::Result<()> {
    let media = Media::new(database.store.clone(), database.keys.clone(), &settings.media, "".into());
    match media.check().await {
        Ok(()) => report.good("media", &format!("{} can be written and read", media.location()))?,
        Err(error) => return report.bad("media", &chain(&error)),
    }
    match media.inventory().await {
        Ok(Inventory { files, missing: 0 }) => report.good("files", &format!("all {files} are there")),
        Ok(Inventory { files, missing }) => {
            let text = format!("{missing} of {files} are not in {}", media.location());
            report
                .bad("files", &format!("{text}: it is not the storage that they were put into, or lost them"))
        }
        Err(error) => report.bad("files", &chain(&error)),
    }
}

async fn check_networks(report: &mut Report, settings: &Settings, database: &Database) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    let connectors = match database.connectors(&database.media(""), &lifecycle) {
        Ok(connectors) => connectors,
        Err(error) => return report.bad("networks", &error.to_string()),
    };
    if let Some(xmpp) = &settings.networks.xmpp
        && let Ok(Some(stored)) = database.store.network_domain("xmpp").await
        && let Some(error) = other_domain(&stored, &xmpp.domain)
    {
        report.bad("network xmpp", &error.to_string())?;
    }
    for network in &settings.networks.networks {
        let name = format!("network {network}");
        let Some(connector) = connectors.get(network) else { continue };
        match tokio::time::timeout(NETWORK_TIMEOUT, connector.check()).await {
            Ok(findings) => {
                for finding in findings {
                    report.line(finding.is_good, &name, &finding.text)?;
                }
            }
            Err(_) => report.bad(&name, "does not answer")?,
        }
    }
    lifecycle.drained().await;
    Ok(())
}

async fn check_broker(report: &mut Report, settings: &Settings, database: &Database) -> anyhow::Result<()> {
    let Some(settings) = &settings.broker else { return Ok(()) };
    match broker::check(settings).await {
        Ok(text) => report.good("broker", &text)?,
        Err(error) => report.bad("broker", &error.to_string())?,
    }
    match database.store.broker_lag().await {
        Ok(lag) => {
            let text = waiting_events(lag.events, Some(lag.oldest));
            report.line(lag.oldest <= BROKER_LIMIT, "broker lag", &text)
        }
        Err(error) => report.bad("broker lag", &chain(&error)),
    }
}

/// The numbers of checks so far.
#[derive(Default)]
struct Report {
    passed: usize,
    failures: usize,
    notes: usize,
}

impl Report {
    fn good(&mut self, part: &str, text: &str) -> anyhow::Result<()> {
        self.line(true, part, text)
    }

    fn bad(&mut self, part: &str, text: &str) -> anyhow::Result<()> {
        self.line(false, part, text)
    }

    /// What somebody else can mend; not a check.
    fn note(&mut self, part: &str, text: &str) -> anyhow::Result<()> {
        self.notes += 1;
        Ok(writeln!(io::stdout(), "note    {part}: {text}")?)
    }

    fn line(&mut self, passed: bool, part: &str, text: &str) -> anyhow::Result<()> {
        *(if passed { &mut self.passed } else { &mut self.failures }) += 1;
        let word = if passed { "ok    " } else { "FAILED" };
        Ok(writeln!(io::stdout(), "{word}  {part}: {text}")?)
    }

    fn end(self) -> anyhow::Result<()> {
        match self.failures {
            0 if self.notes > 0 => {
                Ok(writeln!(io::stdout(), "all {} checks passed; notes: {}", self.passed, self.notes)?)
            }
            0 => Ok(writeln!(io::stdout(), "all {} checks passed", self.passed)?),
            1 => bail!("one check failed"),
            count => bail!("{count} checks failed"),
        }
    }
}
