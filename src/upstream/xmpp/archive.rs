//! The archive of the account on its server (XEP-0313): requests for pages, and the place up to which it is stored here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::iq::iq;
use super::xml::{Build as _, Element, child_text, element, ns, submitted};
use crate::upstream::{AdapterState, Failure, ResumePoint};

/// Messages of one page.
const PAGE: &str = "100";
/// Clocks of one server may differ by so much.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);

/// The key of a kept beginning.
const UNACKNOWLEDGED: &str = "archive.unacknowledged";

/// A message of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivePoint {
    /// The server's id of it.
    pub id: String,
    /// When it was archived, at the earliest.
    pub at: DateTime<Utc>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// At the oldest message.
    First,
    /// Behind this message.
    After(ArchivePoint),
    /// At this moment.
    Since(DateTime<Utc>),
}

/// The end of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageResult {
    /// Nothing follows.
    pub complete: bool,
    /// The id of the last message; `None`: the page is empty.
    pub last: Option<String>,
}

impl ArchivePoint {
    /// `None` for what another version wrote; then the archive is read from its beginning.
    pub fn from_resume_point(point: &ResumePoint) -> Option<Self> {
        serde_json::from_slice(&point.0).ok()
    }

    pub fn to_resume_point(&self) -> ResumePoint {
        ResumePoint(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Where a connection begins to read the archive.
///
/// The resume point moves with what is stored, but receipts follow later. So the beginning is kept until the server has the
/// receipts of all that was read, and a connection after a crash begins there again: what is stored already changes nothing,
/// and the receipts go out.
pub(super) struct ArchiveStart {
    state: Arc<dyn AdapterState>,
    /// `None`: at the oldest message.
    point: Option<ArchivePoint>,
    is_kept: AtomicBool,
    is_read: AtomicBool,
}

impl ArchiveStart {
    /// What an earlier connection kept, else the resume point.
    pub async fn new(
        state: Arc<dyn AdapterState>,
        resume_point: Option<&ResumePoint>,
    ) -> Result<Self, Failure> {
        let kept = state.get(&[UNACKNOWLEDGED]).await?.pop().flatten();
        let point = match &kept {
            Some(kept) => serde_json::from_slice(kept).unwrap_or_default(),
            None => resume_point.and_then(ArchivePoint::from_resume_point),
        };
        Ok(Self { state, point, is_kept: AtomicBool::new(kept.is_some()), is_read: AtomicBool::new(false) })
    }

    pub fn point(&self) -> Option<&ArchivePoint> {
        self.point.as_ref()
    }

    /// Keeps the beginning, before the first message is passed on.
    pub async fn keep(&self) -> Result<(), Failure> {
        if self.is_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let value = serde_json::to_vec(&self.point).unwrap_or_default();
        self.state.put(&[(UNACKNOWLEDGED, value)]).await?;
        self.is_kept.store(true, Ordering::Release);
        Ok(())
    }

    /// The archive was read to its end.
    pub fn finish(&self) {
        self.is_read.store(true, Ordering::Release);
    }

    /// The server has the receipts of all that was read until now.
    pub async fn confirmed(&self) -> Result<(), Failure> {
        if self.is_read.load(Ordering::Acquire) && self.is_kept.swap(false, Ordering::AcqRel) {
            self.state.delete(&[UNACKNOWLEDGED]).await?;
        }
        Ok(())
    }
}

/// The request for a page, whose messages carry the name `query`.
pub(super) fn page_request(query: &str, page: &Page) -> Element {
    let mut start = None;
    let mut set = element("set", ns::RSM).child(element("max", ns::RSM).content(PAGE));
    match page {
        Page::First => {}
        Page::After(point) => set = set.child(element("after", ns::RSM).content(&point.id)),
        Page::Since(time) => {
            start = Some((*time - OVERLAP).to_rfc3339_opts(SecondsFormat::Secs, true));
        }
    }
    let fields: Vec<(&str, &str)> = start.iter().map(|start| ("start", start.as_str())).collect();
    let form = submitted(ns::MAM, &fields);
    iq("set").child(element("query", ns::MAM).attribute("queryid", query).child(form).child(set))
}

/// The end of a page; `None` for an answer that is none.
pub(super) fn page_result(answer: &Element) -> Option<PageResult> {
    let fin = answer.get_child("fin", ns::MAM)?;
    let last = fin.get_child("set", ns::RSM).and_then(|set| child_text(set, "last", ns::RSM));
    Some(PageResult { complete: fin.attr("complete") == Some("true"), last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_kept_as_json_and_another_versions_is_none() {
        let point = ArchivePoint { id: "17".to_owned(), at: DateTime::UNIX_EPOCH };
        assert_eq!(ArchivePoint::from_resume_point(&point.to_resume_point()), Some(point));
        assert_eq!(ArchivePoint::from_resume_point(&ResumePoint(b"17".to_vec())), None);
    }

    #[test]
    fn a_page_ends_with_its_last_message() {
        let answer: Element =
            "<iq xmlns='jabber:client' type='result'><fin xmlns='urn:xmpp:mam:2' complete='true'>
            <set xmlns='http://jabber.org/protocol/rsm'><first>1</first><last>9</last></set></fin></iq>"
                .parse()
                .expect("XML");
        assert_eq!(page_result(&answer), Some(PageResult { complete: true, last: Some("9".to_owned()) }));
        let request = String::from(&page_request("q", &Page::Since(DateTime::UNIX_EPOCH)));
        assert!(request.contains("1969-12-31T23:55:00Z"), "{request}");
    }
}
