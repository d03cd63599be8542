//! `debian`: a minimal Debian made by mmdebstrap.
//!
//! The packages' own scripts run, so another machine's needs an emulator. It is registered in a user
//! namespace made for that (Linux 6.7), never on the host.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use archway_oci::ContainerConfig;

use super::{Architecture, BaseError};
use crate::{
    apt::SUITE,
    image::{Image, Layer, PlatformImage, TIME},
    process::ProcessError,
};

const TAR: &str = "root.tar";

/// Runs in the namespace: says that it is there, waits for its ids, registers the emulator and
/// starts mmdebstrap, with the suite itself as the only source: its updates come partly from another
/// host. Arguments: Debian architecture, tar, suite, emulator or nothing.
const SCRIPT: &str = r#"
echo ready; read -r go
if [ -n "$4" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    cat "/usr/lib/binfmt.d/qemu-$4.conf" > /proc/sys/fs/binfmt_misc/register
fi
exec mmdebstrap --quiet --mode=root --variant=minbase --skip=check/qemu --architectures="$1" \
    --aptopt='Acquire::Retries "5"' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --setup-hook='sed --in-place 1q "$1/etc/apt/sources.list"' "$3" "$2"
"#;

/// Writes the image from finished root file systems.
pub(super) fn write(roots: &[(Architecture, PathBuf)], directory: &Path) -> Result<(), BaseError> {
    let platform = |(architecture, root): &(Architecture, PathBuf)| -> Result<PlatformImage, BaseError> {
        let layers = vec![Layer::from_tar(&fs::read(root.join(TAR))?)?];
        Ok(PlatformImage { platform: architecture.platform(), layers, config: config() })
    };
    let platforms = roots.iter().map(platform).collect::<Result<Vec<_>, _>>()?;
    Image::write(directory, &platforms)?;
    Ok(())
}

fn config() -> ContainerConfig {
    ContainerConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        cmd: Some(vec!["bash".into()]),
        ..ContainerConfig::default()
    }
}

/// Makes the root file system of `architecture` as a tar in `directory`.
pub(super) fn make_root(architecture: Architecture, directory: &Path) -> Result<(), BaseError> {
    let log = directory.join("log");
    let mut child = start(architecture, &directory.join(TAR), &log)?;
    let status = match release(&mut child) {
        Ok(()) => child.wait()?,
        Err(error) => {
            let _ = child.kill();
            child.wait()?;
            return Err(error.into());
        }
    };
    if status.success() {
        return Ok(fs::remove_file(log)?);
    }
    let stderr = fs::read_to_string(&log).unwrap_or_default();
    Err(ProcessError::Failed { command: format!("mmdebstrap {}", architecture.debian), status, stderr }
        .into())
}

fn start(architecture: Architecture, tar: &Path, log: &Path) -> Result<Child, BaseError> {
    let emulator = if architecture.is_native() { "" } else { architecture.qemu };
    let mut command = Command::new("unshare");
    command.args(["--user", "--mount", "--propagation=private"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command
        .args(["sh", "-euc", SCRIPT, "mmdebstrap", architecture.debian])
        .arg(tar)
        .args([SUITE, emulator])
        .env("SOURCE_DATE_EPOCH", TIME.to_string())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(log)?);
    let program = "unshare".to_owned();
    Ok(command.spawn().map_err(|source| ProcessError::Start { program, source })?)
}

/// Gives the namespace its ids, then lets the script go on. A normal user's are mapped by unshare
/// itself; root has no ranges in /etc/subuid and needs none.
fn release(child: &mut Child) -> io::Result<()> {
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if rustix::process::geteuid().is_root() {
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295\n")?;
        }
    }
    let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    stdin.write_all(b"go\n")
}
