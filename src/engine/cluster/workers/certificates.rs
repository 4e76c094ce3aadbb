//! Certificates by which a run and its workers prove themselves, and the rules of the links that they make.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection, version,
};
use tomoflow_connectors::reading;

use super::super::ClusterError;

/// No file of certificates is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// The files by which one end of a link proves itself, and judges the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The certificate of this end, in PEM, its own first and then those between it and the authority's.
    pub cert: PathBuf,
    /// The private key of that certificate, in PEM.
    pub key: PathBuf,
    /// The certificates, in PEM, of the authority that signs those of both ends.
    pub ca: PathBuf,
}

/// How a run meets those who call.
pub struct Called(Arc<ServerConfig>);

/// How a worker calls a run.
pub struct Caller(Arc<ClientConfig>);

/// What the files hold.
struct Held {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Certificates {
    fn held(&self) -> Result<Held, ClusterError> {
        let mut roots = RootCertStore::empty();
        for one in certificates(&self.ca)? {
            roots.add(one).map_err(|why| wrong(&self.ca, why))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&bytes(&self.key)?);
        let key = key.map_err(|_| wrong(&self.key, "a private key in PEM expected, none found"))?;
        Ok(Held { chain: certificates(&self.cert)?, key, roots: Arc::new(roots) })
    }

    /// The rules for a run: whoever calls has a certificate of the authority.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn called(&self) -> Result<Called, ClusterError> {
        let Held { chain, key, roots } = self.held()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let verifier = verifier.map_err(|why| wrong(&self.ca, why))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|why| wrong(&self.cert, why))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|why| wrong(&self.cert, why))?;
        // Every link proves itself anew.
        config.send_tls13_tickets = 0;
        Ok(Called(Arc::new(config)))
    }

    /// The rules for a worker: the run has a certificate of the authority, for the name by which it is called.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn caller(&self) -> Result<Caller, ClusterError> {
        let Held { chain, key, roots } = self.held()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|why| wrong(&self.cert, why))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        let mut config = config.map_err(|why| wrong(&self.cert, why))?;
        config.resumption = Resumption::disabled();
        Ok(Caller(Arc::new(config)))
    }
}

impl Called {
    /// Begins a conversation with whoever calls.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn session(&self) -> io::Result<Connection> {
        ServerConnection::new(self.0.clone()).map(Connection::Server).map_err(io::Error::other)
    }
}

impl Caller {
    /// Begins a conversation with the run at `host:port`.
    ///
    /// # Errors
    /// When the host is no name that a certificate can have.
    pub fn session(&self, address: &str) -> io::Result<Connection> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let unfit = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = ServerName::try_from(host).map_err(|error| unfit(error.to_string()))?;
        let session = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        Ok(Connection::Client(session))
    }
}

/// Reads all certificates of a file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    let bytes = bytes(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(wrong(path, "certificates in PEM expected, none found")),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, ClusterError> {
    reading::beginning(path, LONGEST).map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, why: impl ToString) -> ClusterError {
    ClusterError::Certificate { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns the path of a certificate that tests have.
    pub fn place(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/certificates").join(name)
    }

    /// Returns the files of somebody whom the authority of the tests knows; `stranger` has one of their own.
    pub fn files(name: &str) -> Certificates {
        let ca = if name == "stranger" { "stranger-ca.pem" } else { "ca.pem" };
        Certificates {
            cert: place(&format!("{name}.pem")),
            key: place(&format!("{name}.key")),
            ca: place(ca),
        }
    }

    #[test]
    fn files_that_are_not_what_they_should_be_are_named() {
        let run = files("run");
        assert!(run.called().is_ok() && run.caller().is_ok());
        let refused = |files: Certificates| match (files.called(), files.caller()) {
            (
                Err(ClusterError::Certificate { path, why }),
                Err(ClusterError::Certificate { path: other, .. }),
            ) => {
                assert_eq!(path, other);
                (path, why)
            }
            _ => panic!("refused expected: {files:?}"),
        };
        let absent = place("absent.pem");
        assert_eq!(refused(Certificates { ca: absent.clone(), ..run.clone() }).0, absent);
        // A key where certificates belong, the reverse, and the key of another certificate.
        let (path, why) = refused(Certificates { cert: run.key.clone(), ..run.clone() });
        assert_eq!((path, &*why), (run.key.clone(), "certificates in PEM expected, none found"));
        let (path, why) = refused(Certificates { key: run.cert.clone(), ..run.clone() });
        assert_eq!((path, &*why), (run.cert.clone(), "a private key in PEM expected, none found"));
        let (path, _) = refused(Certificates { key: files("worker").key, ..run.clone() });
        assert_eq!(path, run.cert);
    }
}
