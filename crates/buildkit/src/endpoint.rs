//! Where a daemon is.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// Port of `tcp://` endpoints that name none; the one in BuildKit's own examples.
const DEFAULT_PORT: u16 = 1234;
/// The socket of a daemon at the end of an `ssh://` endpoint that names none.
const DEFAULT_SOCKET: &str = "/run/buildkit/buildkitd.sock";

/// Where a daemon is, spelled as for `buildctl --addr`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// `tcp://HOST[:PORT]`
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:///PATH`
    Unix(PathBuf),
    /// `ssh://[USER@]HOST[:PORT][/PATH]`: `buildctl dial-stdio` on that machine.
    Ssh {
        /// `HOST` or `USER@HOST`, for the ssh program.
        destination: String,
        /// Port of the SSH server.
        port: Option<u16>,
        /// The daemon's socket on that machine.
        socket: PathBuf,
    },
}

/// A text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It begins with none of the schemes.
    #[error("`{0}` is no endpoint: one begins with tcp://, unix:// or ssh://")]
    Scheme(String),
    /// No host.
    #[error("`{0}` names no host")]
    NoHost(String),
    /// Not a port.
    #[error("`{port}` in `{text}` is no port")]
    Port {
        /// The endpoint.
        text: String,
        /// What stands where the port should.
        port: String,
    },
    /// A Unix socket without an absolute path.
    #[error("`{0}` names no absolute path: unix:///run/buildkit/buildkitd.sock is one")]
    Relative(String),
    /// A host that the ssh program would take for an option, or that no shell should see.
    #[error("`{0}` is not the name of a machine")]
    Host(String),
}

impl Endpoint {
    /// The name that the certificate of a TCP endpoint is checked against, unless another was given.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) | Self::Ssh { .. } => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(rest) = text.strip_prefix("tcp://") {
            let (host, port) = host_and_port(text, rest.trim_end_matches('/'))?;
            return Ok(Self::Tcp { host, port: port.unwrap_or(DEFAULT_PORT) });
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') && path.len() > 1 {
                true => Ok(Self::Unix(path.into())),
                false => Err(EndpointError::Relative(text.to_owned())),
            };
        }
        let Some(rest) = text.strip_prefix("ssh://") else {
            return Err(EndpointError::Scheme(text.to_owned()));
        };
        let (authority, socket) = match rest.find('/') {
            Some(slash) if slash + 1 < rest.len() => rest.split_at(slash),
            Some(slash) => (&rest[..slash], DEFAULT_SOCKET),
            None => (rest, DEFAULT_SOCKET),
        };
        let (user, machine) = match authority.split_once('@') {
            Some((user, machine)) => (Some(user), machine),
            None => (None, authority),
        };
        let (host, port) = host_and_port(text, machine)?;
        let destination = match user {
            Some(user) => format!("{user}@{host}"),
            None => host,
        };
        if destination.starts_with('-') || destination.contains(char::is_whitespace) {
            return Err(EndpointError::Host(destination));
        }
        Ok(Self::Ssh { destination, port, socket: socket.into() })
    }
}

fn host_and_port(text: &str, authority: &str) -> Result<(String, Option<u16>), EndpointError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(EndpointError::NoHost(text.to_owned()));
    }
    let wrong = |port: &str| EndpointError::Port { text: text.to_owned(), port: port.to_owned() };
    let port = port.map(|port| port.parse::<u16>().map_err(|_| wrong(port))).transpose()?;
    Ok((host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Ssh { destination, port, socket } => {
                write!(f, "ssh://{destination}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                match socket.as_os_str() == DEFAULT_SOCKET {
                    true => Ok(()),
                    false => write!(f, "{}", socket.display()),
                }
            }
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_spelled_as_for_buildctl() {
        for (text, written) in [
            ("tcp://builder", "tcp://builder:1234"),
            ("tcp://10.0.0.7:8372", "tcp://10.0.0.7:8372"),
            ("tcp://[fd00::1]:99", "tcp://[fd00::1]:99"),
            ("unix:///run/buildkit/buildkitd.sock", "unix:///run/buildkit/buildkitd.sock"),
            ("ssh://ci@arm-1", "ssh://ci@arm-1"),
            ("ssh://arm-1:2222/run/user/1000/buildkit.sock", "ssh://arm-1:2222/run/user/1000/buildkit.sock"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_says_what_is_wrong() {
        for (text, wrong) in [
            ("builder:1234", "begins with tcp://"),
            ("http://builder", "begins with tcp://"),
            ("tcp://", "names no host"),
            ("tcp://:99", "names no host"),
            ("tcp://builder:http", "`http`"),
            ("unix://run/sock", "absolute path"),
            ("ssh://-oProxyCommand=x", "not the name of a machine"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
