//! This machine's binfmt_misc: its entries as the kernel shows them (admin-guide/binfmt-misc).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::magic::Machine;

/// An enabled entry that goes by the beginning of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handler {
    pub(super) interpreter: PathBuf,
    /// Flag `F`: the kernel holds the interpreter open.
    pub(super) is_open: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

/// The entries shown in `directory`; none if binfmt_misc is not mounted there, or disabled.
pub(super) fn read_all(directory: &Path) -> Vec<Handler> {
    let enabled = fs::read_to_string(directory.join("status")).is_ok_and(|status| status.trim() == "enabled");
    let entries = if enabled { fs::read_dir(directory).ok() } else { None };
    let texts =
        entries.into_iter().flatten().flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| Handler::parse(&text)).collect()
}

impl Handler {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let magic = bytes(value("magic ")?)?;
        Some(Self {
            interpreter: value("interpreter ")?.into(),
            is_open: value("flags: ")?.contains('F'),
            offset: value("offset ")?.parse().ok()?,
            mask: value("mask ").map_or_else(|| Some(Vec::new()), bytes)?,
            magic,
        })
    }

    /// Whether it is asked for programs of `machine`.
    pub(super) fn takes(&self, machine: &Machine) -> bool {
        machine.is_matched_by(self.offset, &self.magic, &self.mask)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulation::magic;

    const TEXT: &str = "enabled\ninterpreter /usr/bin/qemu-s390x\nflags: OCF\noffset 0\n\
        magic 7f454c4602020100000000000000000000020016\nmask fffffffffffffffc00fffffffffffffffffeffff\n";

    #[test]
    fn entries_are_read_as_the_kernel_shows_them() {
        let handler = Handler::parse(TEXT).unwrap();
        assert_eq!(handler.interpreter, Path::new("/usr/bin/qemu-s390x"));
        assert!(handler.is_open);
        assert!(handler.takes(magic::of("s390x").unwrap()));
        assert!(!handler.takes(magic::of("arm64").unwrap()));
    }

    #[test]
    fn other_entries_are_passed_over() {
        for text in
            ["", "enabled", "enabled\ninterpreter /usr/bin/python\nflags: \nextension .pyc\n", "disabled\n"]
        {
            assert_eq!(Handler::parse(text), None, "{text:?}");
        }
        assert!(read_all(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn a_directory_counts_only_while_it_is_enabled() {
        let directory = std::env::temp_dir().join(format!("archway-binfmt-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("qemu-s390x"), TEXT).unwrap();
        fs::write(directory.join("status"), "disabled\n").unwrap();
        assert!(read_all(&directory).is_empty());
        fs::write(directory.join("status"), "enabled\n").unwrap();
        assert_eq!(read_all(&directory).len(), 1);
        fs::remove_dir_all(directory).unwrap();
    }
}
