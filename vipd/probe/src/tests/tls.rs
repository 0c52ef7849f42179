//! SSL_GET and TLS of TEXT_CHECK, with certificates made here.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{sync::mpsc, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};
use vipd_balance::{HttpProtocol, HttpUrl, TlsSettings};

use super::*;

/// An authority, a server's certificate for `www.example` and 127.0.0.1, and a client's; in files too.
struct Certificates {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("vipd-probe-tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        Self { directory, authority }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn signed(&self, names: &[&str]) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.authority).unwrap();
        let (pem, key_pem) = (certificate.pem(), key.serialize_pem());
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap(), pem, key_pem)
    }

    /// A server of HTTPS; it tells the name that it is asked for. Closes without close_notify.
    async fn https(&self, names: &[&str], clients: bool) -> (SocketAddr, mpsc::Receiver<Option<String>>) {
        let (certificate, key, ..) = self.signed(names);
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = Arc::new(builder.with_single_cert(vec![certificate], key).unwrap());
        let (tx, rx) = mpsc::channel(10);
        let address = serve(move |stream| {
            let (acceptor, tx) = (TlsAcceptor::from(config.clone()), tx.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                tx.send(stream.get_ref().1.server_name().map(str::to_owned)).await.unwrap();
                read_request(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nsecret").await;
                let _ = stream.flush().await;
            }
        })
        .await;
        (address, rx)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn ssl_get(to: SocketAddr, tls: TlsSettings) -> ProbeSpec {
    let url = HttpUrl { regex: Some("^secret$".to_owned()), ..HttpUrl::new("/") };
    // A busy machine takes its time for handshakes and files.
    let peer = ProbePeer { connect_timeout: Duration::from_secs(30), ..ProbePeer::new(to) };
    ProbeSpec::Http { peer, tls: Some(tls), protocol: HttpProtocol::V1_0, head: false, urls: vec![url] }
}

fn named(name: Option<&str>, verify: Option<&str>) -> TlsSettings {
    TlsSettings {
        server_name: name.map(str::to_owned),
        client_certificate: None,
        verify: verify.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_certificate_is_verified_only_on_request() {
    let certificates = Certificates::new("verify");
    let (server, mut names) = certificates.https(&["www.example", "127.0.0.1"], false).await;
    let ca = certificates.path("ca.pem");
    let unknown = "fail: TLS handshake: invalid peer certificate: UnknownIssuer";
    for (name, verify, expect) in [
        (None, None, "pass"),
        (Some("other.example"), None, "pass"),
        (Some("www.example"), Some(ca.as_str()), "pass"),
        (None, Some(&ca), "pass"),
        // Of the system, which does not know this authority.
        (Some("www.example"), Some(""), unknown),
    ] {
        assert_eq!(outcome(&ssl_get(server, named(name, verify))).await, expect, "{name:?} {verify:?}");
        if expect == "pass" {
            assert_eq!(names.recv().await.unwrap().as_deref(), name, "server name indication");
        }
    }
    let wrong = outcome(&ssl_get(server, named(Some("other.example"), Some(&ca)))).await;
    assert!(wrong.contains("certificate not valid for name \"other.example\""), "{wrong}");
    let text = ProbeSpec::Text {
        peer: impatient(server),
        udp: false,
        tls: Some(named(Some("www.example"), Some(&ca))),
        send: b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        expect: Some("secret".to_owned()),
    };
    assert_eq!(outcome(&text).await, "pass");
}

#[tokio::test]
async fn a_client_certificate_is_given() {
    let certificates = Certificates::new("client");
    let (server, _names) = certificates.https(&["www.example"], true).await;
    let (.., pem, key) = certificates.signed(&["client"]);
    let paths = (certificates.path("client.pem"), certificates.path("client.key"));
    fs::write(&paths.0, pem).unwrap();
    fs::write(&paths.1, key).unwrap();
    let tls = TlsSettings { client_certificate: Some(paths.clone()), ..TlsSettings::default() };
    assert_eq!(outcome(&ssl_get(server, tls)).await, "pass");
    let without = outcome(&ssl_get(server, TlsSettings::default())).await;
    assert!(without.starts_with("fail: ") && without.contains("CertificateRequired"), "{without}");
}

/// Files that are missing are this host's fault. They are read once, until the next reload.
#[tokio::test]
async fn missing_files_are_no_verdict() {
    let certificates = Certificates::new("files");
    let (server, _names) = certificates.https(&["www.example"], false).await;
    let missing = certificates.path("missing.pem");
    let context = context();
    let spec = ssl_get(server, named(Some("www.example"), Some(&missing)));
    let got = async || text(&checkers::run(&spec, &context).await.0);
    let not_sent = got().await;
    assert!(not_sent.starts_with("not sent: cannot read ") && not_sent.contains("missing.pem"), "{not_sent}");
    fs::write(&missing, "no certificate").unwrap();
    assert!(got().await.ends_with("no certification authority was found"));
    fs::copy(certificates.path("ca.pem"), &missing).unwrap();
    assert_eq!(got().await, "pass");
    fs::remove_file(&missing).unwrap();
    assert_eq!(got().await, "pass");
    context.tls.clear();
    assert!(got().await.starts_with("not sent: "));
    let tls = TlsSettings {
        client_certificate: Some((certificates.path("ca.pem"), missing)),
        ..TlsSettings::default()
    };
    assert!(outcome(&ssl_get(server, tls)).await.starts_with("not sent: cannot read "));
}

#[tokio::test]
async fn what_is_no_tls_fails() {
    let secret = TlsSettings::default;
    let plain =
        serve(|mut stream| async move { _ = stream.write_all(b"HTTP/1.0 400 Bad\r\n\r\n").await }).await;
    let got = outcome(&ssl_get(plain, secret())).await;
    assert!(got.starts_with("fail: TLS handshake: "), "{got}");
    let closes = serve(|_| async {}).await;
    let got = outcome(&ssl_get(closes, secret())).await;
    assert!(got.starts_with("fail: TLS handshake: "), "{got}");
    // Garbage for ever: a record of the greatest length, again and again.
    let garbage = serve(|mut stream| async move {
        let record = [&[0x16, 3, 3, 0x40, 0][..], &[0xa5; 0x4000]].concat();
        while stream.write_all(&record).await.is_ok() {}
    })
    .await;
    let got = outcome(&ssl_get(garbage, secret())).await;
    assert!(got.starts_with("fail: TLS handshake: "), "{got}");
    // A handshake message of 16 MiB that never ends.
    let endless = serve(|mut stream| async move {
        let start = [&[0x16, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff][..], &[0; 0x4000 - 4]].concat();
        let more = [&[0x16, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
        if stream.write_all(&start).await.is_ok() {
            while stream.write_all(&more).await.is_ok() {}
        }
    })
    .await;
    let got = outcome(&ssl_get(endless, secret())).await;
    assert!(got.starts_with("fail: TLS handshake: "), "{got}");
    let hung = serve(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let mut spec = ssl_get(hung, secret());
    if let ProbeSpec::Http { peer, .. } = &mut spec {
        peer.connect_timeout = Duration::from_millis(300);
    }
    assert_eq!(outcome(&spec).await, "fail: TLS handshake: no answer within 0.3 s");
}
