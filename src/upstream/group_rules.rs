//! The rules of groups: who may make a change, and what the change implies. They are those of the networks whose groups
//! follow what this program decides.

use super::{Address, GroupChange, GroupEdit, GroupFailure, Member};
use crate::domain::{GroupChangeKind, Photo};

/// Another photo, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupPhotoEdit(pub Option<Photo>);

/// The changes of a group and its members that one request makes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub subject: Option<String>,
    pub photo: Option<GroupPhotoEdit>,
    pub added: Vec<Address>,
    pub removed: Vec<Address>,
    pub promoted: Vec<Address>,
    pub demoted: Vec<Address>,
    pub changes: Vec<GroupChange>,
}

/// Decides on a member's request. `members` are in the order in which they joined; there may be `largest` of them.
pub(super) fn decide(
    members: &[Member],
    by: &Address,
    edit: &GroupEdit,
    largest: usize,
) -> Result<Decision, GroupFailure> {
    let mut decision = decide_unnamed(members, by, edit, largest)?;
    for change in &mut decision.changes {
        change.by = Some(by.clone());
    }
    Ok(decision)
}

/// The same with changes that do not say who made them.
fn decide_unnamed(
    members: &[Member],
    by: &Address,
    edit: &GroupEdit,
    largest: usize,
) -> Result<Decision, GroupFailure> {
    let find = |address: &Address| members.iter().find(|member| member.address == *address);
    let author = find(by).ok_or(GroupFailure::NotInGroup)?;
    let require_admin = || if author.admin { Ok(()) } else { Err(GroupFailure::NotAnAdmin) };
    match edit {
        GroupEdit::Subject { subject } => Ok(Decision {
            subject: Some(subject.clone()),
            changes: vec![GroupChange { kind: GroupChangeKind::Subject, who: Vec::new(), by: None }],
            ..Decision::default()
        }),
        GroupEdit::Photo { photo } => Ok(Decision {
            photo: Some(GroupPhotoEdit(*photo)),
            changes: vec![GroupChange { kind: GroupChangeKind::Photo, who: Vec::new(), by: None }],
            ..Decision::default()
        }),
        GroupEdit::Leave => Ok(without(members, by, GroupChangeKind::Left)),
        GroupEdit::Remove { who } if who == by => Ok(without(members, by, GroupChangeKind::Left)),
        GroupEdit::Remove { who } => {
            require_admin()?;
            find(who).ok_or(GroupFailure::NotAMember)?;
            Ok(without(members, who, GroupChangeKind::Removed))
        }
        GroupEdit::Add { who } => {
            require_admin()?;
            let mut added: Vec<Address> = Vec::new();
            for address in who {
                if find(address).is_none() && !added.contains(address) {
                    added.push(address.clone());
                }
            }
            if members.len() + added.len() > largest {
                return Err(GroupFailure::TooLarge);
            }
            let changes = of(GroupChangeKind::Added, &added);
            Ok(Decision { added, changes, ..Decision::default() })
        }
        GroupEdit::Promote { who } => {
            require_admin()?;
            let is_admin = find(who).ok_or(GroupFailure::NotAMember)?.admin;
            let promoted = if is_admin { Vec::new() } else { vec![who.clone()] };
            let changes = of(GroupChangeKind::Promoted, &promoted);
            Ok(Decision { promoted, changes, ..Decision::default() })
        }
        GroupEdit::Demote { who } => {
            require_admin()?;
            let is_admin = find(who).ok_or(GroupFailure::NotAMember)?.admin;
            Ok(if is_admin { demoted(members, who) } else { Decision::default() })
        }
    }
}

fn without(members: &[Member], who: &Address, kind: GroupChangeKind) -> Decision {
    let promoted = successor(members, who);
    let mut changes = of(kind, std::slice::from_ref(who));
    changes.extend(of(GroupChangeKind::Promoted, &promoted));
    Decision { removed: vec![who.clone()], promoted, changes, ..Decision::default() }
}

/// The only member of a group stays its admin.
fn demoted(members: &[Member], who: &Address) -> Decision {
    if members.len() == 1 {
        return Decision::default();
    }
    let promoted = successor(members, who);
    let demoted = vec![who.clone()];
    let mut changes = of(GroupChangeKind::Demoted, &demoted);
    changes.extend(of(GroupChangeKind::Promoted, &promoted));
    Decision { promoted, demoted, changes, ..Decision::default() }
}

/// The member to promote so that the group has an admin without `who`: the one who joined first, if no other is admin.
pub(super) fn successor(members: &[Member], who: &Address) -> Vec<Address> {
    let mut others = members.iter().filter(|member| member.address != *who).peekable();
    let first = others.peek().map(|member| member.address.clone());
    if others.any(|member| member.admin) { Vec::new() } else { first.into_iter().collect() }
}

fn of(kind: GroupChangeKind, who: &[Address]) -> Vec<GroupChange> {
    if who.is_empty() { Vec::new() } else { vec![GroupChange { kind, who: who.to_vec(), by: None }] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    const LARGEST: usize = 20;

    fn decide(members: &[Member], by: &Address, edit: &GroupEdit) -> Result<Decision, GroupFailure> {
        super::decide(members, by, edit, LARGEST)
    }

    /// Members in this order, by the last digit of their numbers; the letter `a` before it makes an admin.
    fn group(members: &[&str]) -> Vec<Member> {
        members
            .iter()
            .map(|member| Member {
                address: address(member.trim_start_matches('a')),
                admin: member.starts_with('a'),
                since: DateTime::UNIX_EPOCH,
            })
            .collect()
    }

    fn address(last: &str) -> Address {
        Address(format!("1555010000{last}"))
    }

    fn changes(decision: &Decision) -> Vec<(&'static str, Vec<Address>)> {
        decision.changes.iter().map(|change| (change.kind.name(), change.who.clone())).collect()
    }

    #[test]
    fn every_member_may_set_the_subject_and_leave() {
        let members = group(&["a1", "2"]);
        let subject = decide(&members, &address("2"), &GroupEdit::Subject { subject: "new".to_owned() })
            .expect("allowed");
        assert_eq!((subject.subject.as_deref(), changes(&subject)), (Some("new"), vec![("subject", vec![])]));
        let left = decide(&members, &address("2"), &GroupEdit::Leave).expect("allowed");
        assert_eq!((left.removed.clone(), left.promoted.clone()), (vec![address("2")], vec![]));
        assert_eq!(changes(&left), [("left", vec![address("2")])]);
        assert_eq!(decide(&members, &address("2"), &GroupEdit::Remove { who: address("2") }), Ok(left));
        assert_eq!(decide(&members, &address("3"), &GroupEdit::Leave), Err(GroupFailure::NotInGroup));
    }

    #[test]
    fn only_admins_change_who_is_in_it() {
        let members = group(&["a1", "2", "3"]);
        for edit in [
            GroupEdit::Add { who: vec![address("4")] },
            GroupEdit::Remove { who: address("3") },
            GroupEdit::Promote { who: address("3") },
            GroupEdit::Demote { who: address("1") },
            GroupEdit::Remove { who: address("4") },
        ] {
            assert_eq!(decide(&members, &address("2"), &edit), Err(GroupFailure::NotAnAdmin), "{edit:?}");
            assert_eq!(decide(&members, &address("4"), &edit), Err(GroupFailure::NotInGroup), "{edit:?}");
        }
        for edit in [
            GroupEdit::Remove { who: address("4") },
            GroupEdit::Promote { who: address("4") },
            GroupEdit::Demote { who: address("4") },
        ] {
            assert_eq!(decide(&members, &address("1"), &edit), Err(GroupFailure::NotAMember), "{edit:?}");
        }
        let added =
            decide(&members, &address("1"), &GroupEdit::Add { who: ["4", "2", "4"].map(address).to_vec() })
                .expect("allowed");
        assert_eq!(added.added, [address("4")]);
        assert_eq!(added.changes[0].by, Some(address("1")));
        let nothing =
            decide(&members, &address("1"), &GroupEdit::Promote { who: address("1") }).expect("allowed");
        assert_eq!(nothing, Decision::default());
    }

    #[test]
    fn a_group_always_has_an_admin() {
        let members = group(&["2", "a1", "3"]);
        let left = decide(&members, &address("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(changes(&left), [("left", vec![address("1")]), ("promoted", vec![address("2")])]);
        let demoted =
            decide(&members, &address("1"), &GroupEdit::Demote { who: address("1") }).expect("allowed");
        assert_eq!(changes(&demoted), [("demoted", vec![address("1")]), ("promoted", vec![address("2")])]);
        let single = group(&["a1"]);
        assert_eq!(
            decide(&single, &address("1"), &GroupEdit::Demote { who: address("1") }),
            Ok(Decision::default())
        );
        let last = decide(&single, &address("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(changes(&last), [("left", vec![address("1")])]);
        let two = group(&["a1", "2", "a3"]);
        let left = decide(&two, &address("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(changes(&left), [("left", vec![address("1")])]);
    }

    #[test]
    fn a_group_has_a_largest_size() {
        let mut members = group(&["a1"]);
        for index in 1..LARGEST {
            let address = Address(format!("1666{index:07}"));
            members.push(Member { address, admin: false, since: DateTime::UNIX_EPOCH });
        }
        let add = GroupEdit::Add { who: vec![address("9")] };
        assert_eq!(decide(&members, &address("1"), &add), Err(GroupFailure::TooLarge));
        members.pop();
        assert!(decide(&members, &address("1"), &add).is_ok());
    }
}
