//! A layer made entry by entry.

use std::io::{self, Write};

use archway_oci::{Descriptor, Digest, media_type};
use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::TIME;

/// A finished layer: a gzip-compressed tar.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The compressed bytes.
    pub bytes: Vec<u8>,
    /// Points at `bytes`.
    pub descriptor: Descriptor,
    /// Digest of the tar before compression.
    pub diff_id: Digest,
}

impl Layer {
    /// Compresses a finished tar.
    pub fn from_tar(tar: &[u8]) -> io::Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(tar)?;
        let bytes = gzip.finish()?;
        let descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &bytes);
        Ok(Self { bytes, descriptor, diff_id: Digest::sha256(tar) })
    }
}

/// Writes a layer's entries in the order they are added, owned by root. Paths are relative: `etc/passwd`.
pub struct LayerBuilder {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for LayerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerBuilder {
    /// A layer without entries.
    pub fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    /// A directory.
    pub fn directory(mut self, path: &str, mode: u32) -> io::Result<Self> {
        let mut header = header(EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, format!("{}/", path.trim_end_matches('/')), io::empty())?;
        Ok(self)
    }

    /// A regular file.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<Self> {
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content)?;
        Ok(self)
    }

    /// A symbolic link to `target`.
    pub fn symlink(mut self, path: &str, target: &str) -> io::Result<Self> {
        self.tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?;
        Ok(self)
    }

    /// A hard link to the earlier entry `target`.
    pub fn hard_link(mut self, path: &str, target: &str) -> io::Result<Self> {
        self.tar.append_link(&mut header(EntryType::Link, 0o644, 0), path, target)?;
        Ok(self)
    }

    /// Any entry: the header's time is kept, its checksum is computed.
    pub fn entry(mut self, mut header: Header, path: &str, content: impl io::Read) -> io::Result<Self> {
        self.tar.append_data(&mut header, path, content)?;
        Ok(self)
    }

    /// The layer.
    pub fn finish(self) -> io::Result<Layer> {
        Layer::from_tar(&self.tar.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Layer {
        let builder = LayerBuilder::new().directory("tmp", 0o1777).unwrap();
        let builder = builder.file("etc/hello", 0o644, b"hello\n").unwrap();
        builder
            .symlink("bin/sh", "busybox")
            .unwrap()
            .hard_link("etc/too", "etc/hello")
            .unwrap()
            .finish()
            .unwrap()
    }

    #[test]
    fn the_same_entries_give_the_same_digest() {
        let golden = "sha256:2a96ab454fdc044f7346eeaccfc0e50e06274df30962523e37845156da70a5a4";
        assert_eq!(sample().diff_id.as_str(), golden);
        assert_eq!(sample().descriptor, sample().descriptor);
    }

    #[test]
    fn tar_reads_it_back() {
        let layer = sample();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&layer.bytes[..]));
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name().unwrap().map(|link| link.display().to_string());
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), link)
            })
            .collect();
        let want = [
            ("tmp/", 0o1777, None),
            ("etc/hello", 0o644, None),
            ("bin/sh", 0o777, Some("busybox")),
            ("etc/too", 0o644, Some("etc/hello")),
        ];
        assert_eq!(entries, want.map(|(path, mode, link)| (path.to_owned(), mode, link.map(str::to_owned))));
    }
}
