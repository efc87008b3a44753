//! Registration on the scripted network of persons, by its codes.

use windu::domain::{Account, PhoneNumber, UserId};
use windu::sessions::{CodeRequestError, Entered, SubmitError};
use windu::upstream::{CodeMethod, SentCode};

use super::{Process, World};
use crate::scripted::PERSONS;

/// A code that the network accepts, unless something else is planned.
pub const CODE: &str = "12345";

impl Process {
    /// An account whose number is not proved.
    pub async fn unproved(&self, user: UserId, number: &str) -> Account {
        let number: PhoneNumber = number.parse().unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.create_account(user, &number, PERSONS, "").await.unwrap().unwrap();
        tx.commit().await.unwrap();
        self.store.account(user, Some(&number)).await.unwrap().unwrap()
    }

    /// Asks the network for a code.
    pub async fn ask(&self, world: &World, account: &Account) -> Result<SentCode, CodeRequestError> {
        let (codes, method) = (&world.persons, CodeMethod::Sms);
        self.sessions.request_network_code(account.id, PERSONS, &account.number, codes, method).await
    }

    pub async fn submit(
        &self,
        world: &World,
        account: &Account,
        code: Option<&str>,
        password: Option<&str>,
    ) -> Result<(), SubmitError> {
        let entered = Entered { code: code.map(str::to_owned), password: password.map(str::to_owned) };
        self.sessions.submit_to_network(&self.fresh(account).await, &world.persons, &entered).await
    }

    /// Submits a code that the network accepts.
    pub async fn enter(&self, world: &World, account: &Account) -> Result<(), SubmitError> {
        self.submit(world, account, Some(CODE), None).await
    }

    /// A new user's number on the network of persons, online.
    pub async fn persons(&self, world: &World, number: &str) -> Account {
        let account = self.unproved(world.user().await, number).await;
        self.ask(world, &account).await.unwrap();
        self.enter(world, &account).await.unwrap();
        self.until_state(&account, "online").await;
        self.fresh(&account).await
    }
}
