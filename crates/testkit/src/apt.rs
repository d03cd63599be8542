//! Debian packages of any architecture, without touching the host's package database.
//!
//! apt is given its own state and cache directories, knows all architectures at once, and reads the
//! host's sources where the host is Debian, and else those that mmdebstrap knows. It runs as any user.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::process::{self, ProcessError};

/// Architectures whose package lists are read, by their Debian names.
pub const ARCHITECTURES: [&str; 6] = ["amd64", "arm64", "armhf", "i386", "ppc64el", "s390x"];

/// The Debian release that packages come from when the host's own sources do not have them.
pub(crate) const SUITE: &str = "bookworm";

/// Makes mmdebstrap write the sources of a system that it would install, without installing anything:
/// needs neither the network nor privileges. The first line is the suite itself; the others are its
/// updates, partly from another host. An entry names the key ring of the package
/// `debian-archive-keyring` if the host's apt does not trust it; finding that out takes `gpg`.
const WRITE_SOURCES: [&str; 5] = [
    "--quiet",
    "--mode=chrootless",
    "--variant=custom",
    "--skip=update,cleanup",
    r#"--setup-hook=sed 1q "$1/etc/apt/sources.list" > "$SOURCES""#,
];

/// A mirror that is just being updated serves a few broken files for a while.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(3);

/// Why packages could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// Files of the private apt could not be written or read.
    #[error("cannot prepare a private apt in {}", directory.display())]
    Prepare {
        /// Its directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// mmdebstrap did not say where Debian's packages are.
    #[error("cannot find the sources of Debian packages")]
    Sources(#[source] ProcessError),
    /// apt failed after all attempts.
    #[error("cannot download Debian packages {packages:?}; is the network up?")]
    Download {
        /// As asked for.
        packages: Vec<String>,
        /// What the last attempt said.
        source: ProcessError,
    },
    /// A package could not be read.
    #[error("cannot read a Debian package")]
    Read(#[from] ProcessError),
    /// The downloaded files do not include a package.
    #[error("apt succeeded, yet there is no package {package} for {architecture}")]
    Missing {
        /// Its name.
        package: String,
        /// Debian name of the architecture.
        architecture: String,
    },
}

/// A private apt.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// An apt whose every file is in `directory`.
    ///
    /// # Errors
    /// When the files cannot be written, or the host is not Debian and mmdebstrap fails.
    pub fn new(directory: &Path) -> Result<Self, AptError> {
        let configuration = directory.join("apt.conf");
        let apt = Self { directory: directory.to_owned(), configuration };
        let use_host_sources = host_is_debian();
        apt.prepare(use_host_sources)
            .map_err(|source| AptError::Prepare { directory: directory.to_owned(), source })?;
        if !use_host_sources {
            apt.write_sources()?;
        }
        Ok(apt)
    }

    fn prepare(&self, use_host_sources: bool) -> io::Result<()> {
        for name in ["state/lists/partial", "cache/archives/partial", "etc/parts", "packages"] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        fs::write(self.directory.join("state/status"), "")?;
        let text = configuration(&self.directory, use_host_sources, &host_acquire_options());
        fs::write(&self.configuration, text)
    }

    fn write_sources(&self) -> Result<(), AptError> {
        let mut command = Command::new("mmdebstrap");
        command.args(WRITE_SOURCES).args([SUITE, "/dev/null"]);
        command.env("SOURCES", self.directory.join("etc/debian.list")).env("LC_ALL", "C.UTF-8");
        process::output(&mut command).map(|_| ()).map_err(AptError::Sources)
    }

    /// Downloads `packages` for each of `architectures`, and returns the packages' files.
    ///
    /// # Errors
    /// When apt keeps failing.
    pub fn download(&self, packages: &[&str], architectures: &[&str]) -> Result<Vec<Package>, AptError> {
        let wanted: Vec<(&str, &str)> =
            architectures.iter().flat_map(|arch| packages.iter().map(move |name| (*name, *arch))).collect();
        let words: Vec<String> = wanted.iter().map(|(name, arch)| format!("{name}:{arch}")).collect();
        self.with_retries(&words, || {
            process::output(self.apt_get().arg("download").args(&words)).map(|_| ())
        })?;
        wanted.into_iter().map(|(name, architecture)| self.downloaded(name, architecture)).collect()
    }

    /// The newest version of the package that `metapackage` stands for, by the name of its first
    /// dependency that starts with `prefix`: `golang-go` stands for `golang-1.19-go`.
    ///
    /// # Errors
    /// When apt fails, or the metapackage has no such dependency.
    pub fn dependency(&self, metapackage: &str, prefix: &str) -> Result<String, AptError> {
        let mut name = None;
        self.with_retries(&[metapackage.to_owned()], || {
            let mut depends = self.command("apt-cache");
            let text = process::output(depends.args(["depends", "--important", metapackage]))?;
            name = String::from_utf8_lossy(&text)
                .split_whitespace()
                .find(|word| word.starts_with(prefix) && *word != metapackage)
                .map(str::to_owned);
            Ok(())
        })?;
        name.ok_or_else(|| AptError::Missing {
            package: metapackage.to_owned(),
            architecture: "any".to_owned(),
        })
    }

    /// Removes the downloaded packages and apt's caches; the package lists stay.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn tidy(&self) -> io::Result<()> {
        ["packages", "cache"].iter().try_for_each(|name| fs::remove_dir_all(self.directory.join(name)))
    }

    /// Tries without an update first: the lists may be there. `apt-get update` reports a failure
    /// when any list is broken, although the others are usable, so what counts is the `attempt`.
    fn with_retries(
        &self,
        packages: &[String],
        mut attempt: impl FnMut() -> Result<(), ProcessError>,
    ) -> Result<(), AptError> {
        let mut result = attempt();
        for round in 0..ATTEMPTS {
            if result.is_ok() {
                break;
            }
            if round > 0 {
                thread::sleep(PAUSE);
            }
            let update = process::output(self.apt_get().arg("update"));
            result = attempt().map_err(|error| update.err().unwrap_or(error));
        }
        result.map_err(|source| AptError::Download { packages: packages.to_vec(), source })
    }

    fn apt_get(&self) -> Command {
        let mut command = self.command("apt-get");
        command.args(["--quiet", "--quiet"]).current_dir(self.directory.join("packages"));
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C.UTF-8");
        command
    }

    fn downloaded(&self, name: &str, architecture: &str) -> Result<Package, AptError> {
        let directory = self.directory.join("packages");
        let mut found: Vec<Package> = fs::read_dir(&directory)
            .map_err(|source| AptError::Prepare { directory, source })?
            .flatten()
            .filter_map(|file| Package::from_file(file.path()))
            .filter(|package| package.name == name)
            .filter(|package| [architecture, "all"].contains(&package.architecture.as_str()))
            .collect();
        found.sort_by(|a, b| a.version.cmp(&b.version));
        found
            .pop()
            .ok_or_else(|| AptError::Missing { package: name.into(), architecture: architecture.into() })
    }
}

/// The private `apt.conf`. Directories of the host other than its sources are not read: they hold
/// hooks and preferences that belong to the host.
fn configuration(directory: &Path, use_host_sources: bool, acquire: &str) -> String {
    let own = directory.display();
    let sources = if use_host_sources {
        String::new()
    } else {
        format!(
            "Dir::Etc::sourcelist \"{own}/etc/debian.list\";\nDir::Etc::sourceparts \"{own}/etc/parts\";\n"
        )
    };
    let architectures: String = ARCHITECTURES.iter().map(|name| format!("\"{name}\"; ")).collect();
    format!(
        "Dir::State \"{own}/state\";\nDir::State::status \"{own}/state/status\";\nDir::Cache \"{own}/cache\";\n\
         Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"{own}/etc/parts\";\n\
         Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"{own}/etc/parts\";\n\
         {sources}APT::Architectures {{ {architectures}}};\nAPT::Sandbox::User \"root\";\n\
         Acquire::GzipIndexes \"true\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n{acquire}"
    )
}

fn host_is_debian() -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines().any(|line| line == "ID=debian")
}

/// How the host's apt reaches the network: proxies, time limits.
fn host_acquire_options() -> String {
    let dump = process::output(Command::new("apt-config").arg("dump")).unwrap_or_default();
    let dump = String::from_utf8_lossy(&dump);
    dump.lines().filter(|line| is_transport_option(line)).map(|line| format!("{line}\n")).collect()
}

fn is_transport_option(line: &str) -> bool {
    ["Acquire::http::", "Acquire::https::"].iter().any(|prefix| line.starts_with(prefix))
}

/// A downloaded package file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version, with its epoch.
    pub version: String,
    /// Debian name of the architecture.
    pub architecture: String,
    /// The `.deb`.
    pub file: PathBuf,
}

impl Package {
    /// Reads the name apt gives its files: `name_1%3a2.3-4_amd64.deb`.
    fn from_file(file: PathBuf) -> Option<Self> {
        let stem = file.file_name()?.to_str()?.strip_suffix(".deb")?;
        let mut parts = stem.splitn(3, '_');
        let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            name: name.to_owned(),
            version: version.replace("%3a", ":"),
            architecture: architecture.to_owned(),
            file: file.clone(),
        })
    }

    /// The package's files, as an uncompressed tar.
    ///
    /// # Errors
    /// When `dpkg-deb` refuses the file.
    pub fn files(&self) -> Result<tar::Archive<io::Cursor<Vec<u8>>>, AptError> {
        let bytes = process::output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&self.file))?;
        Ok(tar::Archive::new(io::Cursor::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_package_files() {
        let file = PathBuf::from("/x/busybox-static_1%3a1.35.0-4+b1_arm64.deb");
        let package = Package::from_file(file.clone()).unwrap();
        let want = ("busybox-static", "1:1.35.0-4+b1", "arm64");
        assert_eq!((&*package.name, &*package.version, &*package.architecture), want);
        assert_eq!(package.file, file);
        assert_eq!(Package::from_file("/x/lock".into()), None);
        assert_eq!(Package::from_file("/x/one_two.deb".into()), None);
    }

    #[test]
    fn keeps_every_file_in_its_directory() {
        let text = configuration(Path::new("/own"), false, "Acquire::http::Proxy \"http://proxy\";\n");
        for option in ["Dir::State ", "Dir::Cache ", "Dir::Etc::sourcelist ", "Dir::Etc::sourceparts "] {
            let line = text.lines().find(|line| line.starts_with(option));
            assert!(line.is_some_and(|line| line.contains("\"/own/")), "{option}: {line:?}");
        }
        assert!(text.contains("\"s390x\"; ") && text.ends_with("Acquire::http::Proxy \"http://proxy\";\n"));
        let host = configuration(Path::new("/own"), true, "");
        assert!(!host.contains("sourcelist"), "the host's sources are left as they are");
    }

    #[test]
    fn takes_over_only_how_to_reach_the_network() {
        assert!(is_transport_option("Acquire::http::Proxy \"http://proxy:3128\";"));
        assert!(!is_transport_option("Acquire::IndexTargets::deb::Packages \"\";"));
        assert!(!is_transport_option("DPkg::Post-Invoke:: \"rm -f x\";"));
    }
}
