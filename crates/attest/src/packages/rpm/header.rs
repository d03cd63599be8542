//! One package: rpm's header, an index of tags and the data they point at.
//!
//! <https://rpm-software-management.github.io/rpm/manual/format_header.html>

use super::super::{Package, PackageType, Source, bytes::Bytes};

const NAME: usize = 1000;
const VERSION: usize = 1001;
const RELEASE: usize = 1002;
const EPOCH: usize = 1003;
const VENDOR: usize = 1011;
const LICENCE: usize = 1014;
const ARCHITECTURE: usize = 1022;
const SOURCE_RPM: usize = 1044;

/// The package of a header as a database keeps it, without the magic number of files. `None` if it is none, or a key.
pub(super) fn package(blob: &[u8]) -> Option<Package> {
    let header = Header::parse(blob)?;
    let name = header.text(NAME)?;
    if name == "gpg-pubkey" {
        return None;
    }
    let mut version = format!("{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    if let Some(epoch) = header.number(EPOCH).filter(|epoch| *epoch > 0) {
        version.insert_str(0, &format!("{epoch}:"));
    }
    Some(Package {
        architecture: header.text(ARCHITECTURE),
        source: header.text(SOURCE_RPM).and_then(|file| source_of(&file)),
        licences: header.text(LICENCE).into_iter().collect(),
        supplier: header.text(VENDOR),
        ..Package::new(PackageType::Rpm, &name, &version)
    })
}

/// `openssl-3.0.7-27.el9.src.rpm`
fn source_of(file: &str) -> Option<Source> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let release = stem.rfind('-')?;
    let version = stem[..release].rfind('-')?;
    Some(Source { name: stem[..version].to_owned(), version: stem[version + 1..].to_owned() })
}

struct Header<'a> {
    index: &'a [u8],
    data: Bytes<'a>,
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Option<Self> {
        let bytes = Bytes::big_endian(blob);
        let (entries, size) = (bytes.u32(0)?, bytes.u32(4)?);
        let index = bytes.slice(8, entries.checked_mul(16)?)?;
        let data = Bytes::big_endian(bytes.slice(8 + index.len(), size)?);
        Some(Self { index, data })
    }

    /// Type and offset of a tag.
    fn find(&self, tag: usize) -> Option<(usize, usize)> {
        let entries = self.index.chunks_exact(16).map(Bytes::big_endian);
        entries
            .filter(|entry| entry.u32(0) == Some(tag))
            .find_map(|entry| Some((entry.u32(4)?, entry.u32(8)?)))
    }

    /// A text, or the first of a list.
    fn text(&self, tag: usize) -> Option<String> {
        let (6 | 8 | 9, offset) = self.find(tag)? else { return None };
        let text = self.data.from(offset)?.split(|byte| *byte == 0).next()?;
        (!text.is_empty() && text != b"(none)").then(|| String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, tag: usize) -> Option<usize> {
        let (4, offset) = self.find(tag)? else { return None };
        self.data.u32(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_taken_from_file_names() {
        let source = source_of("java-17-openjdk-17.0.9.0.9-2.el9.src.rpm").unwrap();
        assert_eq!((source.name.as_str(), source.version.as_str()), ("java-17-openjdk", "17.0.9.0.9-2.el9"));
        assert_eq!(source_of("no"), None);
    }
}
