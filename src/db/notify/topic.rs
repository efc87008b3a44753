//! The subjects of notifications, and their encoding.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The subject of a notification. The layers above give each kind a letter of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Topic {
    /// The only topic of its kind.
    Single(Kind),
    /// One of many topics of its kind.
    Of(KeyedTopic),
}

/// The kind of a topic: a letter.
pub type Kind = char;

/// A topic among many of its kind: `{"kind": key}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyedTopic {
    pub(super) kind: Kind,
    pub(super) key: TopicKey,
}

/// The id of a row, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum TopicKey {
    Number(i64),
    Name(String),
}

impl Topic {
    /// The only topic of a kind.
    #[must_use]
    pub fn single(kind: Kind) -> Self {
        Self::Single(kind)
    }

    /// The topic of a row, by its id.
    #[must_use]
    pub fn of_row(kind: Kind, id: i64) -> Self {
        Self::Of(KeyedTopic { kind, key: TopicKey::Number(id) })
    }

    /// The topic of a name.
    #[must_use]
    pub fn of_name(kind: Kind, name: impl Into<String>) -> Self {
        Self::Of(KeyedTopic { kind, key: TopicKey::Name(name.into()) })
    }
}

impl Serialize for KeyedTopic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.kind, &self.key)])
    }
}

impl<'de> Deserialize<'de> for KeyedTopic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<Kind, TopicKey>::deserialize(deserializer)?;
        let mut members = members.into_iter();
        match (members.next(), members.next()) {
            (Some((kind, key)), None) => Ok(Self { kind, key }),
            _ => Err(D::Error::custom("one member is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes of the previous version run beside this one and read the same notifications.
    #[test]
    fn the_encoding_of_topics_is_stable() {
        for (topic, encoded) in [
            (Topic::single('r'), r#""r""#),
            (Topic::of_row('w', 5), r#"{"w":5}"#),
            (Topic::of_name('m', "15550100001"), r#"{"m":"15550100001"}"#),
        ] {
            assert_eq!(serde_json::to_string(&topic).expect("JSON"), encoded);
            assert_eq!(serde_json::from_str::<Topic>(encoded).expect("a topic"), topic);
        }
    }
}
