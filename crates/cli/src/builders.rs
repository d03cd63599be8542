//! The builders that the user has: two files that are read, and one of them that is written.
//!
//! `/etc/archway/builders.toml` is the machine's, and never written here. The user's comes before it:
//! `$ARCHWAY_CONFIG`, else `builders.toml` in `$XDG_CONFIG_HOME/archway` or `~/.config/archway`.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use archway_buildkit::{
    Pool,
    config::{Configuration, Document, EMBEDDED},
};

use crate::error::CliError;

const MACHINE: &str = "/etc/archway/builders.toml";
const FILE: &str = "builders.toml";

/// All builders, the user's and the machine's.
pub(crate) struct Builders {
    all: Configuration,
    user: Configuration,
}

impl Builders {
    /// Reads the files.
    pub(crate) fn read() -> Result<Self, CliError> {
        let user = read(&user_file())?;
        let machine = read(Path::new(MACHINE))?;
        Ok(Self { all: user.clone().over(machine), user })
    }

    /// Builders by name, without this machine.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (&str, &Pool)> {
        self.all.builders.iter().map(|(name, pool)| (name.as_str(), pool))
    }

    /// The one that is used when none is named.
    pub(crate) fn current(&self) -> &str {
        self.all.current.as_deref().unwrap_or(EMBEDDED)
    }

    /// The daemons of a builder; `None`: it is this machine.
    pub(crate) fn pool(&self, name: &str) -> Result<Option<&Pool>, CliError> {
        if name == EMBEDDED {
            return Ok(None);
        }
        let missing = || CliError::NoSuchBuilder {
            name: name.to_owned(),
            known: [EMBEDDED]
                .into_iter()
                .chain(self.pools().map(|(name, _)| name))
                .map(str::to_owned)
                .collect(),
        };
        self.all.builders.get(name).map(Some).ok_or_else(missing)
    }

    /// The file that a builder would have to be changed in, if that is not the user's.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<&'static Path> {
        let is_machines = self.all.builders.contains_key(name) && !self.user.builders.contains_key(name);
        is_machines.then_some(Path::new(MACHINE))
    }
}

/// Changes the user's file. Nobody else changes it meanwhile, and it is there as a whole at any time.
pub(crate) fn change<T>(change: impl FnOnce(&mut Document) -> Result<T, CliError>) -> Result<T, CliError> {
    let named = user_file();
    // A link, as those have who keep their configuration elsewhere, stays one.
    let path = fs::canonicalize(&named).unwrap_or(named);
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(failed("make", directory))?;
    let lock = File::open(directory).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(failed("lock", directory))?;
    let text = text(&path)?;
    let mut document = Document::parse(&text).map_err(|source| invalid(&path, source))?;
    let result = change(&mut document)?;
    replace(&path, &document.to_string()).map_err(failed("write", &path))?;
    Ok(result)
}

/// The user's file.
pub(crate) fn user_file() -> PathBuf {
    user_file_of(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn user_file_of(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if let Some(file) = variable("ARCHWAY_CONFIG") {
        return file;
    }
    let xdg = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let home = || variable("HOME").unwrap_or_default().join(".config");
    xdg.unwrap_or_else(home).join("archway").join(FILE)
}

fn read(path: &Path) -> Result<Configuration, CliError> {
    let mut configuration = Configuration::parse(&text(path)?).map_err(|source| invalid(path, source))?;
    configuration.resolve(path.parent().unwrap_or(path));
    Ok(configuration)
}

/// Empty where there is no file.
fn text(path: &Path) -> Result<String, CliError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(failed("read", path)),
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::create(&temporary)?;
    if let Ok(before) = fs::metadata(path) {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn invalid(path: &Path, source: archway_buildkit::config::ConfigError) -> CliError {
    CliError::Builders { path: path.to_owned(), source }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.display().to_string();
    move |source| CliError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_file_is_where_others_keep_theirs() {
        for (variables, want) in [
            (&[("ARCHWAY_CONFIG", "/c/b.toml"), ("HOME", "/h")][..], "/c/b.toml"),
            (&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")], "/x/archway/builders.toml"),
            (&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")], "/h/.config/archway/builders.toml"),
            (&[("HOME", "/h")], "/h/.config/archway/builders.toml"),
        ] {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(user_file_of(variable), Path::new(want));
        }
    }
}
