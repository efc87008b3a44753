//! Rate limits: requests per token, sends per account; counted in this process.
//!
//! The headers are those of draft-ietf-httpapi-ratelimit-headers-11.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponseParts, ResponseParts};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Rate;
use crate::domain::AccountId;
use crate::http::error::{ApiError, ErrorCode};
use crate::lifecycle::Lifecycle;
use crate::metrics::METRICS;
use crate::store::TokenHash;

pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The interval at which keys that are at rest are forgotten.
const TIDY: Duration = Duration::from_mins(1);

/// The limits of this process; clones share them.
#[derive(Clone)]
pub struct RateLimits {
    pub requests: Arc<Policy<TokenHash>>,
    pub sends: Arc<Policy<AccountId>>,
}

/// A limit for each key: so many at once, and so many a second in the long run.
pub struct Policy<K: Clone + Eq + Hash> {
    name: &'static str,
    burst: u32,
    per_second: u32,
    header: HeaderValue,
    /// `None`: off.
    limiter: Option<Limiter<K>>,
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The headers of a response that a policy was applied to; none when it is off.
#[derive(Clone, Default)]
pub struct RateHeaders(Option<(HeaderValue, HeaderValue)>);

impl RateLimits {
    #[must_use]
    pub fn new(requests: Option<Rate>, sends: Option<Rate>) -> Self {
        Self {
            requests: Arc::new(Policy::new("requests", requests)),
            sends: Arc::new(Policy::new("sends", sends)),
        }
    }

    /// Starts the task that forgets the keys at rest.
    pub fn tidy(&self, lifecycle: &Lifecycle) {
        let (limits, soft) = (self.clone(), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            while soft.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
                limits.requests.forget_idle();
                limits.sends.forget_idle();
            }
        });
    }
}

impl<K: Clone + Eq + Hash> Policy<K> {
    fn new(name: &'static str, rate: Option<Rate>) -> Self {
        let (per_second, burst) = rate.map_or((1, 1), |rate| (rate.per_second.get(), rate.burst.get()));
        let header = format!("\"{name}\";q={burst};w={}", burst.div_ceil(per_second));
        let limiter = rate.map(|rate| {
            let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
            RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>()
        });
        // Made of digits and a name.
        let header = HeaderValue::try_from(header).unwrap_or(HeaderValue::from_static(""));
        Self { name, burst, per_second, header, limiter }
    }

    /// Counts one more of the key.
    ///
    /// # Errors
    /// 429 when it has had too many; then nothing is counted.
    pub fn count(&self, key: &K) -> Result<RateHeaders, ApiError> {
        let Some(limiter) = &self.limiter else { return Ok(RateHeaders::default()) };
        match limiter.check_key(key) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                Ok(self.headers(left, (self.burst - left).div_ceil(self.per_second)))
            }
            Err(later) => {
                let wait = later.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
                METRICS.rate_limited(self.name);
                let seconds = u32::try_from(wait).unwrap_or(u32::MAX);
                Err(self.exceeded(seconds))
            }
        }
    }

    /// `seconds`: until all of it is there again; when nothing is left, until the next one.
    fn headers(&self, left: u32, seconds: u32) -> RateHeaders {
        let value = HeaderValue::try_from(format!("\"{}\";r={left};t={seconds}", self.name));
        RateHeaders(value.ok().map(|limit| (self.header.clone(), limit)))
    }

    fn exceeded(&self, seconds: u32) -> ApiError {
        let (name, per_second, burst) = (self.name, self.per_second, self.burst);
        let error = ApiError::too_many(
            ErrorCode::RateLimited,
            format!(
                "too many {name}: {per_second} a second and {burst} at once are allowed; nothing was done"
            ),
            seconds.into(),
        )
        .with_field("policy", name);
        match self.headers(0, seconds).0 {
            Some((policy, limit)) => error.with_header(POLICY, policy).with_header(LIMIT, limit),
            None => error,
        }
    }

    fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            // Or the room of the most keys that there ever were would stay.
            limiter.shrink_to_fit();
        }
    }
}

impl IntoResponseParts for RateHeaders {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.add_to(response.headers_mut());
        Ok(response)
    }
}

impl RateHeaders {
    /// Adds them to those of other policies.
    pub fn add_to(self, headers: &mut HeaderMap) {
        if let Some((policy, limit)) = self.0 {
            headers.append(POLICY, policy);
            headers.append(LIMIT, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    fn policy(per_second: u32, burst: u32) -> Policy<u8> {
        let rate = |number| NonZero::new(number).expect("a rate");
        Policy::new("requests", Some(Rate { per_second: rate(per_second), burst: rate(burst) }))
    }

    fn shown(headers: RateHeaders) -> Vec<String> {
        let mut map = HeaderMap::new();
        headers.add_to(&mut map);
        [POLICY, LIMIT].iter().map(|name| map[name].to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn each_key_has_a_burst_of_its_own_and_its_headers() {
        let policy = policy(1, 3);
        let first = policy.count(&1).expect("one of three");
        assert_eq!(shown(first), ["\"requests\";q=3;w=3", "\"requests\";r=2;t=1"]);
        policy.count(&1).expect("two of three");
        policy.count(&1).expect("three of three");
        let refused = policy.count(&1).err().expect("refused");
        assert_eq!((refused.status().as_u16(), refused.code().as_str()), (429, "rate_limited"));
        assert!(policy.count(&2).is_ok());
    }

    #[test]
    fn keys_at_rest_are_forgotten_and_others_are_not() {
        let policy = policy(10, 1_000);
        for key in 0..=u8::MAX {
            policy.count(&key).expect("one of a thousand");
        }
        // It has its whole burst again in half a minute.
        for _ in 0..600 {
            policy.count(&7).expect("one of a thousand");
        }
        let limiter = policy.limiter.as_ref().expect("on");
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while limiter.len() > 1 {
            assert!(std::time::Instant::now() < end, "{} keys", limiter.len());
            policy.forget_idle();
        }
        policy.forget_idle();
        let left = shown(policy.count(&7).expect("one of a thousand")).remove(1);
        assert!(limiter.len() == 1 && !left.contains("r=999"), "{left}");
    }

    #[test]
    fn a_policy_that_is_off_counts_nothing() {
        let policy = Policy::new("sends", None);
        for _ in 0..10_000 {
            assert!(policy.count(&1).expect("not counted").0.is_none());
        }
    }
}
