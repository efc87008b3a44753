//! The settings of the network `xmpp`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Env};

const DOMAIN: &str = "WINDU_XMPP_DOMAIN";
const HOST: &str = "WINDU_XMPP_HOST";
const TLS: &str = "WINDU_XMPP_TLS";
const CA_FILE: &str = "WINDU_XMPP_CA_FILE";
const ADMIN_JID: &str = "WINDU_XMPP_ADMIN_JID";
const ADMIN_PASSWORD: &str = "WINDU_XMPP_ADMIN_PASSWORD";
const ENCRYPTION_NOTE: &str = "WINDU_XMPP_ENCRYPTION_NOTE";
const ROOM_PING: &str = "WINDU_XMPP_ROOM_PING";

/// The usual note to people whose apps encrypt.
const USUAL_NOTE: &str = "This account can only read messages without end-to-end encryption. Please turn it off for this chat and send your \
     message again.";
/// The longest note, in characters.
const LONGEST_NOTE: usize = 1_000;

/// How connections to the XMPP server are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmppTls {
    /// By STARTTLS (RFC 6120, section 5), port 5222.
    StartTls,
    /// From the first byte (XEP-0368), port 5223.
    Direct,
    /// Not at all; on loopback only.
    Off,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmppHost {
    /// Where the DNS says, by SRV records (RFC 6120, section 3.2.1).
    Dns,
    At {
        host: String,
        port: u16,
    },
}

/// An XMPP server, and its administrator's account, by which accounts are created and deleted.
#[derive(Clone, PartialEq, Eq)]
pub struct XmppSettings {
    /// The part behind `@` in the accounts' addresses.
    pub domain: String,
    pub host: XmppHost,
    pub tls: XmppTls,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The address of the administrator.
    pub admin_jid: String,
    pub admin_password: String,
    /// What a person is sent once who writes with end-to-end encryption.
    pub encryption_note: Option<String>,
    /// A room that was silent for so long is asked whether the account is still inside.
    pub room_ping: Duration,
}

impl fmt::Debug for XmppSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "XmppSettings({})", self.domain)
    }
}

impl XmppSettings {
    /// The variables that [`XmppSettings::read`] reads.
    pub const NAMES: &[&str] =
        &[DOMAIN, HOST, TLS, CA_FILE, ADMIN_JID, ADMIN_PASSWORD, ENCRYPTION_NOTE, ROOM_PING];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let needed = |variable| {
            let missing = || ConfigError::new(variable, "is needed, because WINDU_NETWORKS has xmpp");
            env.get(variable).map(str::trim).ok_or_else(missing)
        };
        let domain = needed(DOMAIN)?.to_lowercase();
        if domain.contains(['@', '/', ':']) || domain.contains(char::is_whitespace) {
            return Err(ConfigError::new(DOMAIN, "a domain such as chat.example.org is expected"));
        }
        let tls = match env.get(TLS).map(str::trim) {
            None | Some("starttls") => XmppTls::StartTls,
            Some("direct") => XmppTls::Direct,
            Some("off") => XmppTls::Off,
            Some(_) => return Err(ConfigError::new(TLS, "write starttls, direct or off")),
        };
        let host = match env.get(HOST) {
            None => XmppHost::Dns,
            Some(text) => host(text.trim(), tls)?,
        };
        if tls == XmppTls::Off && !host.is_loopback() {
            let problem =
                format!("off is for a server on loopback only: set {HOST} to 127.0.0.1 or localhost");
            return Err(ConfigError::new(TLS, problem));
        }
        let admin_jid = needed(ADMIN_JID)?.to_owned();
        let parts = admin_jid.split_once('@');
        if parts.is_none_or(|(name, domain)| name.is_empty() || domain.is_empty() || domain.contains('/')) {
            return Err(ConfigError::new(ADMIN_JID, "an address such as admin@chat.example.org is expected"));
        }
        let admin_password = needed(ADMIN_PASSWORD)?.to_owned();
        let ca_file = env.get(CA_FILE).map(PathBuf::from);
        let encryption_note = match env.get(ENCRYPTION_NOTE).map(str::trim) {
            None => Some(USUAL_NOTE.to_owned()),
            Some("off") => None,
            Some(text) if text.chars().count() <= LONGEST_NOTE => Some(text.to_owned()),
            Some(_) => {
                let problem = format!("a text of at most {LONGEST_NOTE} characters, or off, is expected");
                return Err(ConfigError::new(ENCRYPTION_NOTE, problem));
            }
        };
        let room_ping = env.duration(ROOM_PING, Duration::from_mins(10))?;
        Ok(Self { domain, host, tls, ca_file, admin_jid, admin_password, encryption_note, room_ping })
    }
}

impl XmppHost {
    fn is_loopback(&self) -> bool {
        match self {
            Self::Dns => false,
            Self::At { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }
}

/// Reads `host`, `host:port`, `[address]` or `[address]:port`.
fn host(text: &str, tls: XmppTls) -> Result<XmppHost, ConfigError> {
    let wrong =
        || ConfigError::new(HOST, "a host with or without a port is expected, such as localhost:5222");
    let default_port = if tls == XmppTls::Direct { 5223 } else { 5222 };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(wrong());
    }
    let port = port.map_or(Ok(default_port), str::parse).map_err(|_| wrong())?;
    Ok(XmppHost::At { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<XmppSettings, ConfigError> {
        let needed =
            [(DOMAIN, "Chat.example"), (ADMIN_JID, "admin@chat.example"), (ADMIN_PASSWORD, "secret")];
        XmppSettings::read(&Env::of(needed.into_iter().chain(values.iter().copied())))
    }

    #[test]
    fn a_host_has_a_port_or_the_usual_one() {
        let at = |host: &str, port| XmppHost::At { host: host.to_owned(), port };
        for (text, expected) in [
            ("localhost", at("localhost", 5222)),
            ("xmpp.example:5269", at("xmpp.example", 5269)),
            ("::1", at("::1", 5222)),
            ("[::1]:5", at("::1", 5)),
        ] {
            assert_eq!(read(&[(HOST, text)]).expect(text).host, expected);
        }
        assert_eq!(read(&[(HOST, "h"), (TLS, "direct")]).expect("direct").host, at("h", 5223));
        assert_eq!(read(&[]).expect("defaults").host, XmppHost::Dns);
        assert_eq!(read(&[]).expect("defaults").domain, "chat.example");
        for wrong in ["h:p", ":5222", "http://h", "a b"] {
            assert!(read(&[(HOST, wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_note_about_encryption_is_a_text_or_off() {
        let note = |text: &str| read(&[(ENCRYPTION_NOTE, text)]).map(|settings| settings.encryption_note);
        assert_eq!(read(&[]).expect("defaults").encryption_note.as_deref(), Some(USUAL_NOTE));
        assert_eq!(note("Plain text, please").expect("a text").as_deref(), Some("Plain text, please"));
        assert_eq!(note("off").expect("off"), None);
        assert!(note(&"x".repeat(LONGEST_NOTE + 1)).is_err());
    }

    #[test]
    fn without_tls_the_server_is_on_loopback() {
        assert!(read(&[(TLS, "off"), (HOST, "127.0.0.1:5222")]).is_ok());
        assert!(read(&[(TLS, "off"), (HOST, "localhost")]).is_ok());
        for host in ["", "192.0.2.1", "localhost.example"] {
            assert_eq!(read(&[(TLS, "off"), (HOST, host)]).expect_err(host).variable, TLS);
        }
        assert!(read(&[(TLS, "yes")]).is_err());
    }

    #[test]
    fn what_is_needed_is_named_and_the_password_is_not_shown() {
        assert_eq!(XmppSettings::read(&Env::default()).expect_err("none").variable, DOMAIN);
        for jid in ["admin", "admin@", "@chat.example", "a@b/c"] {
            assert_eq!(read(&[(ADMIN_JID, jid)]).expect_err(jid).variable, ADMIN_JID);
        }
        assert!(!format!("{:?}", read(&[]).expect("settings")).contains("secret"));
    }
}
