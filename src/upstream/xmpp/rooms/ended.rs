//! The end of the records of groups that have ended: nothing of them stays in the network's state.
//!
//! A record stays for more than a year, because accounts that were away hear of the end from it. One that was away longer
//! keeps the group in its list.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::sleep;

use super::{Loaded, Rooms, group_key, revision_key};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::upstream::Failure;
use crate::upstream::xmpp::address;

/// How long the record of an ended group stays.
const KEPT: TimeDelta = TimeDelta::days(400);
/// After the program has started, the records are looked through.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// And from then on in this interval.
const LOOK: Duration = Duration::from_hours(24);
/// Records, or revisions, that are looked at in one go.
const PAGE: usize = 100;

impl Rooms {
    /// Starts the work as a task of the lifecycle.
    pub fn forget_ended_groups(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let (rooms, soft) = (self.clone(), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            let work = async {
                let mut pause = FIRST_LOOK;
                loop {
                    sleep(pause).await;
                    pause = LOOK;
                    match rooms.forget_ended().await {
                        Ok(()) => tracing::debug!("the records of groups were looked through"),
                        Err(failure) => {
                            tracing::debug!(%failure, "the records of ended groups stay for now");
                        }
                    }
                }
            };
            tokio::select! {
                () = work => {}
                () = soft.cancelled() => {}
            }
        });
    }

    async fn forget_ended(&self) -> Result<(), Failure> {
        let mut after = String::new();
        loop {
            let page = self.state.page("group/", &after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (key, bytes) in page {
                let Ok(record) = serde_json::from_slice(&bytes) else { continue };
                let room = key.strip_prefix("group/").unwrap_or_default();
                self.forget_if_ended(room, Loaded { record, bytes }).await?;
            }
        }
        self.forget_operations().await
    }

    async fn forget_if_ended(&self, room: &str, Loaded { record, bytes }: Loaded) -> Result<(), Failure> {
        let domain = &self.server.settings.domain;
        // Of a room that another app has made, nobody of ours hears any more.
        let is_ours = |who: &str| !record.made_elsewhere || address::number(who, domain).is_some();
        if record.pending.is_some() || record.members.iter().any(|member| is_ours(&member.address.0)) {
            return Ok(());
        }
        let last = self.revisions(room, record.revision, record.revision).await?.pop();
        let ended_at = last.map_or(record.created_at, |(_, revision)| revision.at);
        if clock::now() - ended_at < KEPT {
            return Ok(());
        }
        // The last revision goes with the record, so that an interruption leaves nothing behind.
        let prefix = format!("revision/{room}/");
        let newest = revision_key(room, record.revision);
        let mut after = String::new();
        loop {
            let page = self.state.page(&prefix, &after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (key, value) in page.into_iter().filter(|(key, _)| *key != newest) {
                self.state.remove(&key, &value, &[]).await?;
            }
        }
        // Outsiders may be in it.
        let others = record.members.iter().map(|member| super::member_key(&member.address, room));
        let others: Vec<String> = others.chain([newest]).collect();
        if self.state.remove(&group_key(room), &bytes, &others).await? {
            tracing::debug!("the record of an ended group is forgotten");
        }
        Ok(())
    }

    /// Forgets which operations have made groups that are no more.
    async fn forget_operations(&self) -> Result<(), Failure> {
        let mut after = String::new();
        loop {
            let page = self.state.page("operation/", &after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after.clone_from(last);
            let groups: Vec<String> =
                page.iter().map(|(_, room)| group_key(&String::from_utf8_lossy(room))).collect();
            let kept = self.state.get(&groups.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            for ((key, value), kept) in page.into_iter().zip(kept) {
                if kept.is_none() {
                    self.state.remove(&key, &value, &[]).await?;
                }
            }
        }
    }
}
