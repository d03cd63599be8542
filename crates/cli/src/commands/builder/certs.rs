//! Makes and renews certificates.

use std::time::SystemTime;

use archway_buildkit::certs::{self, Bundle, Certificate};
use jiff::{Timestamp, tz::TimeZone};

use crate::{args::BuilderCertsArgs, error::CliError};

pub(super) fn run(args: &BuilderCertsArgs) -> Result<(), CliError> {
    let (order, secret, now) = (args.order()?, args.secret()?, SystemTime::now());
    let bundle = match args.rotate {
        true => certs::rotate(&args.dir, &order, now)?,
        false => certs::create(&args.dir, &order, now)?,
    };
    anstream::eprint!("{}", summary(args, &bundle));
    if let Some(name) = secret {
        let secrets = certs::secrets(&bundle, &name);
        anstream::println!("{}", serde_json::to_string_pretty(&secrets).expect("plain data"));
    }
    Ok(())
}

fn summary(args: &BuilderCertsArgs, bundle: &Bundle) -> String {
    let directory = args.dir.display();
    let names: Vec<String> = bundle.server.certificate.names.iter().map(ToString::to_string).collect();
    let (server, client) = (&bundle.server.certificate, &bundle.client.certificate);
    let mut text =
        format!("{directory}/ca.pem: the authority, valid until {}\n", until(&bundle.authorities[0]));
    for before in &bundle.authorities[1..] {
        text += &format!("{directory}/ca.pem: the one before, trusted until {}\n", until(before));
    }
    text += &format!("{directory}/server: for {}, valid until {}\n", names.join(", "), until(server));
    text += &format!("{directory}/client: for {}, valid until {}\n", client.common_name, until(client));
    if args.rotate {
        text += "restart daemons with the new files of server, in any order; clients read theirs anew each time\n";
    }
    text
}

/// The day, in UTC.
fn until(certificate: &Certificate) -> String {
    Timestamp::try_from(certificate.not_after)
        .map(|time| time.to_zoned(TimeZone::UTC).date().to_string())
        .unwrap_or_default()
}
