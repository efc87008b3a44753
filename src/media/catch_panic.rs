//! A guard against panics of parsers.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of the work, or `None` when it panicked: a parser that trips over hostile bytes must not end its thread.
/// Values that the work borrowed are not used again afterwards, hence no half-changed state can be seen.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::catch_panic;

    #[test]
    fn a_panic_gives_nothing() {
        assert_eq!(catch_panic(|| 1), Some(1));
        let empty: &[u8] = &[];
        assert_eq!(catch_panic(|| empty[0]), None);
    }
}
