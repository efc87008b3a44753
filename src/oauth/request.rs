//! What a request under `/o` says, before anything is looked up.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::OAuthError;

/// The parameters of a body, each at most once. One without a value counts as not given (RFC 6749 section 3.2).
#[derive(Clone, Default)]
pub struct Parameters(BTreeMap<String, String>);

/// Client credentials from HTTP Basic, decoded.
#[derive(Clone)]
pub struct Basic {
    /// The client's id.
    pub client_id: String,
    /// Its secret; empty for a public client.
    pub secret: String,
}

/// A request as `http` took it apart.
#[derive(Clone)]
pub struct TokenRequest {
    /// From the header, if it is there.
    pub basic: Option<Basic>,
    /// From the body.
    pub parameters: Parameters,
    /// Where it came from.
    pub address: IpAddr,
}

impl Parameters {
    /// Takes the pairs of a body.
    ///
    /// # Errors
    /// [`OAuthError::InvalidRequest`] when a name comes twice (RFC 6749 section 3.2).
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

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// [`OAuthError::InvalidRequest`] which names it.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::InvalidRequest(format!("the parameter {name} is missing")))
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl TokenRequest {
    /// The client's id and secret (empty: none), by the one way that the request uses.
    ///
    /// # Errors
    /// [`OAuthError::InvalidClient`] when there is no client, [`OAuthError::InvalidRequest`] when there are two.
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
            parameters: Parameters::new(pairs).expect("no repeats"),
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
    fn debug_shows_names_alone() {
        let request = request(None, &[("password", "correct horse")]);
        assert_eq!(format!("{:?}", request.parameters), r#"{"password"}"#);
    }
}
