//! A certificate, and what can be read in it.

use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_cert::{
    Certificate as Parsed,
    der::{Decode as _, Encode as _},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::Name;

/// A certificate (RFC 5280), and what can be read in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// What it calls its owner; empty if it does not.
    pub common_name: String,
    /// What a server with it is reached by.
    pub names: Vec<Name>,
    /// Subject, issuer and public key, DER.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads one; `None`: it is none.
    pub fn parse(der: CertificateDer<'static>) -> Option<Self> {
        let parsed = Parsed::from_der(&der).ok()?;
        let content = parsed.tbs_certificate();
        let alternative = content.get_extension::<SubjectAltName>().ok()?;
        let names = alternative.iter().flat_map(|(_, names)| &names.0).filter_map(name).collect();
        let common_name = content.subject().common_name().ok()?.map(|name| name.value().into_owned());
        Some(Self {
            not_before: content.validity().not_before.to_system_time(),
            not_after: content.validity().not_after.to_system_time(),
            common_name: common_name.unwrap_or_default(),
            names,
            subject: content.subject().to_der().ok()?,
            issuer: content.issuer().to_der().ok()?,
            public_key: content.subject_public_key_info().to_der().ok()?,
            der,
        })
    }

    /// All certificates of a PEM file, in order; `None`: one of them cannot be read.
    pub fn parse_pem(text: &[u8]) -> Option<Vec<Self>> {
        CertificateDer::pem_slice_iter(text).map(|der| Self::parse(der.ok()?)).collect()
    }

    /// As a block of a PEM file.
    pub fn pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.to_vec()), config)
    }
}

fn name(name: &GeneralName) -> Option<Name> {
    match name {
        GeneralName::DnsName(name) => Some(Name::Dns(name.as_str().to_owned())),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(Into::into);
            four.or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into)).ok().map(Name::Address)
        }
        _ => None,
    }
}
