//! The options by which a run and its workers prove themselves to each other.

use std::path::PathBuf;

use clap::Args;

use crate::engine::Certificates;

/// Certificates, all of them or none.
#[derive(Args, Debug)]
pub(super) struct CertificatesArgs {
    /// The certificate of this end of the links between a run and its workers, in PEM: they are encrypted, and both ends
    /// prove themselves. The run's is for the name or the address that workers join at
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"])]
    cert: Option<PathBuf>,
    /// The private key of `--cert`, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The certificate, in PEM, of whoever signed those of the run and of its workers: who has none of it is hung up on
    #[arg(long, value_name = "FILE", requires = "cert")]
    ca: Option<PathBuf>,
}

impl CertificatesArgs {
    /// Returns the files; `None` where links are clear.
    pub(super) fn files(&self) -> Option<Certificates> {
        let (Some(cert), Some(key), Some(ca)) = (&self.cert, &self.key, &self.ca) else { return None };
        Some(Certificates { cert: cert.clone(), key: key.clone(), ca: ca.clone() })
    }
}
