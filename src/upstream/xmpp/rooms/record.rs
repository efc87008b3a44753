//! What this program keeps of each group, in the network's state: rooms know who is in them, but neither revisions nor who
//! joined when.
//!
//! A change is written to the record first, as one revision with a list of what has to be done in the room. The next
//! change waits until that is done.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::Photo;
use crate::upstream::group_rules::Decision;
use crate::upstream::xmpp::address;
use crate::upstream::{Address, Group, GroupChange, Member};

/// Operations that are remembered, so that their repeats change nothing.
const OPERATIONS: usize = 200;

/// A group, as JSON in the network's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::upstream::xmpp) struct Record {
    pub subject: String,
    pub creator: Option<Address>,
    pub created_at: DateTime<Utc>,
    pub revision: i64,
    pub photo: Option<Photo>,
    /// The id of the room's picture when it was last set or read: the SHA-1 of its bytes in hexadecimal digits, empty when
    /// there was none. `None`: it is not known.
    #[serde(default)]
    pub picture: Option<String>,
    /// In the order in which they joined.
    pub members: Vec<RecordedMember>,
    /// The last operations.
    operations: Vec<String>,
    /// Another app has made the room, and the administrator has no power there.
    #[serde(default)]
    pub made_elsewhere: bool,
    /// Who has left such a room, which may list them all the same.
    #[serde(default)]
    pub left: Vec<Address>,
    /// What the last change still needs.
    pub pending: Option<Pending>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::upstream::xmpp) struct RecordedMember {
    pub address: Address,
    pub admin: bool,
    pub since: DateTime<Utc>,
    /// The revision by which the person joined.
    pub joined: i64,
}

/// What has to be done in a room for the last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::upstream::xmpp) struct Pending {
    /// The process that does it.
    pub by: String,
    pub at: DateTime<Utc>,
    /// The room is to be made.
    pub create: bool,
    pub subject: bool,
    pub photo: bool,
    pub affiliations: Vec<(Address, Affiliation)>,
    pub added: Vec<Address>,
    pub removed: Vec<Address>,
}

/// What a person is to a room (XEP-0045, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::upstream::xmpp) enum Affiliation {
    Owner,
    Admin,
    Member,
    Outcast,
    None,
}

/// A revision, as JSON in the network's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::upstream::xmpp) struct Revision {
    pub changes: Vec<GroupChange>,
    /// After it.
    pub subject: String,
    pub at: DateTime<Utc>,
    /// Who joined by it.
    pub added: Vec<Address>,
    /// The id of its announcement in the room's archive, once it is there.
    pub announced: Option<String>,
}

impl Affiliation {
    /// All but [`Affiliation::None`] and outcasts, which a room lists.
    pub const OF_MEMBERS: [Self; 3] = [Self::Owner, Self::Admin, Self::Member];

    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Outcast => "outcast",
            Self::None => "none",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Owner, Self::Admin, Self::Member, Self::Outcast, Self::None];
        all.into_iter().find(|affiliation| affiliation.name() == name)
    }

    /// What a member of a group is to its room. An admin is an owner, because servers let nobody else promote.
    pub fn of(admin: bool) -> Self {
        if admin { Self::Owner } else { Self::Member }
    }

    /// Whether a person with it is in the group, and as an admin.
    pub fn membership(self) -> Option<bool> {
        match self {
            Self::Owner | Self::Admin => Some(true),
            Self::Member => Some(false),
            Self::Outcast | Self::None => None,
        }
    }
}

impl Record {
    /// A group without members, before its first revision.
    pub fn new(subject: &str, creator: Option<Address>, now: DateTime<Utc>) -> Self {
        Self {
            subject: subject.to_owned(),
            creator,
            created_at: now,
            revision: 0,
            photo: None,
            picture: None,
            members: Vec::new(),
            operations: Vec::new(),
            made_elsewhere: false,
            left: Vec::new(),
            pending: None,
        }
    }

    /// The group in a room that another app has made, before its first revision. That is later than all of an earlier record
    /// of the room, which may be forgotten.
    pub fn made_elsewhere(name: &str, now: DateTime<Utc>) -> Self {
        Self { made_elsewhere: true, revision: now.timestamp(), ..Self::new(name, None, now) }
    }

    pub fn member(&self, who: &str) -> Option<&RecordedMember> {
        self.members.iter().find(|member| member.address.0 == who)
    }

    /// Whether the picture with this id is the group's photo, as far as is known.
    pub fn has_picture(&self, id: &str) -> bool {
        self.picture.as_deref() == Some(id) || (id.is_empty() && self.photo.is_none())
    }

    pub fn has_done(&self, operation: &str) -> bool {
        self.operations.iter().any(|done| done == operation)
    }

    pub fn remember(&mut self, operation: String) {
        self.operations.push(operation);
        let surplus = self.operations.len().saturating_sub(OPERATIONS);
        self.operations.drain(..surplus);
    }

    /// The members as the rules see them.
    pub fn members(&self) -> Vec<Member> {
        let member = |member: &RecordedMember| Member {
            address: member.address.clone(),
            admin: member.admin,
            since: member.since,
        };
        self.members.iter().map(member).collect()
    }

    /// Makes the next revision, with all that it needs in the room.
    pub fn apply(&mut self, decision: &Decision, by: &str, now: DateTime<Utc>) {
        self.revision += 1;
        if let Some(subject) = &decision.subject {
            self.subject.clone_from(subject);
        }
        if let Some(photo) = decision.photo {
            self.photo = photo.0;
        }
        self.members.retain(|member| !decision.removed.contains(&member.address));
        self.members.extend(decision.added.iter().map(|address| RecordedMember {
            address: address.clone(),
            admin: false,
            since: now,
            joined: self.revision,
        }));
        for member in &mut self.members {
            member.admin |= decision.promoted.contains(&member.address);
            member.admin &= !decision.demoted.contains(&member.address);
        }
        let concerned =
            [&decision.removed, &decision.added, &decision.promoted, &decision.demoted].into_iter().flatten();
        let mut affiliations: Vec<(Address, Affiliation)> = Vec::new();
        for who in concerned {
            let affiliation =
                self.member(&who.0).map_or(Affiliation::None, |member| Affiliation::of(member.admin));
            if !affiliations.iter().any(|(known, _)| known == who) {
                affiliations.push((who.clone(), affiliation));
            }
        }
        // A room always keeps an owner among its people.
        affiliations.sort_by_key(|(_, affiliation)| *affiliation != Affiliation::Owner);
        self.pending = Some(Pending {
            by: by.to_owned(),
            at: now,
            create: self.revision == 1,
            subject: decision.subject.is_some() || self.revision == 1,
            photo: decision.photo.is_some(),
            affiliations,
            added: decision.added.clone(),
            removed: decision.removed.clone(),
        });
    }

    pub fn group(&self, room: &str) -> Group {
        Group {
            address: address::of_room(room),
            subject: self.subject.clone(),
            creator: self.creator.clone(),
            created_at: self.created_at,
            revision: self.revision,
            photo: self.photo,
            members: self.members(),
        }
    }
}
