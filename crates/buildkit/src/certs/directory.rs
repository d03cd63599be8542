//! The files of a directory of certificates. Each is replaced as a whole, keys are their owner's only.
//!
//! | file | holds |
//! |---|---|
//! | `ca.pem` | who is trusted: the authority, then those before it that have not expired |
//! | `cross.pem` | the authority, signed by those before it; not there if there were none |
//! | `ca-key.pem` | the authority's key: it stays here |
//! | `server/{ca,key,cert}.pem` | what a daemon needs |
//! | `client/{ca,key,cert}.pem` | what those need who use it |

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Bundle, Certificate, CertsError, Order, issue::Present};

const TRUSTED: &str = "ca.pem";
const CROSS: &str = "cross.pem";
const AUTHORITY_KEY: &str = "ca-key.pem";
const SERVER: &str = "server";
const CLIENT: &str = "client";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Modes of files that are anybody's to read, and of keys.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// Makes an authority and certificates in a directory, which is made if it is not there.
///
/// # Errors
/// [`CertsError::Exists`] if there are some already; those of [`Bundle::new`]; files that cannot be written.
pub fn create(directory: &Path, order: &Order, now: SystemTime) -> Result<Bundle, CertsError> {
    let bundle = Bundle::new(order, now)?;
    fs::create_dir_all(directory).map_err(failed("make", directory))?;
    let _lock = lock(directory)?;
    let files = files(&bundle);
    if let Some((name, ..)) = files.iter().find(|(name, ..)| directory.join(name).exists()) {
        return Err(CertsError::Exists { path: directory.join(name) });
    }
    write_all(directory, &files)?;
    Ok(bundle)
}

/// Renews the certificates in a directory, and the authority if it is time to.
///
/// # Errors
/// [`CertsError::Missing`] if there are none; files that cannot be read, are not what they should be, or cannot be
/// written.
pub fn rotate(directory: &Path, order: &Order, now: SystemTime) -> Result<Bundle, CertsError> {
    if !directory.join(AUTHORITY_KEY).exists() {
        return Err(CertsError::Missing { directory: directory.to_owned() });
    }
    let _lock = lock(directory)?;
    let bundle = Bundle::renew(present(directory)?, order, now)?;
    write_all(directory, &files(&bundle))?;
    if bundle.cross.is_empty() {
        let cross = directory.join(CROSS);
        match fs::remove_file(&cross) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &cross)(error));
            }
            _ => {}
        }
    }
    Ok(bundle)
}

fn present(directory: &Path) -> Result<Present, CertsError> {
    let path = |name: &str| directory.join(name);
    let key = path(AUTHORITY_KEY);
    let leaf = |name: &str| certificates(&path(name).join(CERTIFICATE)).map(|chain| chain.into_iter().next());
    let trusted = path(TRUSTED);
    let authorities = certificates(&trusted)?;
    if authorities.is_empty() {
        return Err(CertsError::Content { path: trusted, what: "certificate" });
    }
    Ok(Present {
        authorities,
        authority_key: fs::read_to_string(&key).map_err(failed("read", &key))?,
        cross: certificates(&path(CROSS))?,
        server: leaf(SERVER)?.map(|leaf| leaf.names).unwrap_or_default(),
        client: leaf(CLIENT)?.map(|leaf| leaf.common_name),
    })
}

/// Of a file that need not be there.
fn certificates(path: &Path) -> Result<Vec<Certificate>, CertsError> {
    match fs::read(path) {
        Ok(text) => Certificate::parse_pem(&text)
            .ok_or_else(|| CertsError::Content { path: path.to_owned(), what: "certificate" }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Name, content and mode. In this order, so that whoever comes to half of them finds nothing that is not trusted:
/// first who is trusted, last what is presented; and so that an authority's key is never without its certificate.
fn files(bundle: &Bundle) -> Vec<(PathBuf, String, u32)> {
    let mut files = vec![(TRUSTED.into(), bundle.trusted(), PUBLIC)];
    if !bundle.cross.is_empty() {
        files.push((CROSS.into(), bundle.cross.iter().map(Certificate::pem).collect(), PUBLIC));
    }
    files.push((AUTHORITY_KEY.into(), bundle.authority_key.clone(), PRIVATE));
    for name in [SERVER, CLIENT] {
        files.push((Path::new(name).join(TRUSTED), bundle.trusted(), PUBLIC));
    }
    for (name, leaf) in [(SERVER, &bundle.server), (CLIENT, &bundle.client)] {
        files.push((Path::new(name).join(KEY), leaf.key.clone(), PRIVATE));
        files.push((Path::new(name).join(CERTIFICATE), bundle.chain(leaf), PUBLIC));
    }
    files
}

fn write_all(directory: &Path, files: &[(PathBuf, String, u32)]) -> Result<(), CertsError> {
    for name in [SERVER, CLIENT] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(failed("make", &path))?;
    }
    for (name, content, mode) in files {
        let path = directory.join(name);
        replace(&path, content, *mode).map_err(failed("write", &path))?;
    }
    Ok(())
}

/// Owner and mode stay: a daemon that does not run as root reads its key because somebody gave it the file.
fn replace(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let _ = fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(PRIVATE).open(&temporary)?;
    let mut mode = mode;
    if let Ok(before) = fs::metadata(path) {
        let now = file.metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        mode = before.mode() & 0o777;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// One at a time: two that renew would leave an authority without its key.
fn lock(directory: &Path) -> Result<File, CertsError> {
    let lock = File::open(directory).and_then(|file| file.lock().map(|()| file));
    lock.map_err(failed("lock", directory))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertsError {
    let path = path.to_owned();
    move |source| CertsError::File { action, path, source }
}
