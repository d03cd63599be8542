//! Which distribution a root file system is of: `/etc/os-release`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lines;

/// What `os-release(5)` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`: `debian`, `alpine`, `rhel`.
    pub id: String,
    /// `VERSION_ID`: `12`, `3.20.3`, `9.4`; rolling distributions have none.
    pub version: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
}

impl Distribution {
    /// Reads an `os-release` file; `None` without an `ID`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let fields: BTreeMap<String, String> = lines(text)
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                line.split_once('=').map(|(key, value)| (key.trim().to_owned(), unquoted(value)))
            })
            .collect();
        let field = |key: &str| fields.get(key).filter(|value| !value.is_empty()).cloned();
        Some(Self {
            id: field("ID")?.to_lowercase(),
            version: field("VERSION_ID"),
            name: field("PRETTY_NAME"),
        })
    }

    /// `debian-12`, as package URLs name it.
    pub fn qualifier(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.id),
            None => self.id.clone(),
        }
    }

    /// The first `parts` numbers of the version: of `3.20.3`, two are `3.20`.
    pub fn release(&self, parts: usize) -> Option<String> {
        let version = self.version.as_ref()?;
        Some(version.split('.').take(parts).collect::<Vec<_>>().join("."))
    }
}

/// A value of a shell assignment, whose quoting os-release uses.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut characters = quoted.unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let text =
            b"# comment\nPRETTY_NAME=\"Debian GNU/Linux 12 (book\\\"worm)\"\nVERSION_ID='12'\nID=debian\n";
        let debian = Distribution::parse(text).unwrap();
        assert_eq!(debian.qualifier(), "debian-12");
        assert_eq!(debian.name.as_deref(), Some("Debian GNU/Linux 12 (book\"worm)"));
        let alpine = Distribution::parse(b"ID=alpine\nVERSION_ID=3.20.3\n").unwrap();
        assert_eq!(alpine.release(2).as_deref(), Some("3.20"));
        assert_eq!(Distribution::parse(b"NAME=nothing\n"), None);
    }
}
