//! Paragraphs of `Key: value` lines: Debian's control files (deb822), Python's metadata.

use std::collections::BTreeMap;

use super::lines;

/// The fields of one paragraph, by name in lower case. Of a repeated field all values are kept.
#[derive(Debug, Default)]
pub(super) struct Stanza(BTreeMap<String, Vec<String>>);

impl Stanza {
    /// The first value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values.
    pub(super) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The paragraphs of a text, those without a field left out. Continuation lines are skipped: no field that a catalog needs has any.
pub(super) fn stanzas(text: &[u8]) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    let mut current = Stanza::default();
    for line in lines(text) {
        if line.trim().is_empty() {
            if !current.0.is_empty() {
                stanzas.push(std::mem::take(&mut current));
            }
        } else if !line.starts_with([' ', '\t', '#'])
            && let Some((name, value)) = line.split_once(':')
        {
            current.0.entry(name.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
    }
    if !current.0.is_empty() {
        stanzas.push(current);
    }
    stanzas
}
