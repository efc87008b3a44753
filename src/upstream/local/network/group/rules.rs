//! Who may change what of a group, and what follows from it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::{GroupChangeKind, PhoneNumber, Photo};

/// The most members of a group.
pub const LARGEST_GROUP: usize = 1_024;

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Who.
    pub number: PhoneNumber,
    /// May add, remove, promote and demote.
    pub admin: bool,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// What a member wants of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEdit {
    /// Another subject.
    Subject(String),
    /// Another photo, or none.
    Photo(Option<Photo>),
    /// More members.
    Add(Vec<PhoneNumber>),
    /// One member less.
    Remove(PhoneNumber),
    /// One admin more.
    Promote(PhoneNumber),
    /// One admin less.
    Demote(PhoneNumber),
    /// To leave.
    Leave,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRefusal {
    /// The login is no longer good.
    LoggedOut,
    /// No such group, or not in it.
    NotInGroup,
    /// Only admins may.
    NotAnAdmin,
    /// Whom it was about is not in it.
    NotAMember,
    /// It would have more than [`LARGEST_GROUP`] members.
    TooLarge,
    /// These are no subscribers.
    NoSubscribers(Vec<PhoneNumber>),
}

/// One thing that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalChange {
    /// What.
    pub kind: GroupChangeKind,
    /// To whom of it.
    pub who: Vec<PhoneNumber>,
}

/// Another photo, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewPhoto(pub Option<Photo>);

/// A change of who is in a group, in which order, and of who is an admin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub subject: Option<String>,
    pub photo: Option<NewPhoto>,
    pub added: Vec<PhoneNumber>,
    pub gone: Vec<PhoneNumber>,
    pub promoted: Vec<PhoneNumber>,
    pub demoted: Vec<PhoneNumber>,
    pub changes: Vec<LocalChange>,
}

/// What follows from what a member wants. `members` stand in the order in which they came.
pub(super) fn decide(
    members: &[GroupMember],
    by: &PhoneNumber,
    wish: &GroupEdit,
) -> Result<Decision, GroupRefusal> {
    let find = |number: &PhoneNumber| members.iter().find(|member| member.number == *number);
    let me = find(by).ok_or(GroupRefusal::NotInGroup)?;
    let admin = || if me.admin { Ok(()) } else { Err(GroupRefusal::NotAnAdmin) };
    match wish {
        GroupEdit::Subject(subject) => Ok(Decision {
            subject: Some(subject.clone()),
            changes: vec![LocalChange { kind: GroupChangeKind::Subject, who: Vec::new() }],
            ..Decision::default()
        }),
        GroupEdit::Photo(photo) => Ok(Decision {
            photo: Some(NewPhoto(*photo)),
            changes: vec![LocalChange { kind: GroupChangeKind::Photo, who: Vec::new() }],
            ..Decision::default()
        }),
        GroupEdit::Leave => Ok(without(members, by, GroupChangeKind::Left)),
        GroupEdit::Remove(who) if who == by => Ok(without(members, by, GroupChangeKind::Left)),
        GroupEdit::Remove(who) => {
            admin()?;
            find(who).ok_or(GroupRefusal::NotAMember)?;
            Ok(without(members, who, GroupChangeKind::Removed))
        }
        GroupEdit::Add(who) => {
            admin()?;
            let mut added: Vec<PhoneNumber> = Vec::new();
            for number in who {
                if find(number).is_none() && !added.contains(number) {
                    added.push(number.clone());
                }
            }
            if members.len() + added.len() > LARGEST_GROUP {
                return Err(GroupRefusal::TooLarge);
            }
            let changes = of(GroupChangeKind::Added, &added);
            Ok(Decision { added, changes, ..Decision::default() })
        }
        GroupEdit::Promote(who) => {
            admin()?;
            let is_admin = find(who).ok_or(GroupRefusal::NotAMember)?.admin;
            let promoted = if is_admin { Vec::new() } else { vec![who.clone()] };
            let changes = of(GroupChangeKind::Promoted, &promoted);
            Ok(Decision { promoted, changes, ..Decision::default() })
        }
        GroupEdit::Demote(who) => {
            admin()?;
            let is_admin = find(who).ok_or(GroupRefusal::NotAMember)?.admin;
            Ok(if is_admin { demoted(members, who) } else { Decision::default() })
        }
    }
}

/// The group without somebody.
fn without(members: &[GroupMember], who: &PhoneNumber, kind: GroupChangeKind) -> Decision {
    let promoted = heir(members, who);
    let mut changes = of(kind, std::slice::from_ref(who));
    changes.extend(of(GroupChangeKind::Promoted, &promoted));
    Decision { gone: vec![who.clone()], promoted, changes, ..Decision::default() }
}

/// Without an admin; the only member stays one.
fn demoted(members: &[GroupMember], who: &PhoneNumber) -> Decision {
    if members.len() == 1 {
        return Decision::default();
    }
    let promoted = heir(members, who);
    let demoted = vec![who.clone()];
    let mut changes = of(GroupChangeKind::Demoted, &demoted);
    changes.extend(of(GroupChangeKind::Promoted, &promoted));
    Decision { promoted, demoted, changes, ..Decision::default() }
}

/// Who becomes an admin so that the group has one without `who`: of the others the one who came first.
fn heir(members: &[GroupMember], who: &PhoneNumber) -> Vec<PhoneNumber> {
    let mut others = members.iter().filter(|member| member.number != *who).peekable();
    let first = others.peek().map(|member| member.number.clone());
    if others.any(|member| member.admin) { Vec::new() } else { first.into_iter().collect() }
}

fn of(kind: GroupChangeKind, who: &[PhoneNumber]) -> Vec<LocalChange> {
    if who.is_empty() { Vec::new() } else { vec![LocalChange { kind, who: who.to_vec() }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group of these, in this order; the letter `a` before a number's last digit makes an admin.
    fn group(members: &[&str]) -> Vec<GroupMember> {
        members
            .iter()
            .map(|member| GroupMember {
                number: number(member.trim_start_matches('a')),
                admin: member.starts_with('a'),
                since: DateTime::UNIX_EPOCH,
            })
            .collect()
    }

    fn number(last: &str) -> PhoneNumber {
        format!("1555010000{last}").parse().expect("a number")
    }

    fn told(decision: &Decision) -> Vec<(&'static str, Vec<PhoneNumber>)> {
        decision.changes.iter().map(|change| (change.kind.name(), change.who.clone())).collect()
    }

    #[test]
    fn every_member_may_set_the_subject_and_leave() {
        let members = group(&["a1", "2"]);
        let subject = decide(&members, &number("2"), &GroupEdit::Subject("new".to_owned())).expect("allowed");
        assert_eq!((subject.subject.as_deref(), told(&subject)), (Some("new"), vec![("subject", vec![])]));
        let left = decide(&members, &number("2"), &GroupEdit::Leave).expect("allowed");
        assert_eq!((left.gone.clone(), left.promoted.clone()), (vec![number("2")], vec![]));
        assert_eq!(told(&left), [("left", vec![number("2")])]);
        assert_eq!(decide(&members, &number("2"), &GroupEdit::Remove(number("2"))), Ok(left));
        assert_eq!(decide(&members, &number("3"), &GroupEdit::Leave), Err(GroupRefusal::NotInGroup));
    }

    #[test]
    fn only_admins_change_who_is_in_it() {
        let members = group(&["a1", "2", "3"]);
        for wish in [
            GroupEdit::Add(vec![number("4")]),
            GroupEdit::Remove(number("3")),
            GroupEdit::Promote(number("3")),
            GroupEdit::Demote(number("1")),
            GroupEdit::Remove(number("4")),
        ] {
            assert_eq!(decide(&members, &number("2"), &wish), Err(GroupRefusal::NotAnAdmin), "{wish:?}");
            assert_eq!(decide(&members, &number("4"), &wish), Err(GroupRefusal::NotInGroup), "{wish:?}");
        }
        for wish in
            [GroupEdit::Remove(number("4")), GroupEdit::Promote(number("4")), GroupEdit::Demote(number("4"))]
        {
            assert_eq!(decide(&members, &number("1"), &wish), Err(GroupRefusal::NotAMember), "{wish:?}");
        }
        let added = decide(
            &members,
            &number("1"),
            &GroupEdit::Add([4, 2, 4].map(|n| number(&n.to_string())).to_vec()),
        );
        assert_eq!(added.expect("allowed").added, [number("4")]);
        let nothing = decide(&members, &number("1"), &GroupEdit::Promote(number("1"))).expect("allowed");
        assert_eq!(nothing, Decision::default());
    }

    #[test]
    fn a_group_always_has_an_admin() {
        let members = group(&["2", "a1", "3"]);
        let left = decide(&members, &number("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(told(&left), [("left", vec![number("1")]), ("promoted", vec![number("2")])]);
        let demoted = decide(&members, &number("1"), &GroupEdit::Demote(number("1"))).expect("allowed");
        assert_eq!(told(&demoted), [("demoted", vec![number("1")]), ("promoted", vec![number("2")])]);
        let alone = group(&["a1"]);
        assert_eq!(decide(&alone, &number("1"), &GroupEdit::Demote(number("1"))), Ok(Decision::default()));
        let last = decide(&alone, &number("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(told(&last), [("left", vec![number("1")])]);
        let two = group(&["a1", "2", "a3"]);
        let left = decide(&two, &number("1"), &GroupEdit::Leave).expect("allowed");
        assert_eq!(told(&left), [("left", vec![number("1")])]);
    }

    #[test]
    fn a_group_has_an_end() {
        let mut members = group(&["a1"]);
        for place in 1..LARGEST_GROUP {
            let number = format!("1666{place:07}").parse().expect("a number");
            members.push(GroupMember { number, admin: false, since: DateTime::UNIX_EPOCH });
        }
        let add = GroupEdit::Add(vec![number("9")]);
        assert_eq!(decide(&members, &number("1"), &add), Err(GroupRefusal::TooLarge));
        members.pop();
        assert!(decide(&members, &number("1"), &add).is_ok());
    }
}
