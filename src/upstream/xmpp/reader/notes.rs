//! The note to people whose apps encrypt.

use super::Reader;
use crate::clock;
use crate::domain::{Content, What};
use crate::upstream::{Address, Failure, Incoming, Outgoing, UpstreamEvent};

impl Reader {
    /// Sends the note about encryption to those who do not have it; it is in the list as if another device had sent it.
    pub(super) async fn send_notes(&mut self) -> Result<(), Failure> {
        for person in std::mem::take(&mut self.encrypted) {
            let Some((message, stanza)) = self.note.to(&person.0).await? else { continue };
            self.link.send(vec![stanza]).await.map_err(|_| Failure::Retry("network_unreachable"))?;
            let Outgoing { id, to, content } = message;
            let event =
                UpstreamEvent::SentElsewhere { to, id, content, reply_to: None, sent_at: clock::now() };
            self.batch.push(Incoming { event, acknowledgement: None, resume_point: None });
            self.note.sent(&person.0).await?;
        }
        Ok(())
    }
}

/// The person who sent an encrypted message.
pub(super) fn encrypted_by(event: &UpstreamEvent) -> Option<Address> {
    match event {
        UpstreamEvent::Message { from, content: Content::Other(other), group: None, .. }
            if other.what == What::Encrypted =>
        {
            Some(from.clone())
        }
        _ => None,
    }
}
