//! Groups that are made and changed at the request of their members.

use std::sync::Arc;

use super::{ATTEMPTS, LARGEST_GROUP, Loaded, Record, Rooms, blocked_key, group_key, to_json, writes};
use crate::clock;
use crate::domain::GroupChangeKind;
use crate::secrets;
use crate::upstream::group_rules::{Decision, GroupPhotoEdit, decide};
use crate::upstream::xmpp::address;
use crate::upstream::{Address, Failure, Group, GroupChange, GroupEdit, GroupFailure};

impl Rooms {
    /// Makes a group of these members and its creator, who is its admin.
    pub async fn create(
        self: &Arc<Self>,
        by: &str,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        let creator = Address(by.to_owned());
        let mut all = vec![creator.clone()];
        for member in members {
            if !all.contains(member) {
                all.push(member.clone());
            }
        }
        if all.len() > LARGEST_GROUP {
            return Err(GroupFailure::TooLarge);
        }
        let operation = format!("operation/{by}/{operation}");
        let mut made = self.made_by(&operation).await?;
        if made.is_none() {
            let refused = self.not_addable(by, &all[1..]).await?;
            if !refused.is_empty() {
                return Err(GroupFailure::CannotAdd(refused));
            }
            let control = self.admin.control().await?;
            let service =
                control.service.ok_or(Failure::Unsupported("have groups: its server has no rooms"))?;
            let room = format!("{}@{service}", secrets::random_id());
            let now = clock::now();
            let mut record = Record::new(subject, Some(creator.clone()), now);
            let decision = Decision {
                added: all,
                changes: vec![GroupChange {
                    kind: GroupChangeKind::Created,
                    who: Vec::new(),
                    by: Some(creator.clone()),
                }],
                promoted: vec![creator],
                ..Decision::default()
            };
            record.apply(&decision, &self.process, now);
            let mut writes = writes(&room, &record, &decision)?;
            writes.push((group_key(&room), Some(to_json(&record)?)));
            self.state.replace(&operation, None, room.as_bytes(), &writes).await?;
            made = self.made_by(&operation).await?;
        }
        let room = made.ok_or(Failure::Retry("internal"))?;
        Ok(self.finish_soon(&room).await?.group(&room))
    }

    /// The room that an operation has made.
    async fn made_by(&self, operation: &str) -> Result<Option<String>, Failure> {
        let room = self.state.get(&[operation]).await?.pop().flatten();
        Ok(room.and_then(|room| String::from_utf8(room).ok()))
    }

    /// Changes a group at a member's request.
    pub async fn change(
        self: &Arc<Self>,
        by: &str,
        operation: &str,
        room: &str,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        let (operation, author) = (format!("{by}/{operation}"), Address(by.to_owned()));
        for _ in 0..ATTEMPTS {
            self.finish_soon(room).await?;
            let Some(Loaded { record: before, bytes }) = self.load(room).await? else {
                return Err(GroupFailure::NotInGroup);
            };
            if before.has_done(&operation) {
                return Ok(before.group(room));
            }
            if before.made_elsewhere {
                let loaded = Loaded { record: before, bytes };
                let changed = self.change_elsewhere(&author, operation.clone(), room, edit, loaded).await?;
                match changed {
                    Some(group) => return Ok(group),
                    None => continue,
                }
            }
            let decision = decide(&before.members(), &author, edit, LARGEST_GROUP)?;
            let refused = self.not_addable(by, &decision.added).await?;
            if !refused.is_empty() {
                return Err(GroupFailure::CannotAdd(refused));
            }
            let same_subject = decision.subject.as_deref() == Some(&before.subject);
            let same_photo = decision.photo == Some(GroupPhotoEdit(before.photo));
            if decision.changes.is_empty() || same_subject || same_photo {
                return Ok(before.group(room));
            }
            if before.pending.is_some() {
                continue;
            }
            let mut record = before;
            record.remember(operation.clone());
            if self.write(room, &mut record, &bytes, &decision).await? {
                let after = self.finish_soon(room).await?;
                if after.member(by).is_none() && *edit != GroupEdit::Leave {
                    return Err(GroupFailure::NotInGroup);
                }
                return Ok(after.group(room));
            }
        }
        Err(Failure::Retry("network_busy").into())
    }

    /// Takes a number out of all its groups. Nothing of it remains in the network's state.
    pub async fn leave_all(self: &Arc<Self>, who: &Address) -> Result<(), Failure> {
        for room in self.of(&who.0).await? {
            match self.change(&who.0, &secrets::random_id(), &room, &GroupEdit::Leave).await {
                Ok(_) | Err(GroupFailure::NotInGroup) => {}
                Err(GroupFailure::Failed(failure)) => return Err(failure),
                Err(other) => return Err(Failure::Refused(other.to_string())),
            }
        }
        self.set_blocked(who, &[]).await
    }

    /// Keeps whom an account has blocked: they cannot add it to a group.
    pub async fn set_blocked(&self, who: &Address, blocked: &[Address]) -> Result<(), Failure> {
        let key = blocked_key(who);
        let mut blocked = blocked.to_vec();
        blocked.sort_unstable();
        let after = to_json(&blocked)?;
        for _ in 0..ATTEMPTS {
            let before = self.state.get(&[&key]).await?.pop().flatten();
            if before.as_ref() == Some(&after) || (before.is_none() && blocked.is_empty()) {
                return Ok(());
            }
            if let Some(before) = before.as_ref().filter(|_| blocked.is_empty()) {
                if self.state.remove(&key, before, &[]).await? {
                    return Ok(());
                }
                continue;
            }
            if self.state.replace(&key, before.as_deref(), &after, &[]).await? {
                return Ok(());
            }
        }
        Err(Failure::Retry("network_busy"))
    }

    /// The persons that an account cannot add, of these: who does not exist, as far as the own server says, or has blocked
    /// it.
    pub async fn not_addable(&self, by: &str, who: &[Address]) -> Result<Vec<Address>, Failure> {
        if who.is_empty() {
            return Ok(Vec::new());
        }
        let domain = &self.server.settings.domain;
        let own: Vec<Address> = who.iter().filter(|who| address::domain(&who.0) == domain).cloned().collect();
        let existing = self.admin.existing_addresses(&own).await?;
        let keys: Vec<String> = own.iter().map(blocked_key).collect();
        let blocked = self.state.get(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let has_blocked = |blocked: Option<Vec<u8>>| {
            let blocked: Vec<Address> =
                blocked.and_then(|blocked| serde_json::from_slice(&blocked).ok()).unwrap_or_default();
            blocked.iter().any(|blocked| blocked.0 == by)
        };
        let refused: Vec<Address> = own
            .into_iter()
            .zip(blocked)
            .filter(|(who, _)| who.0 != by)
            .filter_map(|(who, blocked)| (!existing.contains(&who) || has_blocked(blocked)).then_some(who))
            .collect();
        // A room is nobody.
        let is_refused = |who: &&Address| address::room(who).is_some() || refused.contains(who);
        Ok(who.iter().filter(is_refused).cloned().collect())
    }
}
