//! The connector and the connections of the scripted network: they follow the script and record their calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::mpsc;
use windu::domain::{Content, PhoneNumber, Photo, Privacy, Typing};
use windu::upstream::{
    Acknowledgement, AdapterState, Address, Capabilities, Connection, Connector, Credentials, End, Failure,
    Feature, FileStream, Group, GroupEdit, GroupFailure, Groups, Login, Opened, Outgoing, Profile,
    ReadReceipt, RegistrationKind, SendFailure, Sent, Signal, Support,
};

use super::{Call, Fault, Line, NETWORK, Opening, PERSONS, Scripted, address};

#[async_trait]
impl Connector for Scripted {
    fn network(&self) -> &'static str {
        if self.persons { PERSONS } else { NETWORK }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            supported: &[(Feature::Groups, Support::Full), (Feature::Reply, Support::Lossy)],
            text_bytes: Some(10_000),
            file_bytes: Some(1_000),
            kinds: &["t", "i", "v", "a"],
            reply_seconds: match self.reply_seconds.load(Ordering::Relaxed) {
                0 => None,
                seconds => Some(seconds),
            },
            group_size: 10,
            edit_seconds: Some(900),
            delete_seconds: None,
            poll_options: 0,
            tells_again: true,
            remote_ids: self.remote_ids.load(Ordering::Relaxed),
        }
    }

    fn registration(&self) -> RegistrationKind {
        if self.persons {
            RegistrationKind::NetworkCode(Arc::new(self.clone()))
        } else {
            RegistrationKind::OurCode
        }
    }

    fn address_of(&self, number: &PhoneNumber) -> Address {
        address(number.as_str())
    }

    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        address.0.strip_suffix("@scripted")?.parse().ok()
    }

    fn is_group(&self, address: &Address) -> bool {
        address.0.ends_with("@groups.scripted")
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        self.line(number).call("register", Call::Register).await?;
        Ok(Credentials(b"login".to_vec()))
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.line(number).call("unregister", Call::Unregister).await
    }

    async fn log_out(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<(), Failure> {
        let (credentials, values) = (login.credentials, state.list("").await?);
        self.line(&login.number).call("log_out", Call::LogOut { credentials, state: values }).await?;
        state.delete(&["session"]).await
    }

    /// All numbers exist, except those that begin with 9. The script of the first number applies.
    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        self.line(&numbers[0]).call("existing", Call::Existing).await?;
        Ok(numbers.iter().filter(|number| !number.as_str().starts_with('9')).cloned().collect())
    }

    async fn open(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<Opened, End> {
        let line = self.line(&login.number);
        let state = if self.persons { state.list("").await.unwrap_or_default() } else { Vec::new() };
        let opening = line.script(|script| {
            script.logins.push(login);
            script.states.push(state);
            script.openings.pop_front().unwrap_or(Opening::Online)
        });
        let (sender, signals) = mpsc::channel(4);
        match opening {
            Opening::Online => sender.try_send(Signal::CaughtUp(None)).unwrap(),
            Opening::Quiet => {}
            Opening::Fails(end) => return Err(end),
            Opening::Panics => panic!("the test wants opening to panic"),
            Opening::Hangs => std::future::pending().await,
        }
        line.script(|script| {
            script.signals = Some(sender);
            script.open += 1;
        });
        Ok(Opened { connection: Arc::new(ScriptedConnection(line)), signals })
    }
}

struct ScriptedConnection(Line);

impl Drop for ScriptedConnection {
    fn drop(&mut self) {
        self.0.script(|script| script.open -= 1);
    }
}

#[async_trait]
impl Connection for ScriptedConnection {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<Sent, SendFailure>> {
        let planned = self.0.script(|script| script.faults.get_mut("send").and_then(VecDeque::pop_front));
        match planned {
            None => {}
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Waits(gate)) => gate.notified().await,
            Some(other) => panic!("a send that {other:?} is planned by its text"),
        }
        let mut held_up = Vec::new();
        let outcomes = messages.iter().map(|message| {
            let Content::Text(text) = &message.content else { panic!("a text is planned") };
            self.0.script(|script| {
                let planned = script.sends.get_mut(text).and_then(VecDeque::pop_front);
                let outcome = match planned {
                    _ if held_up.contains(&&message.to) => Err(SendFailure::NotTried),
                    None => Ok(()),
                    Some(failure) => {
                        if !matches!(failure, SendFailure::Refused(_)) {
                            held_up.push(&message.to);
                        }
                        Err(failure)
                    }
                };
                let (id, to) = (message.id.clone(), message.to.0.clone());
                script.calls.push(Call::Send { id, to, text: text.clone(), outcome });
                outcome.map(|()| Sent { remote_id: script.remote_ids.get(text).cloned() })
            })
        });
        outcomes.collect()
    }

    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = stored.iter().map(|stored| stored.0).collect();
        self.0.call("acknowledge", Call::Acknowledge(ids)).await
    }

    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure> {
        let ids = dropped.iter().map(|dropped| dropped.0).collect();
        self.0.call("discard", Call::Discard(ids)).await
    }

    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure> {
        let group = |receipt: &ReadReceipt| receipt.group.as_ref().map(|group| group.0.clone());
        let receipts = receipts
            .iter()
            .map(|receipt| (receipt.to.0.clone(), receipt.id.clone(), group(receipt)))
            .collect();
        self.0.call("read", Call::Read(receipts)).await
    }

    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<(PhoneNumber, Address)>, Failure> {
        Ok(self.0.known(numbers))
    }

    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure> {
        self.0.call("typing", Call::Typing(to.0.clone(), typing)).await
    }

    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure> {
        self.0.call("fetch", Call::Fetch(reference.to_owned())).await?;
        let file = self.0.script(|script| script.files.get(reference).cloned());
        let file = file.ok_or_else(|| Failure::Refused("there is no such file".to_owned()))?;
        Ok(Box::pin(futures_util::stream::iter(file)))
    }
}

#[async_trait]
impl Profile for ScriptedConnection {
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure> {
        self.0.call("nickname", Call::Nickname(nickname.to_owned())).await
    }

    async fn set_status_message(&self, text: &str) -> Result<(), Failure> {
        self.0.call("status_message", Call::StatusMessage(text.to_owned())).await
    }

    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        self.0.call("photo", Call::Photo(photo)).await
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        self.0.call("online", Call::Online(online)).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure> {
        self.0.call("privacy", Call::Privacy(privacy)).await
    }

    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure> {
        self.0.call("contacts", Call::Contacts(texts(contacts))).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        self.0.call("blocked", Call::Blocked(texts(blocked))).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        self.0.call("watch", Call::Watch(texts(peers))).await
    }
}

#[async_trait]
impl Groups for ScriptedConnection {
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        let (operation, subject) = (operation.to_owned(), subject.to_owned());
        let members = members.iter().map(|member| member.0.clone()).collect();
        self.0.group(Call::CreateGroup { operation, subject, members }).await
    }

    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        let (operation, group, edit) = (operation.to_owned(), group.0.clone(), edit.clone());
        self.0.group(Call::ChangeGroup { operation, group, edit }).await
    }

    async fn not_addable(&self, _: &[Address]) -> Result<Vec<Address>, Failure> {
        Ok(Vec::new())
    }
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|address| address.0.clone()).collect()
}
