//! The last pages of a sequence, so that several clients of a user share what was read and rendered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::EventPage;
use crate::store::EventFilter;

/// Bytes of the pages of a user.
const MOST_BYTES: usize = 1024 * 1024;
/// Pages of a user.
const MOST: usize = 64;

#[derive(Default)]
pub struct Pages {
    pages: VecDeque<SharedPage>,
    bytes: usize,
}

struct SharedPage {
    filter: EventFilter,
    after: i64,
    page: Arc<EventPage>,
    bytes: usize,
}

impl Pages {
    /// A page that has events after a place, if one is there.
    pub fn find(&self, filter: &EventFilter, after: i64) -> Option<Arc<EventPage>> {
        let found = self
            .pages
            .iter()
            .find(|page| page.after <= after && after < page.page.until && page.filter == *filter)?;
        Some(Arc::clone(&found.page))
    }

    pub fn add(&mut self, filter: EventFilter, after: i64, page: Arc<EventPage>) {
        let bytes = page.events.iter().map(|event| event.json.len() + size_of_val(event)).sum();
        self.bytes += bytes;
        self.pages.push_back(SharedPage { filter, after, page, bytes });
        while self.pages.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.pages.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KindFilter;

    fn page(until: i64) -> Arc<EventPage> {
        Arc::new(EventPage { events: Vec::new(), until, more: false })
    }

    #[test]
    fn a_page_serves_the_places_in_it_to_the_same_filter() {
        let mut pages = Pages::default();
        pages.add(EventFilter::default(), 5, page(8));
        for (after, found) in [(4, false), (5, true), (7, true), (8, false)] {
            assert_eq!(pages.find(&EventFilter::default(), after).is_some(), found, "{after}");
        }
        let other = EventFilter { kinds: Some(KindFilter::default()), ..EventFilter::default() };
        assert!(pages.find(&other, 5).is_none());
    }

    #[test]
    fn only_the_last_pages_are_kept() {
        let mut pages = Pages::default();
        for place in 0..100 {
            pages.add(EventFilter::default(), place, page(place + 1));
        }
        assert_eq!(pages.pages.len(), MOST);
        assert!(pages.find(&EventFilter::default(), 0).is_none());
        assert!(pages.find(&EventFilter::default(), 99).is_some());
    }
}
