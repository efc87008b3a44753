//! A scripted network that shows each account other people: numbers and addresses do not follow from each other.

use std::sync::Arc;

use async_trait::async_trait;
use windu::domain::PhoneNumber;
use windu::upstream::{
    AdapterState, Address, Capabilities, Connector, Credentials, End, Failure, Login, Opened, People,
    RegistrationKind,
};

use super::{Call, Scripted};

pub const PRIVATE_NETWORK: &str = "private";

/// The same scripts under another name.
pub struct Private(pub Scripted);

#[async_trait]
impl Connector for Private {
    fn network(&self) -> &'static str {
        PRIVATE_NETWORK
    }

    fn people(&self) -> People {
        People::PerAccount
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn registration(&self) -> RegistrationKind {
        RegistrationKind::OurCode
    }

    fn is_group(&self, address: &Address) -> bool {
        self.0.is_group(address)
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        self.0.register(number).await
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.0.unregister(number).await
    }

    async fn existing(&self, _: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        Ok(Vec::new())
    }

    async fn open(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<Opened, End> {
        self.0.open(login, state).await
    }
}

impl super::Line {
    /// The network knows this number by this address, and lets the account know.
    pub fn knows(&self, number: &str, address: &str) {
        self.script(|script| script.addresses.insert(number.parse().unwrap(), address.to_owned()));
    }

    /// The numbers that the network lets the account know.
    pub(super) fn known(&self, numbers: &[PhoneNumber]) -> Vec<(PhoneNumber, Address)> {
        self.script(|script| {
            script.calls.push(Call::Existing);
            let known = |number: &PhoneNumber| script.addresses.get(number).cloned().map(Address);
            numbers.iter().filter_map(|number| Some((number.clone(), known(number)?))).collect()
        })
    }
}
