//! Groups on the local network.

use async_trait::async_trait;

use super::connection::LocalConnection;
use super::failure::failure;
use crate::upstream::{Address, Failure, Group, GroupEdit, GroupFailure, Groups};

#[async_trait]
impl Groups for LocalConnection {
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        let created = self.net.create_group(&self.subscriber, operation, subject, members).await;
        created.map_err(|error| failure(&error))?
    }

    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        let changed = self.net.change_group(&self.subscriber, operation, group, edit).await;
        changed.map_err(|error| failure(&error))?
    }

    async fn not_addable(&self, who: &[Address]) -> Result<Vec<Address>, Failure> {
        self.net.not_addable(&self.subscriber, who).await.map_err(|error| failure(&error))
    }
}
