//! Keeps a panic of a parser in.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the work gives, or nothing when it panicked: a parser that trips over hostile bytes must not take its thread
/// along. What the work had borrowed is not used again afterwards, hence no state can be seen half-changed.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_gives_nothing() {
        assert_eq!(contained(|| 1), Some(1));
        let empty: &[u8] = &[];
        assert_eq!(contained(|| empty[0]), None);
    }
}
