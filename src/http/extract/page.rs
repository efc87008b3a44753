//! Parameters of the endpoints that list in pages.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::params::WholeNumber;
use crate::domain::TimeParameter;
use crate::store::Page;

const DEFAULT_LIMIT: u32 = 20;
const LARGEST_LIMIT: u32 = 1_000;
/// The largest OFFSET of PostgreSQL.
const LARGEST_OFFSET: u64 = i64::MAX.cast_unsigned();

/// The newest `limit` items after skipping the newest `offset`, listed oldest first. Taken as
/// `RequestParameters<ListParameters>`, beside an endpoint's own parameters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// The largest number of items, by default 20; more than 1000 counts as 1000.
    #[serde(deserialize_with = "limit")]
    #[param(required = false, minimum = 0)]
    pub limit: u32,
    /// How many of the newest items are skipped: at most 10000 in a list that is longer.
    #[serde(deserialize_with = "offset")]
    #[param(required = false, minimum = 0)]
    pub offset: u64,
    /// Only items after this time; whether an item of exactly this time counts depends on the endpoint.
    #[serde(deserialize_with = "after")]
    #[param(required = false, value_type = String)]
    pub after: DateTime<Utc>,
}

impl ListParameters {
    #[must_use]
    pub fn page(&self) -> Page {
        Page {
            limit: i64::from(self.limit),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            after: self.after,
        }
    }
}

impl Default for ListParameters {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, offset: 0, after: DateTime::UNIX_EPOCH }
    }
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let WholeNumber(number) = WholeNumber::deserialize(deserializer)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX).min(LARGEST_LIMIT))
}

fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    WholeNumber::deserialize(deserializer).map(|WholeNumber(number)| number.min(LARGEST_OFFSET))
}

fn after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    TimeParameter::deserialize(deserializer).map(TimeParameter::at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(values: Value) -> Result<ListParameters, String> {
        serde_path_to_error::deserialize(values).map_err(|error| error.path().to_string())
    }

    #[test]
    fn limits_are_cut_and_wrong_ones_named() {
        assert_eq!(read(json!({})), Ok(ListParameters::default()));
        let parsed = read(json!({"limit": "1001", "offset": 3, "after": "2016-05-20", "other": []}));
        let after = "2016-05-20".parse::<TimeParameter>().expect("a time").at();
        assert_eq!(parsed, Ok(ListParameters { limit: 1_000, offset: 3, after }));
        assert_eq!(read(json!({"limit": "99999999999999999999999"})).expect("cut").limit, 1_000);
        assert_eq!(read(json!({"limit": 0})).expect("none").limit, 0);
        assert_eq!(read(json!({"offset": u64::MAX})).expect("cut").offset, LARGEST_OFFSET);
        for (name, value) in
            [("limit", json!("-1")), ("limit", json!(1.5)), ("offset", json!("x")), ("after", json!(""))]
        {
            assert_eq!(read(json!({name: value})), Err(name.to_owned()));
        }
    }
}
