//! `archway builder`. Spelling follows `docker buildx` with its driver `remote`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use archway_buildkit::{
    Endpoint, Node,
    certs::{Order, SecretName, VALIDITY},
    config::{self, EMBEDDED, NameError, NodeError},
    daemon::Prune,
    tls::Tls,
};
use clap::{Args, Subcommand};

use super::{build, cache, image::Format, value};
use crate::error::CliError;

/// Keys of `--driver-opt`.
const DRIVER_OPTIONS: [&str; 4] = ["cacert", "cert", "key", "servername"];

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Add a builder: a BuildKit daemon under a name, or one more daemon under the same name
    Create(Box<BuilderCreateArgs>),
    /// List builders, and what their daemons say of themselves
    #[command(visible_alias = "list")]
    Ls(BuilderListArgs),
    /// Show one builder
    Inspect(BuilderInspectArgs),
    /// Choose the builder that is used when none is named
    Use(BuilderUseArgs),
    /// Remove a builder, or one of its daemons
    Rm(BuilderRemoveArgs),
    /// Remove what no build that goes on needs from the caches of a builder's daemons
    Prune(BuilderPruneArgs),
    /// Make or renew certificates for daemons and for those who use them
    Certs(BuilderCertsArgs),
}

/// `archway builder create`
#[derive(Debug, Args)]
pub(crate) struct BuilderCreateArgs {
    /// Name of the builder
    #[arg(value_name = "NAME")]
    first: String,

    /// Where the daemon is: tcp://HOST[:PORT], unix:///PATH or ssh://[USER@]HOST[:PORT][/PATH]
    #[arg(value_name = "ENDPOINT")]
    second: Option<String>,

    /// The name, for those who are used to buildx; ENDPOINT then stands alone
    #[arg(long = "name", value_name = "NAME", id = "named")]
    named: Option<String>,

    /// Add the daemon to a builder that is there
    #[arg(long)]
    pub(crate) append: bool,

    /// What the daemon is to be used for, comma-separated or repeated [default: what it says it can]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    /// Certificates of authorities that the daemon's certificate may come from (PEM)
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// This client's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Its key (PEM)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Name in the daemon's certificate, if it is not that of the endpoint
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Speak to the daemon over TCP in the clear
    #[arg(long)]
    allow_insecure: bool,

    /// Use this builder when none is named
    #[arg(long = "use")]
    pub(crate) select: bool,

    /// As in buildx; there is only `remote`
    #[arg(long, value_name = "DRIVER", default_value = "remote", hide_default_value = true)]
    driver: String,

    /// As in buildx: cacert=FILE, cert=FILE, key=FILE, servername=NAME; comma-separated or repeated
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
}

/// `archway builder ls`
#[derive(Debug, Args)]
pub(crate) struct BuilderListArgs {
    /// How they are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `archway builder inspect`
#[derive(Debug, Args)]
pub(crate) struct BuilderInspectArgs {
    /// Name of the builder [default: the current one]
    pub(crate) name: Option<String>,

    /// How it is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `archway builder use`
#[derive(Debug, Args)]
pub(crate) struct BuilderUseArgs {
    /// Name of the builder; `embedded` is this machine
    pub(crate) name: String,
}

/// `archway builder rm`
#[derive(Debug, Args)]
pub(crate) struct BuilderRemoveArgs {
    /// Name of the builder
    pub(crate) name: String,

    /// Remove this daemon only; with the last one, the builder goes
    #[arg(long, value_name = "ENDPOINT")]
    node: Option<String>,
}

/// `archway builder prune`
#[derive(Debug, Args)]
pub(crate) struct BuilderPruneArgs {
    /// Name of the builder [default: the current one]
    pub(crate) name: Option<String>,

    /// Remove what daemons keep for themselves, too: internal images, frontends
    #[arg(long)]
    all: bool,

    /// Leave what was used within this time: 24h, 7d
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    unused_for: Option<Duration>,

    /// Keep this much at each daemon
    #[arg(long, value_name = "BYTES", value_parser = cache::bytes, visible_alias = "keep-storage")]
    reserved_space: Option<u64>,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

impl BuilderPruneArgs {
    /// What is to be removed.
    pub(crate) fn what(&self) -> Prune {
        Prune { all: self.all, unused_for: self.unused_for.unwrap_or_default(), keep: self.reserved_space }
    }
}

/// `archway builder certs`
#[derive(Debug, Args)]
pub(crate) struct BuilderCertsArgs {
    /// Where the certificates are
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Names and addresses that daemons are reached by, comma-separated or repeated [with --rotate: as before]
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    server: Vec<String>,

    /// What the client is called in logs [default: archway; with --rotate: as before]
    #[arg(long, value_name = "NAME")]
    client: Option<String>,

    /// How long certificates of daemons and clients are valid: 30d, 12h [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    validity: Option<Duration>,

    /// Renew the certificates in DIR, and the authority when it is time to
    #[arg(long)]
    pub(crate) rotate: bool,

    /// Print Secrets NAME-server and NAME-client, for `kubectl apply -f -` [default NAME: buildkitd]
    #[arg(long, value_name = "[NAMESPACE/]NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "buildkitd")]
    kubernetes_secret: Option<String>,
}

impl BuilderCreateArgs {
    /// The builder's name, and the daemon. Paths become absolute; nothing is read.
    pub(crate) fn node(&self) -> Result<(String, Node), CliError> {
        if self.driver != "remote" {
            return Err(CliError::Usage {
                flag: "--driver",
                message: format!("`{}` is not supported: archway starts no daemons", self.driver),
                hint: Some(
                    "leave it out for a daemon that runs already; to build on this machine no builder is needed"
                        .to_owned(),
                ),
            });
        }
        let (name, endpoint) = match (&self.named, &self.second) {
            (None, Some(endpoint)) => (&self.first, endpoint),
            (Some(name), None) => (name, &self.first),
            (None, None) => {
                return Err(CliError::Usage {
                    flag: "ENDPOINT",
                    message: format!("where the daemon of `{}` is was not said", self.first),
                    hint: Some(format!("archway builder create {} tcp://HOST:1234 --cacert …", self.first)),
                });
            }
            (Some(_), Some(_)) => return Err(CliError::usage("--name", "the name was given twice")),
        };
        config::check_name(name).map_err(|error| name_error(&error))?;
        let node = Node {
            endpoint: endpoint_of("ENDPOINT", endpoint)?,
            platforms: build::platforms(&self.platform)?,
            tls: self.tls()?,
            allow_insecure: self.allow_insecure,
        };
        config::check_node(&node).map_err(|error| node_error(&error))?;
        Ok((name.clone(), node))
    }

    fn tls(&self) -> Result<Option<Tls>, CliError> {
        let server_name = self.server_name.clone().map(PathBuf::from);
        let mut given = [
            path(self.cacert.as_deref())?,
            path(self.cert.as_deref())?,
            path(self.key.as_deref())?,
            server_name,
        ];
        for option in self.driver_opt.iter().flat_map(|options| options.split(',')) {
            let Some((key, value)) = option.split_once('=') else {
                return Err(CliError::usage("--driver-opt", format!("`{option}` is not KEY=VALUE")));
            };
            if key == "default-load" {
                let message = "`default-load` is not supported: say `--load` where an image is to be loaded";
                return Err(CliError::usage("--driver-opt", message));
            }
            let Some(index) = DRIVER_OPTIONS.iter().position(|known| *known == key) else {
                return Err(value::unknown("--driver-opt", "key", key, &DRIVER_OPTIONS));
            };
            if given[index].is_some() {
                return Err(CliError::usage("--driver-opt", format!("`{key}` was given twice")));
            }
            given[index] = match key {
                "servername" => Some(value.into()),
                _ => path(Some(Path::new(value)))?,
            };
        }
        let [cacert, cert, key, server_name] = given;
        let server_name = server_name.map(|name| name.to_string_lossy().into_owned());
        match cacert {
            Some(cacert) => Ok(Some(Tls { cacert, cert, key, server_name })),
            None if cert.is_none() && key.is_none() && server_name.is_none() => Ok(None),
            None => Err(CliError::Usage {
                flag: "--cacert",
                message: "needed with --cert, --key and --server-name".to_owned(),
                hint: Some(
                    "give the certificate of the authority that issued the daemon's certificate".to_owned(),
                ),
            }),
        }
    }
}

impl BuilderRemoveArgs {
    /// The daemon to remove; `None`: all of the builder.
    pub(crate) fn node(&self) -> Result<Option<Endpoint>, CliError> {
        self.node.as_deref().map(|text| endpoint_of("--node", text)).transpose()
    }
}

impl BuilderCertsArgs {
    /// What is to be issued.
    pub(crate) fn order(&self) -> Result<Order, CliError> {
        if self.server.is_empty() && !self.rotate {
            return Err(CliError::Usage {
                flag: "--server",
                message: "certificates of daemons need the names or addresses that these are reached by"
                    .to_owned(),
                hint: Some("--server arm-1.example,10.0.0.7".to_owned()),
            });
        }
        let server = self.server.iter().map(|name| name.parse());
        let server = server.collect::<Result<_, _>>().map_err(|error| CliError::usage("--server", error))?;
        Ok(Order { server, client: self.client.clone(), validity: self.validity.unwrap_or(VALIDITY) })
    }

    /// What Secrets are to be called, if they are asked for.
    pub(crate) fn secret(&self) -> Result<Option<SecretName>, CliError> {
        let parse =
            |text: &String| text.parse().map_err(|error| CliError::usage("--kubernetes-secret", error));
        self.kubernetes_secret.as_ref().map(parse).transpose()
    }
}

fn endpoint_of(flag: &'static str, text: &str) -> Result<Endpoint, CliError> {
    text.parse().map_err(|error| CliError::usage(flag, error))
}

/// Builders are used from anywhere.
fn path(path: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| CliError::File {
            action: "find",
            path: path.display().to_string(),
            source,
        })
    };
    path.map(absolute).transpose()
}

fn name_error(error: &NameError) -> CliError {
    let hint = match error {
        NameError::Reserved(name) if name == EMBEDDED => {
            Some("it is this machine, and always there".to_owned())
        }
        NameError::Reserved(_) => Some("names that begin so are kept for builders in clusters".to_owned()),
        NameError::Invalid(_) => None,
    };
    CliError::Usage { flag: "NAME", message: error.to_string(), hint }
}

fn node_error(error: &NodeError) -> CliError {
    let (flag, hint) = match error {
        NodeError::Insecure(_) => (
            "--cacert",
            "give --cacert, --cert and --key; `archway builder certs` makes them. --allow-insecure if this is meant",
        ),
        NodeError::Both(_) => ("--allow-insecure", "leave it out, or leave the certificates out"),
        NodeError::NotTcp(_) => ("--cacert", "leave the certificates out"),
        NodeError::Half { missing: "cert" } => ("--cert", "give both, or none of them"),
        NodeError::Half { .. } => ("--key", "give both, or none of them"),
    };
    CliError::Usage { flag, message: error.to_string(), hint: Some(hint.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(arguments: &[&str]) -> BuilderCommand {
        let all = ["archway", "builder"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Builder(command) => command,
            other => panic!("{other:?}"),
        }
    }

    fn node(arguments: &[&str]) -> Result<(String, Node), CliError> {
        match parse(&[&["create"], arguments].concat()) {
            BuilderCommand::Create(args) => args.node(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_daemon_is_spelled_in_our_way_and_in_that_of_buildx() {
        let (name, ours) = node(&[
            "arm",
            "tcp://arm-1:99",
            "--platform",
            "linux/arm64,linux/arm",
            "--cacert",
            "/ca",
            "--cert",
            "/cert",
            "--key",
            "/key",
            "--server-name",
            "arm",
        ])
        .unwrap();
        assert_eq!((&*name, ours.endpoint.to_string()), ("arm", "tcp://arm-1:99".to_owned()));
        assert_eq!(ours.platforms, ["linux/arm64".parse().unwrap(), "linux/arm/v7".parse().unwrap()]);
        assert_eq!(ours.tls.as_ref().unwrap().server_name.as_deref(), Some("arm"));
        let options = "cacert=/ca,cert=/cert,key=/key,servername=arm";
        let buildx = node(&[
            "--name",
            "arm",
            "--driver",
            "remote",
            "--driver-opt",
            options,
            "--platform",
            "linux/arm64,linux/arm/v7",
            "tcp://arm-1:99",
        ]);
        assert_eq!(buildx.unwrap(), (name, ours));
        let (_, relative) = node(&["a", "tcp://a", "--cacert", "ca.pem"]).unwrap();
        assert!(relative.tls.unwrap().cacert.is_absolute());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (arguments, flag, says) in [
            (&["a"][..], "ENDPOINT", "was not said"),
            (&["a", "arm-1:99"], "ENDPOINT", "begins with tcp://"),
            (&["a", "tcp://a"], "--cacert", "in the clear"),
            (&["a", "tcp://a", "--allow-insecure", "--cacert", "c"], "--allow-insecure", "in the clear"),
            (&["a", "tcp://a", "--cacert", "c", "--cert", "c"], "--key", "key is missing"),
            (&["a", "tcp://a", "--cacert", "c", "--key", "c"], "--cert", "cert is missing"),
            (&["a", "tcp://a", "--cert", "c", "--key", "c"], "--cacert", "needed with"),
            (&["a", "unix:///s", "--cacert", "c"], "--cacert", "only tcp://"),
            (&["embedded", "unix:///s"], "NAME", "reserved"),
            (&["kubernetes", "unix:///s"], "NAME", "reserved"),
            (&["a/b", "unix:///s"], "NAME", "no name"),
            (&["--name", "a", "b", "unix:///s"], "--name", "twice"),
            (&["a", "unix:///s", "--driver", "docker-container"], "--driver", "starts no daemons"),
            (&["a", "unix:///s", "--driver-opt", "cacrt=x"], "--driver-opt", "cacrt"),
            (&["a", "tcp://a", "--cacert", "c", "--driver-opt", "cacert=x"], "--driver-opt", "twice"),
            (&["a", "unix:///s", "--driver-opt", "default-load=true"], "--driver-opt", "--load"),
            (&["a", "unix:///s", "--platform", "linux/arm65"], "--platform", "arm65"),
        ] {
            match node(arguments) {
                Err(CliError::Usage { flag: found, message, .. }) => {
                    assert_eq!(found, flag, "{arguments:?}");
                    assert!(message.contains(says), "{arguments:?}: {message}");
                }
                other => panic!("{arguments:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn certificates_are_asked_for_by_names() {
        let order = |arguments: &[&str]| match parse(&[&["certs", "--dir", "d"], arguments].concat()) {
            BuilderCommand::Certs(args) => (args.order(), args.secret()),
            other => panic!("{other:?}"),
        };
        let (made, secret) =
            order(&["--server", "a.example,10.0.0.7", "--server", "b", "--kubernetes-secret"]);
        assert_eq!(made.unwrap().server.len(), 3);
        assert_eq!(secret.unwrap(), Some(SecretName::default()));
        let (made, _) = order(&["--rotate", "--validity", "12h"]);
        assert_eq!(made.unwrap().validity, Duration::from_secs(12 * 60 * 60));
        assert!(matches!(order(&[]).0, Err(CliError::Usage { flag: "--server", .. })));
        assert!(matches!(order(&["--server", "tcp://a"]).0, Err(CliError::Usage { flag: "--server", .. })));
        let (_, secret) = order(&["--server", "a", "--kubernetes-secret=A"]);
        assert!(matches!(secret, Err(CliError::Usage { flag: "--kubernetes-secret", .. })));
    }
}
