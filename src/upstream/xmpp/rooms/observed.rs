//! What other apps change in the rooms of groups: it becomes a revision like any other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pending::not_done;
use super::record::{Affiliation, Record};
use super::{LARGEST_GROUP, Loaded, Rooms};
use crate::domain::GroupChangeKind;
use crate::upstream::group_rules::{Decision, successor};
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::{Address, Failure, GroupChange};

/// The lists of a room are compared once in this time, without a sign of a change.
const COMPARED: Duration = Duration::from_mins(1);

/// What an account has seen of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream::xmpp) enum Observed {
    /// What a person is to it.
    Affiliation(String, Affiliation),
    Subject(String),
    /// The id of its picture, as in [`Record::picture`].
    Picture(String),
    /// The account has joined it, and may have missed something.
    Joined,
    /// It does not let this member in, or somebody has destroyed it.
    Refused(String),
}

impl Rooms {
    /// Compares a room with the record of its group, if what was seen differs from it. A difference becomes a revision,
    /// once, however many accounts and processes see it.
    pub async fn observe(self: &Arc<Self>, room: &str, observed: &Observed) -> Result<(), Failure> {
        let Some(Loaded { record, bytes }) = self.load(room).await? else { return Ok(()) };
        if let Observed::Picture(id) = observed {
            if record.made_elsewhere || record.has_picture(id) {
                return Ok(());
            }
            let control = self.admin.control().await?;
            return self.observe_picture(&control.link, room, id).await;
        }
        if record.pending.is_some() || record.made_elsewhere {
            // What was seen is a part of it, or the next sign shows it.
            return Ok(());
        }
        let subject = match observed {
            Observed::Affiliation(who, affiliation) => {
                let is_admin = record.member(who).map(|member| member.admin);
                if *who == self.server.settings.admin_jid || is_admin == affiliation.membership() {
                    return Ok(());
                }
                None
            }
            Observed::Subject(subject) if *subject == record.subject => return Ok(()),
            Observed::Subject(subject) => Some(subject.clone()),
            Observed::Joined if self.is_compared(room) => return Ok(()),
            Observed::Joined | Observed::Refused(_) | Observed::Picture(_) => None,
        };
        let control = self.admin.control().await?;
        let listed = match control.affiliated(room).await {
            Ok(listed) => listed,
            Err(failure) if is_gone(&failure) => return self.end(room, record, &bytes).await,
            Err(failure) if matches!(failure.condition(), Some("forbidden" | "not-allowed")) => Vec::new(),
            Err(failure) => {
                self.admin.close_if_silent(&failure).await;
                return Err(not_done(failure));
            }
        };
        let is_owner = |(who, affiliation): &(String, Affiliation)| {
            *who == self.server.settings.admin_jid && *affiliation == Affiliation::Owner
        };
        if !listed.iter().any(is_owner) {
            tracing::warn!("the administrator does not own the room of a group any more");
            // What can be known is whom it keeps out.
            return match observed {
                Observed::Refused(who) => {
                    self.take_out(room, record, &bytes, vec![Address(who.clone())]).await
                }
                _ => Ok(()),
            };
        }
        let decision = self.difference(&record, &listed, subject);
        let mut record = record;
        if !decision.changes.is_empty() && self.write_observed(room, &mut record, &bytes, &decision).await? {
            self.finish_soon(room).await?;
        }
        Ok(())
    }

    /// The group is over: its room is gone, and so are all members.
    pub(super) async fn end(&self, room: &str, record: Record, before: &[u8]) -> Result<(), Failure> {
        let members = record.members.iter().map(|member| member.address.clone()).collect();
        self.take_out(room, record, before, members).await
    }

    /// Writes that these are no members any more, without a change of the room. Somebody who writes at the same moment
    /// supersedes it, and the next sign shows it again.
    pub(super) async fn take_out(
        &self,
        room: &str,
        record: Record,
        before: &[u8],
        mut who: Vec<Address>,
    ) -> Result<(), Failure> {
        who.retain(|who| record.member(&who.0).is_some());
        if who.is_empty() {
            return Ok(());
        }
        let changes = vec![GroupChange { kind: GroupChangeKind::Removed, who: who.clone(), by: None }];
        let decision = Decision { removed: who, changes, ..Decision::default() };
        self.settle(room, record, Some(before), &decision).await.map(drop)
    }

    /// Whether the lists were compared lately. They are from now on.
    fn is_compared(&self, room: &str) -> bool {
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.retain(|_, at| at.elapsed() < COMPARED);
        compared.insert(room.to_owned(), Instant::now()).is_some()
    }

    pub(super) fn difference(
        &self,
        record: &Record,
        listed: &[(String, Affiliation)],
        subject: Option<String>,
    ) -> Decision {
        let admin = &self.server.settings.admin_jid;
        let listed: Vec<(Address, bool)> = listed
            .iter()
            .filter(|(who, _)| who != admin && !record.left.iter().any(|left| left.0 == *who))
            .filter_map(|(who, affiliation)| Some((Address(who.clone()), affiliation.membership()?)))
            .collect();
        let now = |who: &Address| listed.iter().find(|(listed, _)| listed == who).map(|(_, admin)| *admin);
        let mut decision = Decision { subject, ..Decision::default() };
        for member in &record.members {
            match now(&member.address) {
                None => decision.removed.push(member.address.clone()),
                Some(true) if !member.admin => decision.promoted.push(member.address.clone()),
                Some(false) if member.admin => decision.demoted.push(member.address.clone()),
                Some(_) => {}
            }
        }
        for (who, admin) in &listed {
            let size = record.members.len() + decision.added.len();
            if record.member(&who.0).is_none() && (size < LARGEST_GROUP || !record.made_elsewhere) {
                decision.added.push(who.clone());
                decision.promoted.extend(admin.then(|| who.clone()));
            }
        }
        let mut after = record.clone();
        after.apply(&decision, "", record.created_at);
        // In a room that another app has made nobody is promoted from here.
        if !record.made_elsewhere && !after.members.iter().any(|member| member.admin) {
            let promoted = successor(&after.members(), &Address(String::new()));
            decision.demoted.retain(|who| !promoted.contains(who));
            decision.promoted.extend(promoted);
        }
        for (kind, who) in [
            (GroupChangeKind::Removed, &decision.removed),
            (GroupChangeKind::Added, &decision.added),
            (GroupChangeKind::Promoted, &decision.promoted),
            (GroupChangeKind::Demoted, &decision.demoted),
        ] {
            if !who.is_empty() {
                decision.changes.push(GroupChange { kind, who: who.clone(), by: None });
            }
        }
        if decision.subject.is_some() {
            decision.changes.push(GroupChange { kind: GroupChangeKind::Subject, who: Vec::new(), by: None });
        }
        decision
    }
}

/// Whether a room says that there is none (any more).
pub(super) fn is_gone(failure: &IqFailure) -> bool {
    matches!(failure.condition(), Some("item-not-found" | "gone"))
}

/// Whether a room says that it is gone, or that the account is no member of it (XEP-0045, section 7.2).
pub(in crate::upstream::xmpp) fn is_kept_out(failure: &IqFailure) -> bool {
    let is_refused =
        matches!(failure.condition(), Some("registration-required" | "forbidden" | "not-allowed"));
    is_refused || is_gone(failure)
}
