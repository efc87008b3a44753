//! The people and groups of a network as the store takes them.

use std::sync::Arc;

use crate::db::DbError;
use crate::domain::AccountId;
use crate::store::{Directory, GroupReport, NewPeer, ReportedMember, Store};
use crate::upstream::{Address, Connector, Group, People};

/// The directory of an account's peers.
pub(super) fn directory(connector: &Arc<dyn Connector>, account: AccountId) -> Directory {
    let network = connector.network();
    let name = match connector.people() {
        People::Shared => network.to_owned(),
        People::PerAccount => format!("{network}/{account}"),
    };
    Directory { name, provisional: |number| Address::provisional(number).0 }
}

/// The person at an address.
pub(super) fn new_peer(connector: &Arc<dyn Connector>, address: &Address) -> NewPeer {
    NewPeer { address: address.0.clone(), number: connector.number_of(address) }
}

/// Stores a group as its network describes it, for all accounts of the directory. An older revision than the stored one changes nothing.
pub(super) async fn learn(
    store: &Store,
    connector: &Arc<dyn Connector>,
    directory: &str,
    group: &Group,
) -> Result<(), DbError> {
    if store.has_group_revision(directory, &group.address.0, group.revision) {
        return Ok(());
    }
    let members = group.members.iter().map(|member| ReportedMember {
        peer: new_peer(connector, &member.address),
        admin: member.admin,
        since: member.since,
    });
    let learned = GroupReport {
        directory: directory.to_owned(),
        address: group.address.0.clone(),
        subject: group.subject.clone(),
        creator: group.creator.as_ref().map(|creator| new_peer(connector, creator)),
        created_at: group.created_at,
        revision: group.revision,
        photo: group.photo,
        members: members.collect(),
    };
    store.save_group(Arc::new(learned)).await
}
