//! Groups.

use async_trait::async_trait;

use super::connection::XmppConnection;
use crate::upstream::{Address, Failure, Group, GroupEdit, GroupFailure, Groups};

const UNSUPPORTED: Failure = Failure::Unsupported("have groups");

#[async_trait]
impl Groups for XmppConnection {
    async fn create_group(
        &self,
        _operation: &str,
        _subject: &str,
        _members: &[Address],
    ) -> Result<Group, GroupFailure> {
        Err(UNSUPPORTED.into())
    }

    async fn change_group(
        &self,
        _operation: &str,
        _group: &Address,
        _edit: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        Err(UNSUPPORTED.into())
    }

    async fn not_addable(&self, _who: &[Address]) -> Result<Vec<Address>, Failure> {
        Err(UNSUPPORTED)
    }
}
