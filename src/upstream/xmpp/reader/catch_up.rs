//! What the account has missed: the archive, page by page, and the place up to which the server has the receipts.

use chrono::DateTime;

use super::{Held, Reader, Stop, forwarded};
use crate::clock;
use crate::secrets;
use crate::upstream::xmpp::address;
use crate::upstream::xmpp::archive::{ArchivePoint, Page, page_request, page_result};
use crate::upstream::xmpp::connection::RESOURCE;
use crate::upstream::xmpp::inbound::delay;
use crate::upstream::xmpp::link::LinkEnd;
use crate::upstream::xmpp::xml::{Element, ns};

impl Reader {
    /// Reads the archive behind the point, page by page, to its end.
    pub(super) async fn read_archive(&mut self) -> Result<(), Stop> {
        let mut after = self.point.clone().map_or(Page::First, Page::After);
        loop {
            let query = secrets::random_id();
            let request = page_request(&query, &after);
            self.query = query;
            let answer = self.ask(request).await?;
            let result = match answer {
                Ok(answer) => page_result(&answer),
                Err(failure) => match after {
                    // The archive does not reach back so far.
                    Page::After(point) if failure.condition() == Some("item-not-found") => {
                        after = Page::Since(point.at);
                        continue;
                    }
                    _ if failure.is_of_the_moment() => {
                        // What comes by itself must not take the place of what was not read.
                        tracing::warn!(%failure, "the archive could not be read: the account logs in again");
                        return Err(Stop::Link(LinkEnd::Broken));
                    }
                    Page::First | Page::After(_) | Page::Since(_) => {
                        tracing::debug!(%failure, "the server has no archive for this account");
                        return Ok(());
                    }
                },
            };
            self.pass_on().await?;
            let Some(result) = result else { return Ok(()) };
            if let Some(last) = result.last {
                let at = self.point.as_ref().map_or(DateTime::UNIX_EPOCH, |point| point.at);
                let point = ArchivePoint { id: last, at };
                self.point = Some(point.clone());
                after = Page::After(point);
            } else {
                return Ok(());
            }
            if result.complete {
                return Ok(());
            }
        }
    }

    /// A message of the archive (XEP-0313, section 4.2).
    ///
    /// ejabberd sends the messages of a page that an earlier connection did not acknowledge once more, at any time. They say
    /// nothing of what was read: it would be passed on out of order, and the archive read on behind it.
    pub(super) fn archived(&mut self, number: u64, result: &Element) {
        if result.attr("queryid") != Some(self.query.as_str()) {
            return self.ledger.close([number]);
        }
        let (Some(id), Some(message)) = (result.attr("id"), forwarded(result)) else {
            return self.ledger.close([number]);
        };
        let forwarding = result.get_child("forwarded", ns::FORWARD);
        let sent_at = forwarding.and_then(delay).unwrap_or_else(clock::now);
        let is_own = message.attr("from").is_some_and(|from| address::bare(from) == self.own)
            && message.attr("to").is_none_or(|to| address::bare(to) != self.own);
        self.point = Some(ArchivePoint { id: id.to_owned(), at: sent_at });
        if is_own && message.attr("from").and_then(address::resource) == Some(RESOURCE) {
            // Sent from here, so it is stored already.
            return self.ledger.close([number]);
        }
        self.passed(number, message, sent_at, is_own, true, None);
    }

    /// The resume point, when it has moved.
    pub(super) fn confirmed_point(&mut self) -> Option<ArchivePoint> {
        let confirmed = self.link.confirmed();
        let mut last = None;
        while let Some((_, point)) = self.unconfirmed.pop_front_if(|(number, _)| *number <= confirmed) {
            last = Some(point);
        }
        last
    }

    /// Forgets where reading began once the server has the receipts of all that was read.
    pub(super) async fn confirm_archive(&self) -> Result<(), Stop> {
        if self.link.confirmed() < self.last_archived {
            return Ok(());
        }
        self.archive.confirmed().await.map_err(|_| Stop::Link(LinkEnd::Broken))
    }

    /// Forgets what waits and was read from the archive meanwhile.
    pub(super) fn forget_read(&mut self) {
        if let Some(held) = &mut self.held {
            let read = held.extract_if(.., |held| self.seen.contains(&held.message));
            self.ledger.close(read.map(|held| held.number));
        }
    }

    /// Passes on what waits, and lets nothing wait from now on. `live`: the archive is read, so the resume point moves.
    pub(super) fn release(&mut self, live: bool) {
        for Held { number, message, sent_at, is_own } in self.held.take().into_iter().flatten() {
            let id = (live && !is_own).then(|| self.archive_id(&message)).flatten();
            let point = id.map(|id| ArchivePoint { id, at: sent_at });
            self.passed(number, &message, sent_at, is_own, false, point);
        }
    }
}
