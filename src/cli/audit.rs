//! `windu audit`.

use std::io::{self, Write as _};

use anyhow::bail;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde_json::json;

use crate::store::Store;

const PAGE: i64 = 1_000;

/// Prints the acts since a moment, the oldest first.
pub async fn list(store: &Store, since: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let since = since.map_or(Ok(DateTime::UNIX_EPOCH), moment)?;
    let (mut out, mut after) = (io::stdout().lock(), 0);
    loop {
        let acts = store.acts(since, after, PAGE).await?;
        let Some(last) = acts.last() else { return Ok(out.flush()?) };
        after = last.id;
        for act in &acts {
            let time = act.at.format("%Y-%m-%dT%H:%M:%SZ");
            let (actor, action, target, outcome) = (&act.actor, &act.action, &act.target, &act.outcome);
            if as_json {
                let line = json!({"time": time.to_string(), "actor": actor, "action": action, "target": target,
                                  "outcome": outcome});
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{time} {actor} {action} {target} {outcome}")?;
            }
        }
    }
}

/// A day or a moment; without a zone it is UTC.
fn moment(text: &str) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(moment) = text.parse::<DateTime<Utc>>() {
        return Ok(moment);
    }
    if let Ok(moment) = text.parse::<NaiveDateTime>() {
        return Ok(moment.and_utc());
    }
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => bail!("--since: write a day or a moment, such as 2026-11-23 or 2026-11-23T12:00:00Z"),
    }
}
