//! GET requests whose response is read as a stream.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::error::{FetchError, UntrustedError, classify};
use super::guard::is_http;
use super::{Fetch, Policy};

/// The body of a response. After an error nothing follows.
pub type ResponseStream = BoxStream<'static, Result<Bytes, FetchError>>;

impl Fetch {
    /// Reads a URL. `policy` is asked for the URL and for the target of each redirect, of which up to three are followed. The
    /// body has to end within `total` from now on; the caller limits its size.
    pub async fn get(
        &self,
        url: &str,
        policy: impl Fn(&Url) -> Policy + Send,
        total: Duration,
    ) -> Result<ResponseStream, UntrustedError<Infallible>> {
        let deadline = Instant::now() + total;
        let url = Url::parse(url).ok().filter(is_http).ok_or(UntrustedError::NotHttp)?;
        let followed = self.follow(url, policy).await;
        Self::count(&followed);
        Ok(chunks(followed?, deadline).boxed())
    }
}

fn chunks(
    response: reqwest::Response,
    deadline: Instant,
) -> impl futures_util::Stream<Item = Result<Bytes, FetchError>> {
    stream::unfold(Some(response), move |response| async move {
        let mut response = response?;
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(chunk)) => chunk.map(|chunk| (Ok(chunk), Some(response))),
            Ok(Err(error)) => Some((Err(classify(error)), None)),
            Err(elapsed) => Some((Err(FetchError::TimedOut(elapsed.into())), None)),
        }
    })
}
