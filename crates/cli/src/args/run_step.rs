//! What RUN steps get and may do: `--secret`, `--ssh`, `--add-host`, `--shm-size`, `--ulimit`, `--allow`.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::{ffi::OsStringExt as _, fs::FileTypeExt as _},
    path::PathBuf,
    sync::Arc,
};

use archway_engine::{KeyAgent, KeyAgentError, Lent, SshAgent};
use archway_graph::{Entitlement, ExtraHost, ResourceLimit, RunSettings, size};
use archway_remote::Credentials;
use archway_sandbox::{Private, Resource};
use clap::Args;

use super::{output, value};
use crate::error::CliError;

/// Largest secret, as in BuildKit.
const MAX_SECRET: u64 = 500 << 10;
/// The id of an agent that nobody gave another one.
const DEFAULT_AGENT: &str = "default";
/// Where the user's own agent listens.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What is lent: to RUN steps that mount it, to git repositories and to downloads.
#[derive(Debug, Args)]
pub(crate) struct LentArgs {
    /// Lend a secret to RUN steps that mount it, and to the git repositories and downloads it is named after; without a
    /// source, from the environment or the file of that name
    #[arg(long, value_name = "id=ID[,src=FILE|,env=VAR]")]
    secret: Vec<String>,

    /// Lend an ssh agent to RUN steps that mount it and to git: one with these keys, or by default that at
    /// $SSH_AUTH_SOCK
    #[arg(long, value_name = "default|ID[=SOCKET|KEY[,KEY]]")]
    ssh: Vec<String>,
}

/// The address of this machine, for `--add-host`.
const HOST_GATEWAY: &str = "host-gateway";

/// Flags about RUN steps.
#[derive(Debug, Args)]
pub(crate) struct RunStepArgs {
    #[command(flatten)]
    lent: LentArgs,

    /// Add a line to /etc/hosts of RUN steps; host-gateway is this machine
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,

    /// Size of /dev/shm in RUN steps [default: 64m]
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// Set a resource limit of RUN steps, such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,

    /// Allow what needs permission: security.insecure, network.host, device
    #[arg(long, value_name = "ENTITLEMENT")]
    allow: Vec<String>,
}

impl RunStepArgs {
    /// Whether a name is to mean this machine, seen from steps that run here.
    pub(super) fn names_this_machine(&self) -> bool {
        self.add_host.iter().any(|host| host.ends_with(HOST_GATEWAY))
    }

    /// What holds for every RUN.
    pub(super) fn settings(&self) -> Result<RunSettings, CliError> {
        let mut limits: Vec<ResourceLimit> = Vec::new();
        for text in &self.ulimit {
            let limit = ulimit(text)?;
            limits.retain(|known| known.resource != limit.resource);
            limits.push(limit);
        }
        Ok(RunSettings {
            hosts: self.add_host.iter().map(|text| host(text)).collect::<Result<_, _>>()?,
            shm_size: self.shm_size.as_deref().map(shm_size).transpose()?.filter(|bytes| *bytes > 0),
            limits,
            hostname: None,
        })
    }

    /// What the build may do besides.
    pub(super) fn allowed(&self) -> Result<BTreeSet<Entitlement>, CliError> {
        self.allow.iter().map(|text| entitlement(text)).collect()
    }

    /// Secrets and agents.
    pub(super) fn lent(&self) -> Result<Lent, CliError> {
        self.lent.lent()
    }
}

impl LentArgs {
    /// Secrets and agents. Secrets are read here, once: every platform gets the same.
    pub(super) fn lent(&self) -> Result<Lent, CliError> {
        let mut lent = Lent::default();
        for text in &self.secret {
            let (id, value) = secret(text)?;
            lent.secrets.insert(id, value);
        }
        for text in &self.ssh {
            let (id, agent) = ssh(text)?;
            if lent.ssh.insert(id.clone(), agent).is_some() {
                return Err(CliError::usage("--ssh", format!("the agent `{id}` is given twice")));
            }
        }
        Ok(lent)
    }
}

/// What git and downloads may use of it.
pub(super) fn credentials(lent: &Lent) -> Credentials {
    // An agent of our own lives as long as it is lent to somebody.
    let kept = lent.clone();
    let mut credentials =
        Credentials::new(move |id| kept.secrets.get(id).map(|secret| secret.bytes().to_vec()));
    credentials.ssh_agent = lent.ssh.get(DEFAULT_AGENT).map(|agent| agent.socket.clone());
    credentials
}

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
enum SecretSource {
    File(PathBuf),
    Variable(String),
}

fn secret(text: &str) -> Result<(String, Private), CliError> {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let (id, source) = secret_source(text, is_set)?;
    let bytes = match source {
        // One that is not set is empty, as in buildx.
        SecretSource::Variable(name) => std::env::var_os(name).unwrap_or_default().into_vec(),
        SecretSource::File(path) => read_secret(&path)?,
    };
    if bytes.len() as u64 > MAX_SECRET {
        let message = format!("the secret `{id}` is larger than {} KiB", MAX_SECRET >> 10);
        return Err(CliError::usage("--secret", message));
    }
    Ok((id, bytes.into()))
}

/// At most one byte more than a secret can have. The file may be a pipe.
fn read_secret(path: &std::path::Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes));
    read.map_err(|source| CliError::File {
        action: "read the secret",
        path: path.display().to_string(),
        source,
    })?;
    Ok(bytes)
}

fn secret_source(text: &str, is_set: impl Fn(&str) -> bool) -> Result<(String, SecretSource), CliError> {
    const FLAG: &str = "--secret";
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in output::fields(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(CliError::Usage {
                flag: FLAG,
                message: format!("`{field}` is not KEY=VALUE"),
                hint: Some("write id=NAME,src=FILE or id=NAME,env=VARIABLE".to_owned()),
            });
        };
        let place = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            other => return Err(value::unknown(FLAG, "key", other, &["id", "src", "source", "env", "type"])),
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(CliError::usage(FLAG, format!("`{key}` is given twice")));
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
        CliError::usage(FLAG, format!("`{text}` has no id, by which a step asks for the secret"))
    })?;
    let source = match (kind.as_deref(), file, variable) {
        (_, Some(_), Some(_)) => {
            return Err(CliError::usage(FLAG, format!("`{text}` has both src and env")));
        }
        (None | Some("file"), Some(file), None) => SecretSource::File(file.into()),
        (None | Some("env"), None, Some(name)) => SecretSource::Variable(name),
        (Some("env"), name, None) => SecretSource::Variable(name.unwrap_or_else(|| id.clone())),
        (None, None, None) if is_set(&id) => SecretSource::Variable(id.clone()),
        (None | Some("file"), None, None) => SecretSource::File(id.clone().into()),
        (Some("file"), None, Some(_)) => {
            return Err(CliError::usage(FLAG, format!("`{text}` is of the type file, and has env")));
        }
        (Some(other), ..) => return Err(value::unknown(FLAG, "type", other, &["file", "env"])),
    };
    Ok((id, source))
}

fn ssh(text: &str) -> Result<(String, SshAgent), CliError> {
    const FLAG: &str = "--ssh";
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let (mut socket, mut keys, mut raw) = (None, Vec::new(), false);
    for field in paths.split(',').filter(|field| !field.is_empty()) {
        match field.strip_prefix("raw=") {
            Some("true") => raw = true,
            Some("false") => raw = false,
            Some(_) => return Err(CliError::usage(FLAG, format!("`{field}` is neither true nor false"))),
            None if is_socket(field)? => {
                if socket.replace(PathBuf::from(field)).is_some() {
                    return Err(CliError::usage(FLAG, format!("`{text}` names more than one socket")));
                }
            }
            None => keys.push(PathBuf::from(field)),
        }
    }
    let id = if id.is_empty() { DEFAULT_AGENT } else { id };
    if !keys.is_empty() {
        if socket.is_some() || raw {
            let message = format!("`{text}` mixes key files with a socket or raw=true");
            return Err(CliError::usage(FLAG, message));
        }
        let agent = KeyAgent::start(&keys).map_err(key_error)?;
        let socket = agent.socket();
        return Ok((id.to_owned(), SshAgent { socket, raw, own: Some(Arc::new(agent)) }));
    }
    let own = || std::env::var_os(AGENT_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let socket = socket.or_else(own).ok_or_else(|| CliError::Usage {
        flag: FLAG,
        message: format!("no ssh agent: {AGENT_VARIABLE} is not set"),
        hint: Some("start one with `eval $(ssh-agent)`, and add keys with `ssh-add`".to_owned()),
    })?;
    if !is_socket(&socket.to_string_lossy())? {
        let message = format!("`{}` is not the socket of an ssh agent", socket.display());
        return Err(CliError::usage(FLAG, message));
    }
    Ok((id.to_owned(), SshAgent { socket, raw, own: None }))
}

fn is_socket(path: &str) -> Result<bool, CliError> {
    let failed =
        |source| CliError::File { action: "use the ssh key or socket", path: path.to_owned(), source };
    Ok(fs::metadata(path).map_err(failed)?.file_type().is_socket())
}

fn key_error(error: KeyAgentError) -> CliError {
    CliError::Usage {
        flag: "--ssh",
        message: error.to_string(),
        hint: Some(match error {
            KeyAgentError::Start(_) => "install OpenSSH's client, or name the socket of an agent".to_owned(),
            KeyAgentError::Refused(_) => {
                "name a private key or the socket of an agent; a passphrase is asked for on a terminal"
                    .to_owned()
            }
        }),
    }
}

fn host(text: &str) -> Result<ExtraHost, CliError> {
    const FLAG: &str = "--add-host";
    let wrong = |message: String| CliError::Usage {
        flag: FLAG,
        message,
        hint: Some("want NAME:IP, such as db:192.0.2.7, db=2001:db8::7 or docker:host-gateway".to_owned()),
    };
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .ok_or_else(|| wrong(format!("`{text}` is not NAME:IP")))?;
    let address = match address {
        // Steps have the network of this machine, and so its loopback.
        HOST_GATEWAY => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => {
            let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            plain.parse().map_err(|_| wrong(format!("`{address}` is no IP address")))?
        }
    };
    Ok(ExtraHost { name: name.to_owned(), address })
}

fn shm_size(text: &str) -> Result<u64, CliError> {
    size::bytes(text).ok_or_else(|| CliError::Usage {
        flag: "--shm-size",
        message: format!("`{text}` is no size"),
        hint: Some("want a number of bytes, or one with a unit: 64m, 1g".to_owned()),
    })
}

fn ulimit(text: &str) -> Result<ResourceLimit, CliError> {
    const FLAG: &str = "--ulimit";
    let wrong = |message: String| CliError::Usage {
        flag: FLAG,
        message,
        hint: Some("want NAME=SOFT[:HARD], such as nofile=1024:4096; -1 is no limit".to_owned()),
    };
    let (name, limits) = text.split_once('=').ok_or_else(|| wrong(format!("`{text}` has no =")))?;
    if Resource::parse(name).is_none() {
        let names = Resource::NAMES.map(|(name, _)| name);
        return Err(value::unknown(FLAG, "limit", name, &names));
    }
    let number = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| wrong(format!("`{text}` is no number"))),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err(wrong(format!("`{limits}`: the soft limit is above the hard one")));
    }
    Ok(ResourceLimit { resource: name.to_owned(), soft, hard })
}

fn entitlement(text: &str) -> Result<Entitlement, CliError> {
    // `device=NAME` allows one device.
    let name = if text.starts_with("device=") { "device" } else { text };
    let known = Entitlement::NAMES.map(|(name, _)| name);
    Entitlement::parse(name).ok_or_else(|| value::unknown("--allow", "entitlement", text, &known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let file = |path: &str| SecretSource::File(path.into());
        let variable = |name: &str| SecretSource::Variable(name.into());
        let table = [
            ("id=a,src=f", "a", file("f")),
            ("id=a,source=dir/f,type=file", "a", file("dir/f")),
            ("id=a,env=E", "a", variable("E")),
            ("type=env,id=a,src=E", "a", variable("E")),
            ("type=env,id=a", "a", variable("a")),
            ("id=SET", "SET", variable("SET")),
            ("id=unset", "unset", file("unset")),
            ("type=file,id=SET", "SET", file("SET")),
            ("\"src=a,b\",id=a", "a", file("a,b")),
        ];
        for (text, id, source) in table {
            let found =
                secret_source(text, |name| name == "SET").unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found, (id.to_owned(), source), "{text}");
        }
        for text in [
            "src=f",
            "id=",
            "id=a,src=f,env=E",
            "id=a,type=vault",
            "id=a,scr=f",
            "a",
            "id=a,id=b",
            "id=a,type=file,env=E",
        ] {
            assert!(secret_source(text, |_| false).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_have_names_and_addresses() {
        let table = [
            ("db:192.0.2.7", "db", "192.0.2.7"),
            ("db=192.0.2.7", "db", "192.0.2.7"),
            ("db:2001:db8::7", "db", "2001:db8::7"),
            ("db=[2001:db8::7]", "db", "2001:db8::7"),
            ("docker:host-gateway", "docker", "127.0.0.1"),
        ];
        for (text, name, address) in table {
            let found = host(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((found.name.as_str(), found.address.to_string().as_str()), (name, address), "{text}");
        }
        for text in ["db", "db:", ":1.2.3.4", "db:1.2.3", "a b:1.2.3.4", "db:name"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_soft_and_hard() {
        let limit = |soft, hard| ResourceLimit { resource: "nofile".into(), soft, hard };
        let table = [
            ("nofile=1024", limit(Some(1024), Some(1024))),
            ("nofile=10:20", limit(Some(10), Some(20))),
            ("nofile=10:-1", limit(Some(10), None)),
            ("nofile=-1", limit(None, None)),
        ];
        for (text, expected) in table {
            assert_eq!(ulimit(text).unwrap(), expected, "{text}");
        }
        for text in
            ["nofile", "nofile=", "nofile=a", "nofile=20:10", "nofile=-1:10", "nofiles=1", "nofile=-2"]
        {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn entitlements_have_names() {
        assert_eq!(entitlement("security.insecure").unwrap(), Entitlement::SecurityInsecure);
        assert_eq!(entitlement("device=vendor.com/gpu").unwrap(), Entitlement::Device);
        let CliError::Usage { hint, .. } = entitlement("security.insecur").unwrap_err() else { panic!() };
        assert_eq!(hint.as_deref(), Some("did you mean `security.insecure`?"));
    }
}
