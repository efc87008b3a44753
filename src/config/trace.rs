//! The settings of traces, under OpenTelemetry's own names.

use percent_encoding::percent_decode_str;
use url::Url;

use super::{ConfigError, Env};

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// Where traces go. OpenTelemetry's other variables (sampler, batches, resource attributes) are read from the environment
/// by its library.
#[derive(Clone)]
pub struct TraceSettings {
    /// The collector's address for traces.
    pub endpoint: Url,
    /// Headers of each request to it; they may be secret.
    pub headers: Vec<(String, String)>,
    /// The name under which this program appears.
    pub service: String,
}

impl TraceSettings {
    pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

    /// `None`: nothing is exported.
    pub fn read(env: &Env) -> Result<Option<Self>, ConfigError> {
        if env.get(DISABLED).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
            || env.get(EXPORTER).is_some_and(|text| text.trim() == "none")
        {
            return Ok(None);
        }
        let (name, base) = match (env.get(TRACES_ENDPOINT), env.get(Self::ENDPOINT)) {
            (Some(text), _) => (TRACES_ENDPOINT, text.trim().to_owned()),
            (None, Some(text)) => {
                (Self::ENDPOINT, format!("{}/v1/traces", text.trim().trim_end_matches('/')))
            }
            (None, None) => return Ok(None),
        };
        let endpoint = Url::parse(&base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ConfigError::new(name, "a URL such as http://127.0.0.1:4318 is expected"))?;
        if env.get(PROTOCOL).is_some_and(|text| text.trim() != "http/protobuf") {
            return Err(ConfigError::new(PROTOCOL, "write http/protobuf: Windu has no other"));
        }
        let headers = env
            .list(HEADERS)
            .into_iter()
            .map(|item| {
                let (key, value) = item.split_once('=')?;
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                let valid = http::HeaderName::try_from(key.trim()).is_ok()
                    && http::HeaderValue::try_from(value.as_ref()).is_ok();
                valid.then(|| (key.trim().to_owned(), value.into_owned()))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| {
                ConfigError::new(HEADERS, "name=value, with commas between several, is expected")
            })?;
        let service = env.get(SERVICE).map_or("windu", str::trim).to_owned();
        Ok(Some(Self { endpoint, headers, service }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<Option<TraceSettings>, ConfigError> {
        TraceSettings::read(&Env::of(values.iter().copied()))
    }

    #[test]
    fn nothing_is_exported_until_there_is_an_endpoint() {
        assert!(read(&[]).expect("nothing").is_none());
        let endpoint = (TraceSettings::ENDPOINT, "http://collector:4318/");
        for off in [(DISABLED, "true"), (EXPORTER, "none")] {
            assert!(read(&[endpoint, off]).expect("off").is_none());
        }
        let settings = read(&[endpoint]).expect("settings").expect("on");
        assert_eq!(settings.endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(settings.service, "windu");
        let whole = (TRACES_ENDPOINT, "https://collector/in?a=1");
        assert_eq!(read(&[endpoint, whole]).expect("settings").expect("on").endpoint.as_str(), whole.1);
    }

    #[test]
    fn headers_are_pairs() {
        let endpoint = (TraceSettings::ENDPOINT, "http://collector:4318");
        let settings = read(&[endpoint, (HEADERS, "a=1, authorization=Bearer%20x")]);
        let headers = settings.expect("settings").expect("on").headers;
        let expected = [("a", "1"), ("authorization", "Bearer x")];
        assert!(headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
        assert!(read(&[endpoint, (HEADERS, "secret")]).is_err());
        assert!(read(&[endpoint, (PROTOCOL, "grpc")]).is_err());
        assert!(read(&[(TraceSettings::ENDPOINT, "collector:4318")]).is_err());
    }
}
