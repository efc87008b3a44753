//! The private certificate authority of a test process, and certificates for its servers: good ones, and those that a
//! client must refuse.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// What kind of certificate a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// For the server's names, from the authority of [`authority_pem`].
    Good,
    /// From the same authority for another domain.
    WrongName,
    /// For the server's names from the same authority, but it ended years ago.
    Expired,
    /// For the server's names from another authority.
    UnknownAuthority,
}

/// A certificate with its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("Authority of the tests"));

/// The certificate of the authority that clients trust.
pub fn authority_pem() -> &'static str {
    &AUTHORITY.pem
}

impl Certificate {
    /// A certificate for a server of `domain` with its rooms and uploads, on this machine.
    pub fn issue(self, domain: &str) -> Issued {
        let domain = if self == Self::WrongName { "other.example" } else { domain };
        let parts = ["rooms", "upload", "pubsub", "vjud"];
        let mut names = vec![domain.to_owned()];
        names.extend(parts.map(|part| format!("{part}.{domain}")));
        if self != Self::WrongName {
            names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        }
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, domain);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if self == Self::Expired { 2021 } else { 2100 }, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A server is also a client: of other servers.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = if self == Self::UnknownAuthority {
            params.signed_by(&key, &Authority::new("Authority that nobody knows").issuer)
        } else {
            params.signed_by(&key, &AUTHORITY.issuer)
        };
        Issued { certificate: certificate.expect("a certificate").pem(), key: key.serialize_pem() }
    }
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2101, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}
