//! Whether a stream fits: it must take all events, and not lose them silently.

use async_nats::jetstream::stream;

use super::message::{LARGEST_SMALL, SUBJECTS};

/// What the subjects of all events have in common: the type has one dot.
const EVERY_SUBJECT: &str = "windu.*.*.*.*";

/// Why a stream does not take all events.
pub fn unfit(config: &stream::Config) -> Option<String> {
    let smallest = usize::try_from(config.max_message_size).ok().filter(|size| *size > 0);
    if !config.subjects.iter().any(|filter| covers(filter, EVERY_SUBJECT)) {
        Some(format!("does not take the subjects {SUBJECTS}"))
    } else if config.no_ack {
        Some("acknowledges nothing (no_ack): what it lost would not be noticed".to_owned())
    } else if config.retention == stream::RetentionPolicy::Interest {
        // One with the retention workqueue keeps each event until a reader has acknowledged it.
        Some(
            "has the retention interest: it acknowledges events and drops them while it has no consumer"
                .to_owned(),
        )
    } else if config.sealed {
        Some("is sealed".to_owned())
    } else {
        let too_small = smallest.filter(|size| *size < LARGEST_SMALL);
        too_small.map(|size| {
            format!("takes messages of {size} bytes (max_msg_size); at least {LARGEST_SMALL} is needed")
        })
    }
}

/// Of how much the stream has how much, when it is full by its figures and refuses new events.
pub fn full(info: &stream::Info) -> Option<String> {
    let (config, state) = (&info.config, &info.state);
    let is_over = |count: u64, limit: i64| u64::try_from(limit).is_ok_and(|limit| limit > 0 && count > limit);
    if config.discard != stream::DiscardPolicy::New {
        None
    } else if is_over(state.messages + 1, config.max_messages) {
        Some(format!("{} of {} messages", state.messages, config.max_messages))
    } else if is_over(state.bytes + LARGEST_SMALL as u64, config.max_bytes) {
        Some(format!("{} of {} bytes", state.bytes, config.max_bytes))
    } else {
        None
    }
}

/// Whether a filter of subjects takes all that another one takes.
fn covers(filter: &str, other: &str) -> bool {
    let (mut filter, mut other) = (filter.split('.'), other.split('.'));
    loop {
        match (filter.next(), other.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(same), Some(token)) if same == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_must_take_the_subjects_of_all_events() {
        for filter in ["windu.>", ">", "*.>", "windu.*.>", "windu.*.*.*.*", "*.*.*.*.>"] {
            assert!(covers(filter, EVERY_SUBJECT), "{filter}");
        }
        for filter in
            ["windu.ann.>", "windu.*", "windu.*.*.*", "windu.*.*.message.*", "windu.*.*.*.*.>", "events.>"]
        {
            assert!(!covers(filter, EVERY_SUBJECT), "{filter}");
        }
    }
}
