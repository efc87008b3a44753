//! Groups: what an account asks about them.

use async_trait::async_trait;

use super::address;
use super::connection::XmppConnection;
use crate::upstream::{Address, Failure, Group, GroupEdit, GroupFailure, Groups};

#[async_trait]
impl Groups for XmppConnection {
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        self.is_open()?;
        self.groups.create(&self.own, operation, subject, members).await
    }

    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        self.is_open()?;
        let room = address::room(group).ok_or(GroupFailure::NotInGroup)?;
        let is_left = *edit == GroupEdit::Leave && self.is_made_elsewhere(room);
        let group = self.groups.change(&self.own, operation, room, edit).await?;
        if is_left {
            self.leave_elsewhere(room).await;
        }
        Ok(group)
    }

    async fn not_addable(&self, who: &[Address]) -> Result<Vec<Address>, Failure> {
        self.groups.not_addable(&self.own, who).await
    }
}

impl XmppConnection {
    /// An account whose connection has ended may not be its number's any more.
    fn is_open(&self) -> Result<(), Failure> {
        if self.link.is_closed() { Err(Failure::Retry("disconnected")) } else { Ok(()) }
    }
}
