//! Errors that come back after a message counts as sent.

use super::Reader;
use crate::domain::FailureReason;
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::failure::{IqFailure, bounce};
use crate::upstream::xmpp::in_flight::Entry;
use crate::upstream::xmpp::xml::Element;
use crate::upstream::{Acknowledgement, Address, Incoming, SendFailure, UpstreamEvent};

impl Reader {
    /// An error for a message that counts as sent.
    pub(super) fn late_error(&mut self, number: u64, message: &Element) {
        let (Some(to), Some(id)) = (message.attr("from").map(address::bare), message.attr("id")) else {
            return self.ledger.close([number]);
        };
        let reason = match bounce(&IqFailure::of(message)) {
            SendFailure::Refused(reason) => reason,
            // It has come back, so nobody will try again.
            SendFailure::Retry | SendFailure::RateLimited(_) | SendFailure::NotTried => {
                FailureReason::Refused
            }
        };
        let group = self.memberships.contains(to).then(|| address::of_room(to));
        let receiver = group.clone().unwrap_or_else(|| Address(to.to_owned()));
        self.in_flight.add(number, Entry::default());
        self.batch.push(Incoming {
            event: UpstreamEvent::Refused { to: receiver, id: id.to_owned(), group, reason },
            acknowledgement: Some(Acknowledgement(number)),
            resume_point: None,
        });
    }
}
