//! Which certificates there are to be. No I/O: what there is comes in, what there is to be goes out.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::OffsetDateTime;

use super::{CLIENT, Certificate, CertsError, DAY, LONGEST_VALIDITY, Name, Order};

/// How long an authority is valid, at least.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(365 * DAY);
/// How far in the past validity begins, for machines whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
const SHORTEST_VALIDITY: Duration = Duration::from_secs(60);

/// An authority, and what it issued.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Who is trusted: the authority, then those before it that have not expired.
    pub authorities: Vec<Certificate>,
    /// The authority's key, PEM.
    pub authority_key: String,
    /// The authority, signed by the one before, and so on; sent along with certificates.
    pub cross: Vec<Certificate>,
    /// For daemons.
    pub server: Leaf,
    /// For those who use them.
    pub client: Leaf,
}

/// A certificate that is no authority's.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key, PEM.
    pub key: String,
}

/// What certificates are renewed from.
#[derive(Debug, Clone)]
pub(super) struct Present {
    /// Who is trusted, in any order.
    pub(super) authorities: Vec<Certificate>,
    /// The authority's key, PEM.
    pub(super) authority_key: String,
    /// See [`Bundle::cross`].
    pub(super) cross: Vec<Certificate>,
    /// What the present server's certificate is for.
    pub(super) server: Vec<Name>,
    /// How the present client is called.
    pub(super) client: Option<String>,
}

struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Bundle {
    /// A new authority and what it issues.
    ///
    /// # Errors
    /// [`CertsError::NoServer`], [`CertsError::Validity`].
    pub fn new(order: &Order, now: SystemTime) -> Result<Self, CertsError> {
        check(order)?;
        let authority = Authority::new(order.validity, now)?;
        Self::issue(&authority, vec![authority.certificate.clone()], Vec::new(), order, now)
    }

    /// New certificates for those that are there. The authority is replaced when it would expire before the new
    /// certificates, or within half a year.
    pub(super) fn renew(present: Present, order: &Order, now: SystemTime) -> Result<Self, CertsError> {
        let mut order = order.clone();
        if order.server.is_empty() {
            order.server = present.server;
        }
        order.client = order.client.or(present.client);
        check(&order)?;
        let is_valid = |certificate: &Certificate| certificate.not_after > now;
        let (authority, mut authorities) = Authority::find(present.authorities, &present.authority_key)?;
        authorities.retain(is_valid);
        let mut cross = present.cross;
        cross.retain(is_valid);
        let lasts_until = now + order.validity.max(AUTHORITY_VALIDITY / 2);
        if authority.certificate.not_after >= lasts_until {
            authorities.insert(0, authority.certificate.clone());
            return Self::issue(&authority, authorities, cross, &order, now);
        }
        let next = Authority::new(order.validity, now)?;
        if is_valid(&authority.certificate) {
            cross.insert(0, authority.cross_certificate(&next, now)?);
            authorities.insert(0, authority.certificate);
        }
        authorities.insert(0, next.certificate.clone());
        Self::issue(&next, authorities, cross, &order, now)
    }

    fn issue(
        authority: &Authority,
        authorities: Vec<Certificate>,
        cross: Vec<Certificate>,
        order: &Order,
        now: SystemTime,
    ) -> Result<Self, CertsError> {
        let names = order.server.iter().map(|name| {
            Ok(match name {
                Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                Name::Address(address) => SanType::IpAddress(*address),
            })
        });
        let mut server = params(&order.server[0].to_string(), now, now + order.validity);
        server.subject_alt_names = names.collect::<Result<_, rcgen::Error>>()?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = params(order.client.as_deref().unwrap_or(CLIENT), now, now + order.validity);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(Self {
            authorities,
            authority_key: authority.key.serialize_pem(),
            cross,
            server: authority.leaf(server)?,
            client: authority.leaf(client)?,
        })
    }

    /// Who is trusted, as a PEM file.
    pub fn trusted(&self) -> String {
        self.authorities.iter().map(Certificate::pem).collect()
    }

    /// A certificate with what has to be sent along with it, as a PEM file.
    pub fn chain(&self, leaf: &Leaf) -> String {
        [&leaf.certificate].into_iter().chain(&self.cross).map(Certificate::pem).collect()
    }
}

impl Authority {
    fn new(leaf_validity: Duration, now: SystemTime) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let identifier = CertificateParams::default().key_identifier(&key);
        let name = format!("archway builders {}", hex::encode(&identifier[..4]));
        let params = authority_params(&name, now, now + AUTHORITY_VALIDITY.max(leaf_validity * 2));
        let certificate = read(&params.self_signed(&key)?)?;
        Ok(Self { certificate, key })
    }

    /// The one of the certificates that a key belongs to, and the others.
    fn find(mut certificates: Vec<Certificate>, key: &str) -> Result<(Self, Vec<Certificate>), CertsError> {
        let key = KeyPair::from_pem(key)?;
        let public_key = key.subject_public_key_info();
        let index = certificates.iter().position(|certificate| certificate.public_key == public_key);
        let certificate = certificates.remove(index.ok_or(CertsError::ForeignKey)?);
        Ok((Self { certificate, key }, certificates))
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        let now = SystemTime::UNIX_EPOCH;
        Issuer::new(authority_params(&self.certificate.common_name, now, now), &self.key)
    }

    fn leaf(&self, mut params: CertificateParams) -> Result<Leaf, CertsError> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = self.signed(&params, &key)?;
        Ok(Leaf { certificate, key: key.serialize_pem() })
    }

    /// The next authority, for those who trust this one only.
    fn cross_certificate(&self, next: &Self, now: SystemTime) -> Result<Certificate, CertsError> {
        let until = self.certificate.not_after;
        self.signed(&authority_params(&next.certificate.common_name, now, until), &next.key)
    }

    fn signed(&self, params: &CertificateParams, key: &KeyPair) -> Result<Certificate, CertsError> {
        let certificate = read(&params.signed_by(key, &self.issuer())?)?;
        match certificate.issuer == self.certificate.subject {
            true => Ok(certificate),
            false => Err(CertsError::ForeignAuthority),
        }
    }
}

fn check(order: &Order) -> Result<(), CertsError> {
    if order.server.is_empty() {
        return Err(CertsError::NoServer);
    }
    match (SHORTEST_VALIDITY..=LONGEST_VALIDITY).contains(&order.validity) {
        true => Ok(()),
        false => Err(CertsError::Validity),
    }
}

fn params(name: &str, from: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from(from.checked_sub(CLOCK_SKEW).unwrap_or(from));
    params.not_after = OffsetDateTime::from(until);
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority_params(name: &str, from: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = params(name, from, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn read(certificate: &rcgen::Certificate) -> Result<Certificate, CertsError> {
    Certificate::parse(certificate.der().clone())
        .ok_or(CertsError::Issue(rcgen::Error::CouldNotParseCertificate))
}

#[cfg(test)]
mod tests;
