//! The settings of traces, under OpenTelemetry's own names.

use percent_encoding::percent_decode_str;
use url::Url;

use super::{ConfigError, Env};

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const COMPRESSION: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
const TRACES_COMPRESSION: &str = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// The samplers of the library.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Where traces go. OpenTelemetry's other variables (sampler, batches, resource attributes) are read from the environment
/// by its library, which replaces values that it does not know: those that would change what is sent are refused here.
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
        let (name, text) = match (env.get(TRACES_ENDPOINT), env.get(Self::ENDPOINT)) {
            (Some(text), _) => (TRACES_ENDPOINT, text),
            (None, Some(text)) => (Self::ENDPOINT, text),
            (None, None) => return Ok(None),
        };
        let mut endpoint = Url::parse(text.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ConfigError::new(name, "a URL such as http://127.0.0.1:4318 is expected"))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            let error = format!("no user and password; {HEADERS} takes authorization=Basic%20...");
            return Err(ConfigError::new(name, error));
        }
        if name == Self::ENDPOINT
            && let Ok(mut path) = endpoint.path_segments_mut()
        {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        for (variable, known) in [
            (PROTOCOL, &["http/protobuf"][..]),
            (TRACES_PROTOCOL, &["http/protobuf"]),
            (COMPRESSION, &["none"]),
            (TRACES_COMPRESSION, &["none"]),
            (SAMPLER, &SAMPLERS),
        ] {
            if env.get(variable).is_some_and(|value| !known.contains(&value)) {
                let error = format!("write {}: Windu has no other", known.join(", "));
                return Err(ConfigError::new(variable, error));
            }
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
        let base = (TraceSettings::ENDPOINT, "https://collector/in?a=1");
        let settings = read(&[base]).expect("settings").expect("on");
        assert_eq!(settings.endpoint.as_str(), "https://collector/in/v1/traces?a=1");
    }

    #[test]
    fn headers_are_pairs() {
        let endpoint = (TraceSettings::ENDPOINT, "http://collector:4318");
        let settings = read(&[endpoint, (HEADERS, "a=1, authorization=Bearer%20x")]);
        let headers = settings.expect("settings").expect("on").headers;
        let expected = [("a", "1"), ("authorization", "Bearer x")];
        assert!(headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
        assert!(read(&[endpoint, (HEADERS, "secret")]).is_err());
    }

    #[test]
    fn what_the_library_would_replace_is_refused() {
        let endpoint = (TraceSettings::ENDPOINT, "http://collector:4318");
        for (variable, value) in [
            (PROTOCOL, "grpc"),
            (TRACES_PROTOCOL, "http/json"),
            (COMPRESSION, "gzip"),
            (TRACES_COMPRESSION, "zstd"),
            (SAMPLER, "always"),
        ] {
            let error = read(&[endpoint, (variable, value)]).err().expect(value);
            assert_eq!(error.variable, variable);
        }
        let known = [endpoint, (PROTOCOL, "http/protobuf"), (COMPRESSION, "none"), (SAMPLER, "always_off")];
        assert!(read(&known).expect("settings").is_some());
        for url in ["collector:4318", "http://", "http://user:secret@collector", "http://user@collector"] {
            let error = read(&[(TraceSettings::ENDPOINT, url)]).err().expect(url);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
