//! What to do about builders that are not there, and about daemons that do not let us in.

use archway_buildkit::{
    ConnectError, SolveError,
    certs::CertsError,
    config::{ConfigError, EMBEDDED, EditError},
    session::SessionError,
    tls::TlsError,
};
use archway_orchestrator::failure::RemoteError;
use archway_report::Reason;

use super::{exit_hint, source_hint};
use crate::args::nearest;

/// What to do about a failure at a daemon.
pub(crate) fn remote_hint(error: &RemoteError) -> Option<String> {
    match error {
        RemoteError::Unavailable { source, .. } => source.as_deref().and_then(connect_hint),
        RemoteError::Solve(SolveError::Lost { .. }) => Some(
            "look at the daemon's log; `--retry 1` tries once more, at another daemon if there is one"
                .to_owned(),
        ),
        RemoteError::Solve(SolveError::Exit { code, .. }) => exit_hint(*code),
        RemoteError::Solve(SolveError::Session { source, .. }) => session_hint(source),
        RemoteError::Solve(SolveError::Daemon { failed, .. })
            if failed.step.as_deref().is_some_and(|step| step.starts_with("exporting cache")) =>
        {
            Some(
                "it is the build cache that could not be written; with ignore-error=true the build goes on"
                    .to_owned(),
            )
        }
        RemoteError::Solve(SolveError::Daemon { reason: Reason::PushFailed, .. }) => {
            Some("daemons push themselves: the registry must be reachable from where they run".to_owned())
        }
        RemoteError::Solve(_) => None,
        RemoteError::InTheClear { .. } => {
            Some("give the builder certificates: `archway builder certs`".to_owned())
        }
        RemoteError::OtherBase { .. } => {
            Some("the daemon, or a mirror that it reads from, has another image under that name".to_owned())
        }
        RemoteError::Image { .. } => {
            Some("the registry must be reachable from here as well as from the daemon".to_owned())
        }
    }
}

/// What to do about something that a daemon did not get from this machine.
fn session_hint(error: &SessionError) -> Option<String> {
    match error {
        SessionError::Source(error) => source_hint(error),
        SessionError::Registry(error) => error.hint(),
        SessionError::InTheClear { .. } => {
            Some("speak to the daemon over TLS, or use a registry that gives tokens".to_owned())
        }
        SessionError::NoSecret { id } => {
            Some(format!("give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"))
        }
        SessionError::NoAgent { id } => Some(format!("give it with --ssh {id}")),
        SessionError::Patterns { .. } | SessionError::Receive { .. } | SessionError::Agent { .. } => None,
    }
}

/// What to do about a connection that was refused.
pub(crate) fn connect_hint(error: &ConnectError) -> Option<String> {
    let hint = match error {
        ConnectError::Insecure { .. } => {
            "give certificates (--cacert, --cert, --key), which `archway builder certs` makes; --allow-insecure if this is meant"
        }
        ConnectError::Tls(error) => return tls_hint(error).map(str::to_owned),
        ConnectError::Unreachable { .. } => "is the daemon running, and is this its address?",
        ConnectError::Timeout { .. } => {
            "something is there, or drops what is sent to it: a firewall, a daemon that hangs, another service"
        }
        ConnectError::UnknownAuthority { .. } => {
            "take the ca.pem of the directory that the daemon's certificate was made in; after a rotation, copy it again"
        }
        ConnectError::ServerExpired { when: "has expired", .. } => {
            "renew it with `archway builder certs --rotate`, and restart the daemon with the new files"
        }
        ConnectError::ServerExpired { .. } => {
            "compare the clocks of this machine and of the one that made it"
        }
        ConnectError::WrongName { .. } => {
            "say the name that is in it (--server-name), or make one with this name: `archway builder certs --server`"
        }
        ConnectError::ClientCertificateRequired { .. } => {
            "give --cert and --key: cert.pem and key.pem of the directory `client` that `archway builder certs` makes"
        }
        ConnectError::ClientCertificateRefused { why, .. } if why.contains("expired") => {
            "renew it with `archway builder certs --rotate`, and take the new files of `client`"
        }
        ConnectError::ClientCertificateRefused { .. } => {
            "take cert.pem and key.pem of `client`, made in the same directory as the daemon's certificate"
        }
        ConnectError::Protocol { what, .. } if what.contains("TLS") => {
            "start the daemon with --tlscacert, --tlscert and --tlskey, or use it without certificates: --allow-insecure"
        }
        ConnectError::Protocol { .. } => {
            "give --cacert, --cert and --key if the daemon asks for certificates"
        }
        ConnectError::Ssh { .. } => {
            "`ssh HOST buildctl dial-stdio` has to work without questions: a key, a known host, buildctl in PATH"
        }
        ConnectError::TooOld { .. } => "update the daemon",
        ConnectError::NotBuildKit { .. } => "is this the port of buildkitd?",
        ConnectError::Handshake { .. } => return None,
    };
    Some(hint.to_owned())
}

fn tls_hint(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::File { .. } | TlsError::Empty { .. } => {
            Some("it has to be a file in PEM form, as `archway builder certs` makes them")
        }
        TlsError::OtherKey { .. } => {
            Some("take both from the same directory; both are replaced by a rotation")
        }
        TlsError::Client { .. } | TlsError::Authority { .. } => None,
    }
}

/// What to do about certificates that were not made.
pub(crate) fn certs_hint(error: &CertsError) -> Option<&'static str> {
    match error {
        CertsError::Exists { .. } => Some("--rotate renews what is there; or choose another --dir"),
        CertsError::Missing { .. } => Some("to make the first, leave --rotate out and give --server"),
        CertsError::NoServer => Some("give --server NAME,IP"),
        CertsError::ForeignKey | CertsError::ForeignAuthority => {
            Some("begin with an empty directory, and bring its files to daemons and clients")
        }
        CertsError::Validity
        | CertsError::File { .. }
        | CertsError::Content { .. }
        | CertsError::Issue(_) => None,
    }
}

/// What to do about a change to a builder that could not be made.
pub(crate) fn edit_hint(error: &EditError) -> Option<String> {
    Some(match error {
        EditError::Exists { name } => {
            format!("--append adds a daemon to it; `archway builder rm {name}` removes it")
        }
        EditError::NodeExists { name, endpoint } => {
            format!("to change it: `archway builder rm {name} --node {endpoint}`, then add it again")
        }
        EditError::NodeMissing { name, .. } => format!("`archway builder inspect {name}` lists its daemons"),
        EditError::Missing { .. } => {
            "`archway builder ls` lists builders; without --append, one is made".to_owned()
        }
        EditError::Spelling { .. } => "write them so, or change the file by hand".to_owned(),
    })
}

/// The nearest key of the file.
pub(crate) fn config_hint(error: &ConfigError) -> Option<String> {
    let (unknown, known) = error.unknown.as_ref()?;
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Some(match nearest(unknown, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    })
}

/// The nearest builder.
pub(crate) fn no_builder_hint(name: &str, known: &[String]) -> String {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names == [EMBEDDED] => "`archway builder create` makes one".to_owned(),
        None => format!("there is {}", names.join(", ")),
    }
}
