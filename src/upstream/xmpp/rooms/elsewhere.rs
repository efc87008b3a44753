//! Groups in rooms that another app has made, here or on another server.
//!
//! The administrator owns none of them, so what a room says of its members is asked by the account that is in it, and no
//! change of the group is made in the room. The record only follows what the room says, by revisions like those of any
//! group.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::is_kept_out;
use super::record::{Affiliation, Record};
use super::stanza;
use super::{ATTEMPTS, LARGEST_GROUP, Loaded, Observed, Rooms, group_key, to_json, writes};
use crate::clock;
use crate::domain::GroupChangeKind;
use crate::upstream::group_rules::Decision;
use crate::upstream::xmpp::failure::IqFailure;
use crate::upstream::xmpp::iq::{disco_info, has_feature};
use crate::upstream::xmpp::link::Link;
use crate::upstream::xmpp::xml::{Element, ns};
use crate::upstream::{Address, Failure, Group, GroupChange, GroupEdit, GroupFailure};

/// For an answer of such a room. Its server may be slow, or hostile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest subject that is taken from a room, in characters.
const LONGEST_SUBJECT: usize = 100;

/// Why an invitation is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream::xmpp) enum NotFollowed {
    #[error("the room does not answer: {0}")]
    Silent(#[from] IqFailure),
    #[error("the room is not for members only")]
    Open,
    #[error("the room does not show who is in it")]
    Anonymous,
    #[error("the room has no archive")]
    NoArchive,
    #[error("the account is no member of the room")]
    NotAMember,
    #[error("the room has too many members")]
    TooLarge,
    #[error("it is a group of this network")]
    Own,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Rooms {
    /// Makes a group of a room of which the account `own` is a member, or finds it.
    pub async fn follow(&self, link: &Link, room: &str, own: &str) -> Result<(), NotFollowed> {
        let info = asked(link, disco_info(room)).await?;
        let name = name(&info).unwrap_or_else(|| room.split('@').next().unwrap_or_default().to_owned());
        for (feature, missing) in [
            ("muc_membersonly", NotFollowed::Open),
            ("muc_nonanonymous", NotFollowed::Anonymous),
            (ns::MAM, NotFollowed::NoArchive),
        ] {
            if !has_feature(&info, feature) {
                return Err(missing);
            }
        }
        let listed = listed(link, room).await?;
        if listed.len() > LARGEST_GROUP {
            return Err(NotFollowed::TooLarge);
        }
        let is_listed =
            |(who, affiliation): &(String, Affiliation)| who == own && affiliation.membership().is_some();
        if !listed.iter().any(is_listed) {
            return Err(NotFollowed::NotAMember);
        }
        for _ in 0..ATTEMPTS {
            let loaded = self.load(room).await?;
            let before = loaded.as_ref().map(|loaded| loaded.bytes.clone());
            let mut record = match loaded {
                Some(Loaded { record, .. }) if !record.made_elsewhere => return Err(NotFollowed::Own),
                Some(Loaded { record, .. }) => record,
                None => Record::made_elsewhere(&name, clock::now()),
            };
            // The account may have left it, and is invited again.
            record.left.retain(|who| who.0 != own);
            let mut decision = self.difference(&record, &listed, None);
            if before.is_none() {
                decision.changes =
                    vec![GroupChange { kind: GroupChangeKind::Created, who: Vec::new(), by: None }];
            }
            if decision.changes.is_empty() || self.settle(room, record, before.as_deref(), &decision).await? {
                return Ok(());
            }
        }
        Err(Failure::Retry("network_busy").into())
    }

    /// Compares a room that another app has made with its record, if what an account has seen of it differs.
    pub async fn compare(
        self: &Arc<Self>,
        link: &Link,
        room: &str,
        observed: &[Observed],
    ) -> Result<(), Failure> {
        let picture = observed.iter().rev().find_map(|observed| match observed {
            Observed::Picture(id) => Some(id),
            _ => None,
        });
        if let Some(id) = picture
            && let Err(failure) = self.observe_picture(link, room, id).await
        {
            tracing::debug!(%failure, "the picture of a room could not be read");
        }
        let Some(Loaded { record, bytes }) = self.load(room).await? else { return Ok(()) };
        if !record.made_elsewhere {
            return Ok(());
        }
        let subject = observed.iter().rev().find_map(|observed| match observed {
            Observed::Subject(subject) => Some(subject.chars().take(LONGEST_SUBJECT).collect::<String>()),
            _ => None,
        });
        // A room without a subject keeps its name.
        let subject = subject.filter(|subject| !subject.is_empty() && *subject != record.subject);
        let differs = |observed: &Observed| match observed {
            Observed::Affiliation(who, affiliation) => {
                record.member(who).map(|member| member.admin) != affiliation.membership()
                    && !record.left.iter().any(|left| left.0 == *who)
            }
            Observed::Joined | Observed::Refused(_) => true,
            Observed::Subject(_) | Observed::Picture(_) => false,
        };
        let has_changed = observed.iter().any(differs);
        if subject.is_none() && !has_changed {
            return Ok(());
        }
        let listed = if has_changed { listed(link, room).await } else { Ok(members(&record)) };
        match listed {
            Ok(listed) => {
                let decision = self.difference(&record, &listed, subject);
                if !decision.changes.is_empty() {
                    self.settle(room, record, Some(&bytes), &decision).await?;
                }
                Ok(())
            }
            Err(failure) if is_kept_out(&failure) => {
                tracing::debug!(%failure, "a room does not say who its members are");
                let kept_out = observed.iter().filter_map(|observed| match observed {
                    Observed::Refused(who) => Some(Address(who.clone())),
                    _ => None,
                });
                self.take_out(room, record, &bytes, kept_out.collect()).await
            }
            Err(failure) => Err(failure.failure()),
        }
    }

    /// A change of a group whose room another app has made: its members can only leave it.
    pub(super) async fn change_elsewhere(
        &self,
        author: &Address,
        operation: String,
        room: &str,
        edit: &GroupEdit,
        Loaded { mut record, bytes }: Loaded,
    ) -> Result<Option<Group>, GroupFailure> {
        if record.member(&author.0).is_none() {
            return Err(GroupFailure::NotInGroup);
        }
        if *edit != GroupEdit::Leave {
            return Err(Failure::Unsupported("change groups that another app has made").into());
        }
        let changes = vec![GroupChange {
            kind: GroupChangeKind::Left,
            who: vec![author.clone()],
            by: Some(author.clone()),
        }];
        let decision = Decision { removed: vec![author.clone()], changes, ..Decision::default() };
        record.left.push(author.clone());
        record.remember(operation);
        let after = record.clone();
        if self.settle(room, record, Some(&bytes), &decision).await? {
            return Ok(Some(after.group(room)));
        }
        Ok(None)
    }

    /// Writes what has happened in a room already; false: somebody else has written.
    pub(super) async fn settle(
        &self,
        room: &str,
        mut record: Record,
        before: Option<&[u8]>,
        decision: &Decision,
    ) -> Result<bool, Failure> {
        record.apply(decision, "", clock::now());
        record.pending = None;
        let writes = writes(room, &record, decision)?;
        self.state.replace(&group_key(room), before, &to_json(&record)?, &writes).await
    }
}

pub(super) async fn asked(link: &Link, iq: Element) -> Result<Element, IqFailure> {
    timeout(ANSWER_TIMEOUT, link.ask(iq)).await.unwrap_or(Err(IqFailure::NoAnswer))
}

/// Who is in a room's lists, as a member sees them.
async fn listed(link: &Link, room: &str) -> Result<Vec<(String, Affiliation)>, IqFailure> {
    let mut found = Vec::new();
    for affiliation in Affiliation::OF_MEMBERS {
        let answer = asked(link, stanza::affiliated(room, affiliation)).await?;
        let people = stanza::listed(&answer).into_iter().filter(|who| who.contains('@'));
        found.extend(people.map(|who| (who, affiliation)));
    }
    Ok(found)
}

/// The members as they are known.
fn members(record: &Record) -> Vec<(String, Affiliation)> {
    let member =
        |member: &super::record::RecordedMember| (member.address.0.clone(), Affiliation::of(member.admin));
    record.members.iter().map(member).collect()
}

/// The name of a room (XEP-0045, section 6.4).
fn name(info: &Element) -> Option<String> {
    let query = info.get_child("query", ns::DISCO_INFO)?;
    let is_room = |child: &&Element| {
        child.is("identity", ns::DISCO_INFO) && child.attr("category") == Some("conference")
    };
    let name = query.children().find(is_room)?.attr("name")?;
    let name: String = name.chars().take(LONGEST_SUBJECT).collect();
    Some(name).filter(|name| !name.trim().is_empty())
}
