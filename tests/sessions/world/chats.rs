//! Contacts, chats and messages of an account, through the store as the API uses it.

use std::time::Duration;

use windu::domain::{Account, ChatName, Content, PhoneNumber};
use windu::secrets;
use windu::store::{Accepted, ListAddition, Message, NewMessage, NewPeer, Page, Peer};

use super::{A_DAY, Process};
use crate::support::wait::{DEADLINE, wait_until_async};

impl Process {
    pub async fn peer(&self, account: &Account, number: &str) -> Peer {
        let number: PhoneNumber = number.parse().unwrap();
        let connector = self.sessions.connector(&account.network).unwrap();
        let wanted = NewPeer { address: connector.address_of(&number).0, number: Some(number) };
        self.store.peers(&account.directory, &[wanted]).await.unwrap().remove(0)
    }

    pub async fn add_contact(&self, account: &Account, number: &str, exists: bool) {
        let peer = self.peer(account, number).await;
        let mut tx = self.store.begin().await.unwrap();
        assert_eq!(tx.add_contact(account, &peer, ("", ""), exists).await.unwrap(), ListAddition::Added);
        tx.commit().await.unwrap();
    }

    /// Permits the account to write to a peer, without a call to its network.
    pub async fn may_be_written_to(&self, account: &Account, peer: &Peer) {
        let statement = "INSERT INTO contact (account_id, peer_id, exists_there) VALUES ($1, $2, true)
             ON CONFLICT (account_id, peer_id) DO UPDATE SET exists_there = true";
        sqlx::query(statement).bind(account.id.0).bind(peer.id.0).execute(&self.pool).await.unwrap();
    }

    pub async fn block(&self, account: &Account, number: &str) {
        let peer = self.peer(account, number).await;
        let mut tx = self.store.begin().await.unwrap();
        assert_eq!(tx.block(account, &peer).await.unwrap(), ListAddition::Added);
        tx.commit().await.unwrap();
    }

    /// Marks all received messages of a chat as read and returns their number.
    pub async fn mark_read(&self, account: &Account, contact: &str) -> usize {
        let mut tx = self.store.begin().await.unwrap();
        let read = tx.mark_read(account, contact, None).await.unwrap();
        tx.commit().await.unwrap();
        read.messages
    }

    pub async fn try_send(
        &self,
        account: &Account,
        to: &str,
        text: &str,
        time_to_live: Duration,
    ) -> Accepted {
        let peer = self.peer(account, to).await;
        self.may_be_written_to(account, &peer).await;
        let content = Content::Text(text.to_owned());
        let outgoing = NewMessage {
            named: true,
            id: &secrets::random_id(),
            peer: peer.id,
            chat: &ChatName::Contact(to.parse().unwrap()),
            content: &content,
            time_to_live,
            reservation: None,
        };
        self.store.accept_send(account, &outgoing, None).await.unwrap()
    }

    /// Sends a text and returns its id.
    pub async fn send(&self, account: &Account, to: &str, text: &str) -> String {
        match self.try_send(account, to, text, A_DAY).await {
            Accepted::Queued(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A chat's messages, oldest first.
    pub async fn messages(&self, account: &Account, chat: &str) -> Vec<Message> {
        let page = Page { limit: 100_000, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
        self.store.messages(account, chat, false, page).await.unwrap()
    }

    /// A chat's texts, oldest first.
    pub async fn texts(&self, account: &Account, chat: &str) -> Vec<String> {
        self.messages(account, chat)
            .await
            .into_iter()
            .filter_map(|message| message.content.text().map(str::to_owned))
            .collect()
    }

    pub async fn until_texts(&self, account: &Account, chat: &str, count: usize) -> Vec<String> {
        wait_until_async(&format!("{count} texts"), DEADLINE, async || {
            let texts = self.texts(account, chat).await;
            (texts.len() >= count).then_some(texts)
        })
        .await
    }

    /// One message of a chat.
    pub async fn message(&self, account: &Account, chat: &str, id: &str) -> Message {
        let messages = self.messages(account, chat).await;
        messages.into_iter().find(|message| message.id == id).expect("the message")
    }

    pub async fn until_message(&self, account: &Account, chat: &str, id: &str, state: &str) -> Message {
        wait_until_async(state, DEADLINE, async || {
            Some(self.message(account, chat, id).await).filter(|message| message.state.name() == state)
        })
        .await
    }
}
