//! How a registry is reached: its address, and which certificates are good.

use std::{net::IpAddr, path::Path, time::Duration};

use reqwest::{Certificate, Identity};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use crate::{ClientOptions, Error};

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Where Docker keeps certificates of single registries.
const DOCKER_CERTIFICATES: &str = "/etc/docker/certs.d";

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The name under which Docker Hub's registry is reached.
pub(crate) fn address(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The registry that is reached under a name: the inverse of [`address`].
pub(crate) fn registry(address: &str) -> &str {
    match address {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The schemes to try, in order. Only loopback and hosts the user named may speak plain HTTP;
/// loopback mostly does, so it is asked that way first.
pub(crate) fn schemes(registry: &str, insecure: bool) -> &'static [Scheme] {
    match (is_loopback(registry), insecure) {
        (true, _) => &[Scheme::Http, Scheme::Https],
        (false, true) => &[Scheme::Https, Scheme::Http],
        (false, false) => &[Scheme::Https],
    }
}

/// Whether a host (with or without port) can only be this machine.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A client for plain HTTP. Loading no certificates makes it cheap.
pub(crate) fn plain_client(registry: &str, user_agent: &str) -> reqwest::Client {
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    common(registry, user_agent).tls_backend_preconfigured(tls).build().expect("the settings are valid")
}

/// A client for HTTPS to one registry: the system's authorities, the user's, and Docker's for the host.
pub(crate) fn tls_client(
    registry: &str,
    options: &ClientOptions,
    insecure: bool,
) -> Result<reqwest::Client, Error> {
    let mut builder = common(registry, &options.user_agent).tls_danger_accept_invalid_certs(insecure);
    let mut authorities: Vec<Certificate> = Vec::new();
    for path in &options.ca_files {
        authorities.extend(certificates(path)?);
    }
    let directory = Path::new(DOCKER_CERTIFICATES).join(registry);
    for path in files_with_extension(&directory, "crt") {
        authorities.extend(certificates(&path)?);
    }
    builder = builder.tls_certs_merge(authorities);
    for path in files_with_extension(&directory, "cert") {
        let problem = |problem: String| Error::Certificate { path: path.display().to_string(), problem };
        let read = |path: &Path| std::fs::read(path).map_err(|error| problem(error.to_string()));
        let mut pem = read(&path.with_extension("key"))?;
        pem.extend(read(&path)?);
        let identity = Identity::from_pem(&pem).map_err(|error| problem(error.to_string()))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| Error::Certificate {
        path: registry.to_owned(),
        problem: crate::exchange::innermost(&error),
    })
}

/// Tells rustls which cryptography to use, once in a process. For other clients than this one that are made
/// of `reqwest`.
pub fn install_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may be faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn common(registry: &str, user_agent: &str) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .connect_timeout(CONNECT_TIMEOUT)
        // Redirects are followed one by one by us: each hop decides anew about credentials.
        .redirect(reqwest::redirect::Policy::none());
    // A proxy's loopback is another machine.
    if is_loopback(registry) { builder.no_proxy() } else { builder }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let problem = |problem: String| Error::Certificate { path: path.display().to_string(), problem };
    let pem = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| problem(error.to_string()))?;
    if found.is_empty() { Err(problem("it holds no certificate".to_owned())) } else { Ok(found) }
}

fn files_with_extension(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_named_hosts_may_be_plain() {
        for (registry, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
            ("registry.example.com", false),
        ] {
            assert_eq!(is_loopback(registry), loopback, "{registry}");
            let plain = schemes(registry, false).contains(&Scheme::Http);
            assert_eq!(plain, loopback, "{registry}");
            assert!(schemes(registry, true).contains(&Scheme::Http), "{registry}");
        }
    }
}
