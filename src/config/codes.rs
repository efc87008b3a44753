//! The settings of verification codes: their sender, the numbers that may be sent codes, and a limit per day.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use url::Url;

use super::{ConfigError, Env};
use crate::domain::PhoneNumber;

const SENDER: &str = "WINDU_CODE_SENDER";
const WEBHOOK_URL: &str = "WINDU_CODE_WEBHOOK_URL";
const WEBHOOK_SECRET: &str = "WINDU_CODE_WEBHOOK_SECRET";
const TWILIO_ACCOUNT_SID: &str = "WINDU_TWILIO_ACCOUNT_SID";
const TWILIO_AUTH_TOKEN: &str = "WINDU_TWILIO_AUTH_TOKEN";
const TWILIO_FROM: &str = "WINDU_TWILIO_FROM";
const TWILIO_BASE_URL: &str = "WINDU_TWILIO_BASE_URL";
const PREFIXES: &str = "WINDU_CODE_PREFIXES";
const PER_DAY: &str = "WINDU_CODES_PER_DAY";

/// The file in the data folder that the `log` sender writes to when there is no terminal.
const LOG_FILE: &str = "codes.log";

#[derive(Clone, Debug)]
pub struct CodeSettings {
    pub sender: SenderSettings,
    /// For one request to the sender. No variable sets it.
    pub timeout: Duration,
    /// The prefixes of the numbers that may be sent codes; empty: all numbers.
    pub prefixes: Vec<String>,
    /// The most codes that the deployment sends in 24 hours; at least 1.
    pub per_day: u32,
    /// Warnings for the operator at the start, one sentence each.
    pub warnings: Vec<String>,
}

/// The sender of codes, with its settings. Its `Debug` shows no secret and no URL.
#[derive(Clone)]
pub enum SenderSettings {
    /// Codes are not sent, but written where the operator sees them.
    Log(LogTarget),
    /// A server of the operator.
    Webhook {
        url: Url,
        /// The key that signs requests: `whsec_` and base64.
        secret: Option<String>,
    },
    Twilio {
        /// The id of the Twilio account, `AC...`.
        account_sid: String,
        auth_token: String,
        /// The Twilio number that sends and calls.
        from: PhoneNumber,
        /// The start of the REST API's URLs.
        base_url: Url,
    },
}

/// The output of the `log` sender: standard output where that is a terminal, else a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Whether standard output of this process is a terminal.
    pub terminal: bool,
    /// Only its owner may read it.
    pub file: PathBuf,
}

/// Other settings and facts that the settings of codes depend on.
#[derive(Clone, Copy, Debug)]
pub struct CodeSurroundings<'a> {
    /// Whether the listener and the public URL are both on a loopback address.
    pub loopback_only: bool,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// WINDU_DATA_DIR.
    pub data_dir: &'a Path,
}

impl CodeSettings {
    /// The variables that [`CodeSettings::read`] reads.
    pub const NAMES: &[&str] = &[
        SENDER,
        WEBHOOK_URL,
        WEBHOOK_SECRET,
        TWILIO_ACCOUNT_SID,
        TWILIO_AUTH_TOKEN,
        TWILIO_FROM,
        TWILIO_BASE_URL,
        PREFIXES,
        PER_DAY,
    ];

    /// # Errors
    /// When a variable is missing or malformed; also when others can reach the server and no sender is set.
    pub fn read(env: &Env, surroundings: CodeSurroundings<'_>) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let chosen = env.get(SENDER).map(str::trim);
        let sender = match chosen.unwrap_or("log") {
            "log" => log(chosen.is_some(), surroundings, &mut warnings)?,
            "webhook" => webhook(env)?,
            "twilio" => twilio(env)?,
            _ => return Err(ConfigError::new(SENDER, "log, webhook or twilio is expected")),
        };
        let unused: &[&str] = match sender {
            SenderSettings::Log(_) => &[WEBHOOK_URL, TWILIO_ACCOUNT_SID],
            SenderSettings::Webhook { .. } => &[TWILIO_ACCOUNT_SID],
            SenderSettings::Twilio { .. } => &[WEBHOOK_URL],
        };
        for variable in unused.iter().filter(|variable| env.get(variable).is_some()) {
            warnings.push(format!("{variable} is set but not used: {SENDER} is {}", sender.name()));
        }
        let per_day = env.parse(PER_DAY, 1_000)?;
        if per_day == 0 {
            return Err(ConfigError::new(PER_DAY, "a whole number from 1 on is expected"));
        }
        Ok(Self { sender, timeout: Duration::from_secs(15), prefixes: prefixes(env)?, per_day, warnings })
    }
}

impl SenderSettings {
    /// The value of WINDU_CODE_SENDER.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Webhook { .. } => "webhook",
            Self::Twilio { .. } => "twilio",
        }
    }
}

impl fmt::Debug for SenderSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

fn log(
    explicit: bool,
    surroundings: CodeSurroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<SenderSettings, ConfigError> {
    if !surroundings.loopback_only {
        if !explicit {
            return Err(ConfigError::new(
                SENDER,
                "is not set, and WINDU_LISTEN or WINDU_PUBLIC_URL is not a loopback address. Set it to webhook or \
                 twilio, so that codes reach the phones; or to log, if the operator is to pass them on",
            ));
        }
        warnings.push(format!(
            "{SENDER}=log on a server that others can reach: no code reaches a phone, and everybody who can read \
             this server's terminal or {LOG_FILE} can prove any number"
        ));
    }
    let CodeSurroundings { terminal, data_dir, .. } = surroundings;
    Ok(SenderSettings::Log(LogTarget { terminal, file: data_dir.join(LOG_FILE) }))
}

fn webhook(env: &Env) -> Result<SenderSettings, ConfigError> {
    let url = url(WEBHOOK_URL, required(env, WEBHOOK_URL, "webhook")?)?;
    let secret = env.get(WEBHOOK_SECRET).map(str::trim);
    if let Some(secret) = secret {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap_or(secret).as_bytes());
        if !key.is_ok_and(|key| (24..=64).contains(&key.len())) {
            return Err(ConfigError::new(
                WEBHOOK_SECRET,
                "whsec_ and 24 to 64 bytes in base64 are expected (make one with: echo whsec_$(openssl rand -base64 32))",
            ));
        }
    }
    Ok(SenderSettings::Webhook { url, secret: secret.map(str::to_owned) })
}

fn twilio(env: &Env) -> Result<SenderSettings, ConfigError> {
    let account_sid = required(env, TWILIO_ACCOUNT_SID, "twilio")?;
    if !account_sid.starts_with("AC") || !account_sid.chars().all(|sign| sign.is_ascii_alphanumeric()) {
        return Err(ConfigError::new(
            TWILIO_ACCOUNT_SID,
            "an account SID is expected: AC, then letters and digits",
        ));
    }
    let auth_token = required(env, TWILIO_AUTH_TOKEN, "twilio")?;
    let from = required(env, TWILIO_FROM, "twilio")?
        .parse()
        .map_err(|error| ConfigError::new(TWILIO_FROM, format!("{error}; it must also be able to call")))?;
    let base_url = url(TWILIO_BASE_URL, env.get(TWILIO_BASE_URL).unwrap_or("https://api.twilio.com"))?;
    if base_url.query().is_some() {
        return Err(ConfigError::new(TWILIO_BASE_URL, "a URL without a query is expected"));
    }
    let (account_sid, auth_token) = (account_sid.to_owned(), auth_token.to_owned());
    Ok(SenderSettings::Twilio { account_sid, auth_token, from, base_url })
}

fn required<'a>(env: &'a Env, variable: &'static str, sender: &str) -> Result<&'a str, ConfigError> {
    env.get(variable)
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ConfigError::new(variable, format!("is needed because {SENDER} is {sender}")))
}

/// The error never repeats the value: a webhook's URL is often a secret itself.
fn url(variable: &'static str, value: &str) -> Result<Url, ConfigError> {
    let wrong = |problem: &str| ConfigError::new(variable, problem);
    let url = Url::parse(value.trim())
        .map_err(|error| wrong(&format!("a URL such as https://codes.example/send is expected: {error}")))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("a URL that begins with https:// or http:// is expected"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a URL without a user name and password is expected"));
    }
    Ok(url)
}

fn prefixes(env: &Env) -> Result<Vec<String>, ConfigError> {
    let parse = |item: &str| {
        let digits = item.strip_prefix('+').unwrap_or(item);
        let good = (1..=15).contains(&digits.len()) && digits.chars().all(|sign| sign.is_ascii_digit());
        let problem = "a list of the digits that numbers begin with is expected, such as 1,44,4930";
        if good { Ok(digits.to_owned()) } else { Err(ConfigError::new(PREFIXES, problem)) }
    };
    env.list(PREFIXES).into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(loopback_only: bool, values: &[(&str, &str)]) -> Result<CodeSettings, ConfigError> {
        let surroundings = CodeSurroundings { loopback_only, terminal: false, data_dir: Path::new("/data") };
        CodeSettings::read(&Env::of(values.iter().copied()), surroundings)
    }

    fn refused(values: &[(&str, &str)]) -> &'static str {
        let error = read(true, values).expect_err("must be refused");
        for (_, value) in values {
            assert!(value.len() < 12 || !error.to_string().contains(value), "{error} shows a value");
        }
        error.variable
    }

    #[test]
    fn log_is_the_default_where_only_this_machine_can_reach_the_server() {
        let settings = read(true, &[]).expect("settings");
        let SenderSettings::Log(target) = settings.sender else { panic!("log is the default") };
        assert_eq!(target, LogTarget { terminal: false, file: "/data/codes.log".into() });
        assert_eq!((settings.per_day, settings.prefixes.len(), settings.warnings.len()), (1_000, 0, 0));
    }

    #[test]
    fn log_elsewhere_must_be_asked_for_and_warns() {
        let error = read(false, &[]).expect_err("refused");
        assert_eq!(error.variable, SENDER);
        assert!(error.problem.contains("WINDU_PUBLIC_URL"), "{error}");
        let settings = read(false, &[(SENDER, "log")]).expect("settings");
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn each_error_names_its_variable() {
        let url = (WEBHOOK_URL, "https://codes.example/send?key=very-secret");
        let sid = (TWILIO_ACCOUNT_SID, "AC0123456789abcdef0123456789abcdef");
        let token = (TWILIO_AUTH_TOKEN, "0123456789abcdef");
        let (webhook, twilio) = ((SENDER, "webhook"), (SENDER, "twilio"));
        assert_eq!(refused(&[(SENDER, "carrier pigeon")]), SENDER);
        assert_eq!(refused(&[webhook]), WEBHOOK_URL);
        assert_eq!(refused(&[webhook, (WEBHOOK_URL, "codes.example/with/a/secret")]), WEBHOOK_URL);
        assert_eq!(refused(&[webhook, (WEBHOOK_URL, "ftp://codes.example/secret")]), WEBHOOK_URL);
        assert_eq!(refused(&[webhook, (WEBHOOK_URL, "https://user:secret@codes.example")]), WEBHOOK_URL);
        assert_eq!(refused(&[webhook, url, (WEBHOOK_SECRET, "whsec_c2hvcnRzZWNyZXQ=")]), WEBHOOK_SECRET);
        assert_eq!(refused(&[webhook, url, (WEBHOOK_SECRET, "not base64, I fear")]), WEBHOOK_SECRET);
        assert_eq!(refused(&[twilio]), TWILIO_ACCOUNT_SID);
        assert_eq!(refused(&[twilio, (TWILIO_ACCOUNT_SID, "AC/../../elsewhere")]), TWILIO_ACCOUNT_SID);
        assert_eq!(refused(&[twilio, sid]), TWILIO_AUTH_TOKEN);
        assert_eq!(refused(&[twilio, sid, token]), TWILIO_FROM);
        assert_eq!(refused(&[twilio, sid, token, (TWILIO_FROM, "Windu Inc")]), TWILIO_FROM);
        let from = (TWILIO_FROM, "+1 555 010 0000");
        assert_eq!(
            refused(&[twilio, sid, token, from, (TWILIO_BASE_URL, "nowhere at all")]),
            TWILIO_BASE_URL
        );
        assert_eq!(refused(&[(PER_DAY, "0")]), PER_DAY);
        assert_eq!(refused(&[(PER_DAY, "many")]), PER_DAY);
        assert_eq!(refused(&[(PREFIXES, "1,forty-four")]), PREFIXES);
        let settings = read(false, &[twilio, sid, token, from, url, (PREFIXES, "+1, 44")]).expect("settings");
        assert_eq!(settings.prefixes, ["1", "44"]);
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(!format!("{settings:?}").contains("0123456789abcdef"), "{settings:?}");
    }

    #[test]
    fn a_webhook_accepts_a_secret_with_or_without_its_prefix() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let values =
                [(SENDER, "webhook"), (WEBHOOK_URL, "https://codes.example"), (WEBHOOK_SECRET, secret)];
            let settings = read(false, &values).expect("settings");
            assert!(matches!(settings.sender, SenderSettings::Webhook { secret: Some(_), .. }));
            assert!(!format!("{settings:?}").contains("MfKQ"));
        }
    }
}
