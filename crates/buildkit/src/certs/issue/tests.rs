use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
    time_provider::TimeProvider,
};

use super::*;

const NAME: &str = "builder.example";
const VALIDITY: Duration = Duration::from_secs(30 * DAY);

fn day(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + day) * DAY)
}

fn order() -> Order {
    Order { server: vec![NAME.parse().unwrap()], client: None, validity: VALIDITY }
}

/// Renewed as it is from files.
fn renew(bundle: &Bundle, now: SystemTime) -> Bundle {
    let read = |pem: String| Certificate::parse_pem(pem.as_bytes()).unwrap();
    let present = Present {
        authorities: read(bundle.trusted()),
        authority_key: bundle.authority_key.clone(),
        cross: read(bundle.cross.iter().map(Certificate::pem).collect()),
        server: bundle.server.certificate.names.clone(),
        client: Some(bundle.client.certificate.common_name.clone()),
    };
    Bundle::renew(present, &Order { server: Vec::new(), ..order() }, now).unwrap()
}

#[derive(Debug)]
struct Clock(SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.duration_since(SystemTime::UNIX_EPOCH).ok()?))
    }
}

/// What a process that read its files at some time has: roots, chain, key.
struct Files(RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn files(bundle: &Bundle, leaf: &Leaf) -> Files {
    let read =
        |pem: String| CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect::<Vec<_>>();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read(bundle.trusted()));
    Files(roots, read(bundle.chain(leaf)), PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
}

/// A handshake between a server and a client that read their files from these directories.
fn handshake(server: &Bundle, client: &Bundle, now: SystemTime) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clock = Arc::new(Clock(now));
    let Files(roots, chain, key) = files(server, &server.server);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_details(provider.clone(), clock.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let mut server = ServerConnection::new(config.into())?;
    let Files(roots, chain, key) = files(client, &client.client);
    let config = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let mut client = ClientConnection::new(config.into(), ServerName::try_from(NAME).unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn leaves_are_renewed_and_the_authority_stays_while_it_lasts() {
    let first = Bundle::new(&order(), day(0)).unwrap();
    let second = renew(&first, day(20));
    assert_eq!(second.authorities, first.authorities);
    assert!(second.cross.is_empty());
    assert_ne!(second.server.key, first.server.key);
    assert_eq!(second.server.certificate.names, [NAME.parse().unwrap()]);
    assert_eq!(second.server.certificate.not_after, day(50));
    assert_eq!(second.client.certificate.common_name, CLIENT);
}

#[test]
fn who_comes_to_new_files_and_when_does_not_matter() {
    let old = Bundle::new(&order(), day(0)).unwrap();
    // Half a year is over: a new authority. The old leaves are those of a month before.
    let old = renew(&old, day(170));
    let new = renew(&old, day(190));
    assert_eq!((new.authorities.len(), new.cross.len()), (2, 1));
    assert_eq!(new.authorities[1], old.authorities[0], "the one before stays trusted");
    let now = day(195);
    for (server, client, which) in [
        (&old, &old, "both old"),
        (&old, &new, "new client"),
        (&new, &old, "new server"),
        (&new, &new, "both new"),
    ] {
        handshake(server, client, now).unwrap_or_else(|error| panic!("{which}: {error}"));
    }
    // Leaves that are renewed later are still sent with what those who have old files need.
    let later = renew(&new, day(198));
    assert_eq!(later.authorities, new.authorities);
    handshake(&later, &old, day(199)).unwrap();
    handshake(&old, &later, day(199)).unwrap();
    // Others are not let in.
    let other = Bundle::new(&order(), day(190)).unwrap();
    assert!(handshake(&new, &other, now).is_err());
    assert!(handshake(&other, &new, now).is_err());
    assert!(handshake(&old, &old, day(201)).is_err(), "certificates of a month have expired");
}

#[test]
fn an_authority_is_trusted_until_it_expires_and_no_longer() {
    let first = Bundle::new(&order(), day(0)).unwrap();
    let second = renew(&first, day(190));
    let third = renew(&second, day(366));
    assert!(!third.authorities.contains(&first.authorities[0]));
    assert!(third.cross.is_empty(), "nobody trusts the one before only");
    assert_eq!(third.authorities, second.authorities[..1]);
    // A directory that was forgotten for years.
    let forgotten = renew(&first, day(2000));
    assert_eq!((forgotten.authorities.len(), forgotten.cross.len()), (1, 0));
    handshake(&forgotten, &forgotten, day(2001)).unwrap();
}

#[test]
fn an_authority_outlives_what_it_issues() {
    let years = Order { validity: Duration::from_secs(3 * 365 * DAY), ..order() };
    let bundle = Bundle::new(&years, day(0)).unwrap();
    assert_eq!(bundle.authorities[0].not_after, day(6 * 365));
    let short = Bundle::new(&order(), day(0)).unwrap();
    let present = Present {
        authorities: short.authorities.clone(),
        authority_key: short.authority_key.clone(),
        cross: Vec::new(),
        server: Vec::new(),
        client: None,
    };
    let renewed = Bundle::renew(present, &years, day(1)).unwrap();
    assert_eq!(renewed.authorities.len(), 2, "one year is not enough for three");
    assert!(renewed.authorities[0].not_after > renewed.server.certificate.not_after);
}

#[test]
fn servers_and_clients_are_not_each_other() {
    let bundle = Bundle::new(&order(), day(0)).unwrap();
    let mut swapped = bundle.clone();
    std::mem::swap(&mut swapped.server, &mut swapped.client);
    let refused = |result: Result<(), rustls::Error>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, rustls::Error::InvalidCertificate(_)), "{error}");
    };
    refused(handshake(&bundle, &swapped, day(1)));
    refused(handshake(&swapped, &bundle, day(1)));
}

#[test]
fn clocks_may_be_behind() {
    let bundle = Bundle::new(&order(), day(1)).unwrap();
    handshake(&bundle, &bundle, day(1) - CLOCK_SKEW).unwrap();
    assert!(handshake(&bundle, &bundle, day(0)).is_err());
}

#[test]
fn what_cannot_be_issued_is_refused() {
    let bundle = |order: &Order| Bundle::new(order, day(0)).map(drop);
    assert!(matches!(bundle(&Order { server: Vec::new(), ..order() }), Err(CertsError::NoServer)));
    for seconds in [0, 59, 11 * 365 * DAY] {
        let order = Order { validity: Duration::from_secs(seconds), ..order() };
        assert!(matches!(bundle(&order), Err(CertsError::Validity)), "{seconds}");
    }
    let (one, other) = (Bundle::new(&order(), day(0)).unwrap(), Bundle::new(&order(), day(0)).unwrap());
    let present = Present {
        authorities: one.authorities,
        authority_key: other.authority_key,
        cross: Vec::new(),
        server: Vec::new(),
        client: None,
    };
    assert!(matches!(Bundle::renew(present, &order(), day(1)), Err(CertsError::ForeignKey)));
}
