//! Requests to the endpoints under `/o`, parsed but not yet checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::OAuthError;

/// The parameters of a body, each at most once. A parameter without a value is ignored (RFC 6749 section 3.2).
#[derive(Clone, Default)]
pub struct TokenParameters(BTreeMap<String, String>);

/// Client credentials from HTTP Basic, decoded.
#[derive(Clone)]
pub struct Basic {
    pub client_id: String,
    /// Empty for a public client.
    pub secret: String,
}

/// A request as `http` has parsed it.
#[derive(Clone)]
pub struct TokenRequest {
    /// From the `Authorization` header.
    pub basic: Option<Basic>,
    pub parameters: TokenParameters,
    /// The caller's address.
    pub address: IpAddr,
}

impl TokenParameters {
    /// # Errors
    /// [`OAuthError::InvalidRequest`] when a name is repeated (RFC 6749 section 3.2).
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, OAuthError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.insert(name, value).is_some() {
                return Err(OAuthError::InvalidRequest("a parameter is given more than once".to_owned()));
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// # Errors
    /// [`OAuthError::InvalidRequest`] when the parameter is missing; the text names it.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::InvalidRequest(format!("the parameter {name} is missing")))
    }
}

impl fmt::Debug for TokenParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl TokenRequest {
    /// The client's id and secret (empty: none), from the header or the body.
    ///
    /// # Errors
    /// [`OAuthError::InvalidClient`] when there is no client, [`OAuthError::InvalidRequest`] when both name one and they
    /// differ.
    pub(super) fn client(&self) -> Result<(&str, &str), OAuthError> {
        let (id, secret) = (self.parameters.get("client_id"), self.parameters.get("client_secret"));
        let Some(basic) = &self.basic else {
            return Ok((id.ok_or(OAuthError::InvalidClient)?, secret.unwrap_or_default()));
        };
        if secret.is_some() || id.is_some_and(|id| id != basic.client_id) {
            let text = "the client is given by HTTP Basic and, differently, in the body";
            return Err(OAuthError::InvalidRequest(text.to_owned()));
        }
        Ok((&basic.client_id, &basic.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(basic: Option<(&str, &str)>, pairs: &[(&str, &str)]) -> TokenRequest {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TokenRequest {
            basic: basic.map(|(id, secret)| Basic { client_id: id.to_owned(), secret: secret.to_owned() }),
            parameters: TokenParameters::new(pairs).expect("no repeats"),
            address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn a_client_is_named_in_one_way() {
        assert_eq!(request(None, &[("client_id", "a")]).client().expect("public"), ("a", ""));
        assert_eq!(request(Some(("a", "s")), &[]).client().expect("basic"), ("a", "s"));
        assert_eq!(request(Some(("a", "s")), &[("client_id", "a")]).client().expect("both"), ("a", "s"));
        for pairs in [[("client_id", "b")], [("client_secret", "s")]] {
            let outcome = request(Some(("a", "s")), &pairs);
            assert!(matches!(outcome.client(), Err(OAuthError::InvalidRequest(_))));
        }
        for pairs in [[("client_id", "")], [("client_secret", "s")]] {
            assert!(matches!(request(None, &pairs).client(), Err(OAuthError::InvalidClient)));
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let request = request(None, &[("password", "correct horse")]);
        assert_eq!(format!("{:?}", request.parameters), r#"{"password"}"#);
    }
}
