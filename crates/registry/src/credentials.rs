//! Credentials as Docker and podman keep them: `config.json`, `auth.json`, credential helpers.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::Error;

/// Key of Docker Hub in Docker's files.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// User name with which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers say when they have nothing.
const NOT_FOUND: &str = "credentials not found";

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password (or access token used as one).
    Password {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// An OAuth2 refresh token.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// A credential and where it was found, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Sourced {
    pub(crate) credential: Credential,
    pub(crate) source: String,
}

/// Where credentials are looked for, in order; the first that has some wins.
#[derive(Debug, Clone, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
}

/// The parts of `config.json` and `auth.json` we read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default, deserialize_with = "or_default")]
    auths: BTreeMap<String, Auth>,
    #[serde(default, deserialize_with = "or_default")]
    creds_store: String,
    #[serde(default, deserialize_with = "or_default")]
    cred_helpers: BTreeMap<String, String>,
}

/// `null` is what Go writes for an empty map.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl Keychain {
    /// The usual places: `$REGISTRY_AUTH_FILE`, Docker's `config.json` (`$DOCKER_CONFIG`, else
    /// `~/.docker`), podman's `auth.json` (`$XDG_RUNTIME_DIR`, else `~/.config/containers`).
    pub fn from_environment() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let config = path("XDG_CONFIG_HOME").or_else(|| Some(home.clone()?.join(".config")));
        let files = [
            path("REGISTRY_AUTH_FILE"),
            docker_config(),
            path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
            config.map(|directory| directory.join("containers/auth.json")),
        ];
        Self { files: files.into_iter().flatten().collect() }
    }

    /// Only these files.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// The credential for a repository, if there is one.
    pub(crate) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Sourced>, Error> {
        for path in &self.files {
            let Some(file) = read(path)? else { continue };
            if let Some(found) = file.find(path, registry, repository).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl File {
    async fn find(&self, path: &Path, registry: &str, repository: &str) -> Result<Option<Sourced>, Error> {
        let helper = self.cred_helpers.get(registry).or_else(|| {
            // Docker asks its store for registries that are not listed one by one, too.
            (!self.creds_store.is_empty()).then_some(&self.creds_store)
        });
        if let Some(name) = helper
            && let Some(credential) = helper_get(name, server_key(registry)).await?
        {
            return Ok(Some(Sourced { credential, source: program(name) }));
        }
        for key in keys(registry, repository) {
            if let Some(credential) = self.auths.get(&key).and_then(Auth::credential) {
                return Ok(Some(Sourced { credential, source: path.display().to_string() }));
            }
        }
        Ok(None)
    }
}

impl Auth {
    fn credential(&self) -> Option<Credential> {
        if !self.identitytoken.is_empty() {
            return Some(Credential::IdentityToken(self.identitytoken.clone()));
        }
        if !self.username.is_empty() && !self.password.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Some(Credential::Password { username, password });
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (username, password) = decoded.split_once(':')?;
        let password = password.trim_end_matches('\0');
        Some(Credential::Password { username: username.to_owned(), password: password.to_owned() })
    }
}

/// Keys under which credentials may stand, most special first: podman's namespaces, then the host in
/// the spellings that Docker has used.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = Some(repository).filter(|path| !path.is_empty());
    while let Some(namespace) = path {
        keys.push(format!("{registry}/{namespace}"));
        path = namespace.rsplit_once('/').map(|(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    for scheme in ["https://", "http://"] {
        for suffix in ["", "/", "/v1/", "/v2/"] {
            keys.push(format!("{scheme}{registry}{suffix}"));
        }
    }
    if registry == "docker.io" {
        keys.extend([DOCKER_HUB_KEY, "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

/// The name by which helpers and `config.json` know a registry.
fn server_key(registry: &str) -> &str {
    if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }
}

fn docker_config() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?;
    Some(directory.join("config.json"))
}

fn read(path: &Path) -> Result<Option<File>, Error> {
    let failed = |source| Error::CredentialFile { path: path.display().to_string(), source };
    match std::fs::read(path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(None),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(invalid(&error))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

fn invalid(error: &serde_json::Error) -> io::Error {
    // The message of serde_json may quote the file's content; its position does not.
    io::Error::new(io::ErrorKind::InvalidData, format!("not valid JSON at line {}", error.line()))
}

/// Stores a credential where Docker would: in its credential store if one is configured, else in
/// `config.json`. Gives the place, for people.
pub async fn store(registry: &str, credential: &Credential) -> Result<String, Error> {
    let path = config_path()?;
    let file = read(&path)?.unwrap_or_default();
    let (username, secret) = match credential {
        Credential::Password { username, password } => (username.as_str(), password.as_str()),
        Credential::IdentityToken(token) => (TOKEN_USER, token.as_str()),
    };
    if let Some(name) = file.helper(registry) {
        let input = json!({ "ServerURL": server_key(registry), "Username": username, "Secret": secret });
        helper(name, "store", &input.to_string()).await?;
        return Ok(program(name));
    }
    let entry = match credential {
        Credential::Password { .. } => json!({ "auth": STANDARD.encode(format!("{username}:{secret}")) }),
        Credential::IdentityToken(token) => {
            json!({ "auth": STANDARD.encode("00000000-0000-0000-0000-000000000000:"), "identitytoken": token })
        }
    };
    change(&path, |auths| {
        auths.insert(server_key(registry).to_owned(), entry.clone());
    })?;
    Ok(path.display().to_string())
}

/// Removes the credential of a registry; false if there was none.
pub async fn erase(registry: &str) -> Result<bool, Error> {
    let path = config_path()?;
    let Some(file) = read(&path)? else { return Ok(false) };
    let mut removed = false;
    if let Some(name) = file.helper(registry)
        && helper_get(name, server_key(registry)).await?.is_some()
    {
        helper(name, "erase", server_key(registry)).await?;
        removed = true;
    }
    let present: Vec<String> =
        keys(registry, "").into_iter().filter(|key| file.auths.contains_key(key)).collect();
    if !present.is_empty() {
        change(&path, |auths| {
            for key in &present {
                auths.remove(key);
            }
        })?;
        removed = true;
    }
    Ok(removed)
}

impl File {
    fn helper(&self, registry: &str) -> Option<&str> {
        let name = self.cred_helpers.get(registry).unwrap_or(&self.creds_store);
        Some(name.as_str()).filter(|name| !name.is_empty())
    }
}

/// The file that is asked first, so that a new login is the one that counts.
fn config_path() -> Result<PathBuf, Error> {
    let first = std::env::var_os("REGISTRY_AUTH_FILE").filter(|value| !value.is_empty()).map(PathBuf::from);
    first.or_else(docker_config).ok_or_else(|| Error::CredentialFile {
        path: "config.json".into(),
        source: io::Error::new(io::ErrorKind::NotFound, "neither DOCKER_CONFIG nor HOME is set"),
    })
}

/// Changes `auths` and nothing else; the file is replaced at once, readable by its owner only.
fn change(path: &Path, edit: impl Fn(&mut Map<String, Value>)) -> Result<(), Error> {
    let failed = |source| Error::CredentialFile { path: path.display().to_string(), source };
    let mut document: Map<String, Value> = match std::fs::read(path) {
        Ok(bytes) if !bytes.is_empty() => {
            serde_json::from_slice(&bytes).map_err(|error| failed(invalid(&error)))?
        }
        Ok(_) => Map::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(failed(error)),
    };
    let auths = document.entry("auths").or_insert_with(|| json!({}));
    let Some(auths) = auths.as_object_mut() else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "`auths` is not an object")));
    };
    edit(auths);

    let text = serde_json::to_string_pretty(&document).expect("JSON can be written");
    replace(path, text.as_bytes()).map_err(failed)
}

/// Writes a file that is there either as before or complete.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // People keep their configuration elsewhere, and link to it.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join(format!(".config.json.{}", std::process::id()));
    // One that a killed process of the same number left behind.
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, &path));
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

async fn helper_get(name: &str, server: &str) -> Result<Option<Credential>, Error> {
    let Some(answer) = helper(name, "get", server).await? else { return Ok(None) };
    let answer: HelperAnswer = serde_json::from_str(&answer).map_err(|_| Error::CredentialHelper {
        program: program(name),
        message: "its answer is not valid".into(),
    })?;
    Ok(match (answer.username.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => None,
        (TOKEN_USER, secret) => Some(Credential::IdentityToken(secret)),
        (_, password) => Some(Credential::Password { username: answer.username, password }),
    })
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Runs a helper; `None` if it says that it has nothing. Secrets go through its standard input.
async fn helper(name: &str, action: &str, input: &str) -> Result<Option<String>, Error> {
    let program = program(name);
    let failed = |message: String| Error::CredentialHelper { program: program.clone(), message };
    // The name comes from a file: it must not lead elsewhere.
    if name.contains('/') {
        return Err(failed("its name holds a slash".into()));
    }
    let mut child = tokio::process::Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // A helper may end without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(Some(text));
    }
    let said =
        if text.trim().is_empty() { String::from_utf8_lossy(&output.stderr) } else { text.as_str().into() };
    if said.contains(NOT_FOUND) { Ok(None) } else { Err(failed(said.trim().to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keychain(files: &[&str]) -> (tempfile::TempDir, Keychain) {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let path = directory.path().join(format!("{index}.json"));
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        (directory, Keychain::of_files(paths))
    }

    fn password(username: &str, password: &str) -> Credential {
        Credential::Password { username: username.into(), password: password.into() }
    }

    async fn find(keychain: &Keychain, registry: &str, repository: &str) -> Option<Credential> {
        keychain.find(registry, repository).await.unwrap().map(|found| found.credential)
    }

    #[tokio::test]
    async fn the_most_special_entry_of_the_first_file_wins() {
        let (_directory, keychain) = keychain(&[
            r#"{"auths": {"r.io": {"auth": "YTpi"}, "r.io/team": {"username": "t", "password": "p:q"}}}"#,
            r#"{"auths": {"r.io": {"auth": "eDp5"}, "other.io": {"identitytoken": "tok"}}}"#,
        ]);
        assert_eq!(find(&keychain, "r.io", "app").await, Some(password("a", "b")));
        assert_eq!(find(&keychain, "r.io", "team/app").await, Some(password("t", "p:q")));
        assert_eq!(find(&keychain, "other.io", "x").await, Some(Credential::IdentityToken("tok".into())));
        assert_eq!(find(&keychain, "none.io", "x").await, None);
    }

    #[tokio::test]
    async fn a_file_that_go_wrote_may_hold_nulls() {
        let (_directory, keychain) = keychain(&[
            r#"{"auths": null, "credsStore": null, "credHelpers": null}"#,
            r#"{"auths": {"r.io": {"auth": "YTpi"}}}"#,
        ]);
        assert_eq!(find(&keychain, "r.io", "app").await, Some(password("a", "b")));
    }

    #[tokio::test]
    async fn docker_hub_has_its_own_key() {
        let (_directory, keychain) =
            keychain(&[r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"}}}"#]);
        assert_eq!(find(&keychain, "docker.io", "library/busybox").await, Some(password("hub", "pw")));
    }

    #[tokio::test]
    async fn a_broken_file_is_named_without_its_content() {
        let (_directory, keychain) = keychain(&[r#"{"auths": {"r.io": {"auth": SECRET}}}"#]);
        let error = keychain.find("r.io", "x").await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("0.json") && !text.contains("SECRET"), "{text}");
    }

    #[test]
    fn a_change_keeps_what_it_does_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"psFormat": "x", "auths": {"a": {"auth": "eA=="}}}"#).unwrap();
        change(&path, |auths| {
            auths.insert("b".into(), json!({ "auth": "eQ==" }));
        })
        .unwrap();
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["psFormat"], "x");
        assert_eq!(document["auths"]["a"]["auth"], "eA==");
        assert_eq!(document["auths"]["b"]["auth"], "eQ==");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_to_the_file_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("config.json"), directory.path().join("real.json"));
        std::fs::write(&target, "{}").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        change(&link, |auths| {
            auths.insert("b".into(), json!({ "auth": "eQ==" }));
        })
        .unwrap();
        assert!(link.is_symlink());
        assert!(std::fs::read_to_string(&target).unwrap().contains("eQ=="));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert!(!format!("{:?}", password("user", "hunter2")).contains("hunter2"));
    }
}
