//! Certificates that connections are made with.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};

/// Files in PEM form, and the name a server has to have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tls {
    /// `--cacert`: certificates that the server's must come from. Several while they are rotated.
    pub cacert: PathBuf,
    /// `--cert`: this client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// `--key`: its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// `--server-name`: the name in the server's certificate, if it is not that of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or is no PEM.
    #[error("cannot read {what} in {path}")]
    File {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// There is nothing of the kind in it.
    #[error("{path} holds no certificate")]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {key} is not that of the certificate in {cert}")]
    OtherKey {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Certificate or key are of a kind that is not known.
    #[error("the client certificate in {cert} cannot be used")]
    Client {
        /// The certificate.
        cert: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate authority that is none.
    #[error("{path} holds a certificate that cannot be one of an authority")]
    Authority {
        /// Where.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the files. They are read for each connection, so that rotated certificates are used by the next.
    ///
    /// # Errors
    /// A file that is not there or not what it should be.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.cacert, "certificates of authorities")? {
            let wrong = |source| TlsError::Authority { path: self.cacert.clone(), source };
            roots.add(certificate).map_err(wrong)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert, "the client's certificate")?;
                let file = |source| TlsError::File { what: "the client's key", path: key.clone(), source };
                let secret = PrivateKeyDer::from_pem_file(key).map_err(file)?;
                builder.with_client_auth_cert(chain, secret).map_err(|source| match source {
                    rustls::Error::InconsistentKeys(_) => {
                        TlsError::OtherKey { cert: cert.clone(), key: key.clone() }
                    }
                    source => TlsError::Client { cert: cert.clone(), source },
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(path: &PathBuf, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { what, path: path.clone(), source };
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)?;
    match found.is_empty() {
        true => Err(TlsError::Empty { path: path.clone() }),
        false => Ok(found),
    }
}
