//! TLS of probes: unverified unless `verify` asks, as keepalived has it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::OnceCell, task::spawn_blocking, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};
use vipd_balance::{ProbePeer, TlsSettings};

use super::{
    socket::connect_to_read,
    stream::{ProbeStream, TimedStream},
};
use crate::fault::{ProbeFault, error_text, seconds};

/// What the files of [`TlsSettings`] make: certificate and key, authorities.
type TlsFiles = (Option<(String, String)>, Option<String>);

/// The configurations in use. Each is made once, off the thread, by the first probe that needs it; its files are read anew after a reload.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs {
    made: Mutex<HashMap<TlsFiles, Arc<OnceCell<Arc<ClientConfig>>>>>,
}

impl TlsConfigs {
    /// Forgets all: the files may have changed.
    pub(crate) fn clear(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A connection to `peer`, over TLS if `tls` says so.
    pub(crate) async fn open(
        &self,
        peer: &ProbePeer,
        tls: Option<&TlsSettings>,
    ) -> Result<ProbeStream, ProbeFault> {
        // Before the connection: files that cannot be read are no failure of the target.
        let config = match tls {
            Some(tls) => Some((tls, self.config(peer, tls).await?)),
            None => None,
        };
        let stream = TimedStream::new(connect_to_read(peer).await?, peer.connect_timeout);
        let Some((tls, config)) = config else { return Ok(ProbeStream::Plain(stream)) };
        let name = server_name(peer, tls)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream =
            stream.map_err(|error| ProbeFault::failed(format!("TLS handshake: {}", error_text(&error))))?;
        Ok(ProbeStream::Tls(Box::new(stream)))
    }

    async fn config(&self, peer: &ProbePeer, tls: &TlsSettings) -> Result<Arc<ClientConfig>, ProbeFault> {
        let files = (tls.client_certificate.clone(), tls.verify.clone());
        let cell = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(files.clone())
            .or_default()
            .clone();
        let make = || async {
            match spawn_blocking(move || make(&files)).await {
                Ok(made) => made.map(Arc::new).map_err(ProbeFault::NotSent),
                Err(error) => Err(ProbeFault::not_sent(format!("cannot read certificates: {error}"))),
            }
        };
        match timeout(peer.connect_timeout, cell.get_or_try_init(make)).await {
            Ok(made) => made.cloned(),
            Err(_) => {
                let limit = seconds(peer.connect_timeout);
                Err(ProbeFault::not_sent(format!("certificates could not be read within {limit}")))
            }
        }
    }
}

/// The name that is asked for, and that a verified certificate has to have. Without one it is the address, which is not sent.
fn server_name(peer: &ProbePeer, tls: &TlsSettings) -> Result<ServerName<'static>, ProbeFault> {
    match &tls.server_name {
        None => Ok(ServerName::IpAddress(peer.to.ip().into())),
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| ProbeFault::not_sent(format!("{name:?} is no server name"))),
    }
}

/// Reads the files of a configuration. An error is told in lower case.
fn make((client, verify): &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let builder = match verify {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)),
    };
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| format!("cannot read {key}: {error}"))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| format!("{certificate} and {key} cannot be used: {error}"))?
        }
    };
    // Each run is a whole handshake: a server that lost its key must not pass by an old session.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error| format!("cannot read {file}: {error}");
    CertificateDer::pem_file_iter(file).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}

/// The authorities of a file; the system's if it is empty.
fn authorities(file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (from, found) = if file.is_empty() {
        ("the system's certificates", rustls_native_certs::load_native_certs().certs)
    } else {
        (file, certificates(file)?)
    };
    // One that webpki does not understand is no reason to refuse the others.
    let (usable, _) = roots.add_parsable_certificates(found);
    if usable == 0 {
        return Err(format!("{from}: no certification authority was found"));
    }
    Ok(roots)
}

/// Accepts every certificate, and does not look at signatures: without a known identity they prove nothing.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::*;
        vec![
            ECDSA_NISTP256_SHA256,
            ECDSA_NISTP384_SHA384,
            ECDSA_NISTP521_SHA512,
            ED25519,
            ED448,
            RSA_PSS_SHA256,
            RSA_PSS_SHA384,
            RSA_PSS_SHA512,
            RSA_PKCS1_SHA256,
            RSA_PKCS1_SHA384,
            RSA_PKCS1_SHA512,
            RSA_PKCS1_SHA1,
        ]
    }
}
