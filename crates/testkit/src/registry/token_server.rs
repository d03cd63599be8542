//! A token server for a registry (distribution "token" specification), which knows one user.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{PASSWORD, USER};
use crate::{
    process::{self, ProcessError},
    web::{Request, Response, WebServer},
};

/// Its name, and that of the registry.
pub(super) const NAME: &str = "archway-testkit";
/// Life of a token, seconds.
const LIFE: u64 = 300;

/// A running server. It gives [`USER`] whatever is asked for, and nobody else anything.
pub(super) struct TokenServer(WebServer);

impl std::fmt::Debug for TokenServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenServer")
    }
}

impl TokenServer {
    /// Starts it, with its key in `directory`.
    pub(super) fn start(directory: &Path) -> Result<Self, ProcessError> {
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=archway-testkit tokens' \
                      -keyout token-key.pem -out token-cert.pem
                      openssl x509 -in token-cert.pem -outform DER -out token-cert.der";
        process::output(Command::new("sh").args(["-euc", script]).current_dir(directory))?;
        let own = directory.to_owned();
        let started = WebServer::start(move |request| {
            // A registry would only see that a signature is wrong.
            answer(request, &own).unwrap_or_else(|error| Response::new(500, error.to_string()))
        });
        started.map(Self).map_err(|source| ProcessError::Start { program: "the token server".into(), source })
    }

    /// `realm` of the registry's challenge.
    pub(super) fn realm(&self) -> String {
        self.0.url("/token")
    }

    /// What it was asked so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.requests()
    }
}

/// What the registry needs to check tokens.
pub(super) fn certificate(directory: &Path) -> PathBuf {
    directory.join("token-cert.pem")
}

fn answer(request: &Request, directory: &Path) -> io::Result<Response> {
    let user = match request.header("authorization") {
        None => None,
        Some(header) if header == format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}"))) => {
            Some(USER)
        }
        Some(_) => return Ok(Response::new(401, "wrong user or password")),
    };
    let query = request.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "scope");
    let scopes: Vec<String> =
        asked.flat_map(|(_, scope)| scope.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let access: Vec<Value> =
        scopes.iter().filter(|_| user.is_some()).filter_map(|scope| access(scope)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
    let claims = json!({
        "iss": NAME, "sub": user.unwrap_or_default(), "aud": NAME,
        "nbf": now - 10, "iat": now, "exp": now + LIFE, "jti": now.to_string(), "access": access,
    });
    let token = sign(&claims, directory)?;
    Ok(Response::new(200, json!({ "token": token, "expires_in": LIFE }).to_string()))
}

/// `repository:team/app:pull,push` as a claim.
fn access(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
}

/// A JSON Web Token (RFC 7519) with its certificate.
fn sign(claims: &Value, directory: &Path) -> io::Result<String> {
    let certificate = fs::read(directory.join("token-cert.der"))?;
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(certificate)] });
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let input = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(input.path(), &text)?;
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign", "token-key.pem"]).arg(input.path()).current_dir(directory);
    let signature = process::output(&mut openssl).map_err(io::Error::other)?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
