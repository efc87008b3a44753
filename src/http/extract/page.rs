//! Rows that give a list in parts: which part.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::params::WholeNumber;
use crate::domain::TimeParameter;

const DEFAULT_LIMIT: u32 = 20;
const LARGEST_LIMIT: u32 = 1_000;
/// What PostgreSQL's OFFSET takes.
const LARGEST_OFFSET: u64 = i64::MAX.cast_unsigned();

/// `limit`, `offset` and `after`: the newest `limit` rows after skipping `offset` of the newest, given oldest
/// first. Taken as `Parameters<ListParameters>`, beside the row's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// The largest number of rows, 20 when not given; more than 1000 counts as 1000.
    #[serde(deserialize_with = "limit")]
    #[param(required = false, minimum = 0, maximum = 1000)]
    pub limit: u32,
    /// How many of the newest rows are skipped.
    #[serde(deserialize_with = "offset")]
    #[param(required = false, minimum = 0)]
    pub offset: u64,
    /// Only rows from this time on; whether the very time counts is the row's to say.
    #[serde(deserialize_with = "after")]
    #[param(required = false, value_type = String)]
    pub after: DateTime<Utc>,
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
        let given = read(json!({"limit": "1001", "offset": 3, "after": "2016-05-20", "other": []}));
        let after = "2016-05-20".parse::<TimeParameter>().expect("a time").at();
        assert_eq!(given, Ok(ListParameters { limit: 1_000, offset: 3, after }));
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
