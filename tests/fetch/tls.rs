//! Untrusted https URLs: the certificate must match the name and come from an authority that this machine trusts.
//!
//! The trusted authorities come from a file that the environment names, so the test runs itself again with an
//! environment that names the authority of the test, and a proxy that must not be used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use windu::fetch::{FetchError, UntrustedError};

use crate::site::{Canary, Names, Reply, answer, fetch, get, serve};

type Authority = Issuer<'static, KeyPair>;

/// The variable for the file of trusted authorities, which OpenSSL uses too.
const TRUSTED: &str = "SSL_CERT_FILE";

fn authority() -> (Authority, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A server with a certificate for `name` that expires at the end of the year; returns its port.
async fn server(tasks: &mut JoinSet<()>, authority: &Authority, name: &str, year: i32) -> u16 {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate: CertificateDer<'static> = params.signed_by(&key, authority).unwrap().into();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that refuses the certificate disconnects.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let _ = serve(stream, &|_| Reply::Bytes(answer(200, &[], "sealed")), |_| {}).await;
        }
    });
    port
}

#[test]
fn the_certificate_is_checked_and_no_proxy_is_asked() {
    let folder = TempDir::new().unwrap();
    let trusted = folder.path().join("trusted.pem");
    // The rest is made where it is used; the test writes its authority here before its first request.
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "tls::with_an_authority_of_our_own", "--ignored", "--nocapture"]);
    again.env(TRUSTED, &trusted).env_remove("SSL_CERT_DIR");
    // A proxy would learn every URL and could reach any address.
    let proxy = Canary::start("127.0.0.1:0");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        let value = format!("http://{}", proxy.address);
        again.env(name, &value).env(name.to_lowercase(), value);
    }
    let status = again.env_remove("NO_PROXY").env_remove("no_proxy").status().unwrap();
    assert!(status.success() && trusted.exists(), "{status}");
    proxy.assert_untouched("a proxy of the environment");
}

#[tokio::test]
#[ignore = "run by the_certificate_is_checked_and_no_proxy_is_asked"]
async fn with_an_authority_of_our_own() {
    let file: OsString = std::env::var_os(TRUSTED).expect("the file of authorities");
    let file: PathBuf = Path::new(&file).to_owned();
    let fetch = fetch(&["127.0.0.1/32"], Names::of(&[("site.test", &[&["127.0.0.1"]])]));
    let (trusted, pem) = authority();
    std::fs::write(file, pem).unwrap();
    let (unknown, _) = authority();
    let mut tasks = JoinSet::new();

    let good = server(&mut tasks, &trusted, "site.test", 2100).await;
    let (given, content) = get(&fetch, &format!("https://site.test:{good}/photo.png")).await.unwrap();
    assert_eq!((given.size, content.as_slice()), (6, b"sealed".as_slice()));

    let of_another_name = server(&mut tasks, &trusted, "other.test", 2100).await;
    let expired = server(&mut tasks, &trusted, "site.test", 2020).await;
    let of_an_unknown_authority = server(&mut tasks, &unknown, "site.test", 2100).await;
    for (port, which) in [
        (of_another_name, "of another name"),
        (expired, "expired"),
        (of_an_unknown_authority, "of an unknown authority"),
    ] {
        let outcome = get(&fetch, &format!("https://site.test:{port}/")).await;
        let refused = matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotConnected(_))));
        assert!(refused, "{which}: {outcome:?}");
    }
    // The certificate must match the host of the URL, not the address.
    let outcome = get(&fetch, &format!("https://127.0.0.1:{good}/")).await;
    assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotConnected(_)))), "{outcome:?}");
}
