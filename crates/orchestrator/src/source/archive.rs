//! A context that comes as a stream: an archive, or a Dockerfile and nothing else.

use std::{
    io::{self, Read},
    path::Path,
};

use archway_dockerfile::MAX_TEXT_BYTES;
use archway_layer::extract::{
    ArchiveFormat, ExtractError, ExtractOptions, Ownership, is_archive, unpack_archive,
};

/// Bytes that are looked at: more than the extension headers of a first entry usually take.
const PREFIX: u64 = 64 << 10;

/// What a stream turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Streamed {
    /// An archive; it is unpacked.
    Archive,
    /// Something else: its bytes.
    Text(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// A stream could not be taken as a context.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Unpack(#[from] ExtractError),
}

/// Unpacks `stream` into the empty directory `into` if it is an archive, and reads it if not. As in
/// BuildKit, compressed data is an archive, whatever it holds.
pub(super) fn take(
    mut stream: impl Read + Send,
    into: &Path,
    ownership: Ownership,
) -> Result<Streamed, StreamError> {
    let mut prefix = Vec::new();
    (&mut stream).take(PREFIX).read_to_end(&mut prefix)?;
    if prefix.is_empty() {
        return Ok(Streamed::Nothing);
    }
    let whole = prefix.as_slice().chain(&mut stream);
    if ArchiveFormat::detect(&prefix) != ArchiveFormat::Tar || is_archive(prefix.as_slice()) {
        let options = ExtractOptions { ownership, ..ExtractOptions::default() };
        unpack_archive(whole, into, &options)?;
        return Ok(Streamed::Archive);
    }
    let mut text = Vec::new();
    whole.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(StreamError::Read(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Streamed::Text(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tar(name: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o640);
        builder.append_data(&mut header, name, b"text".as_slice()).unwrap();
        builder.into_inner().unwrap()
    }

    fn taken(bytes: &[u8]) -> (tempfile::TempDir, Result<Streamed, StreamError>) {
        let directory = tempfile::tempdir().unwrap();
        let taken = take(bytes, directory.path(), Ownership::Squash);
        (directory, taken)
    }

    #[test]
    fn archives_are_told_from_dockerfiles() {
        let (directory, result) = taken(&tar("in/file"));
        assert_eq!(result.unwrap(), Streamed::Archive);
        assert_eq!(fs::read_to_string(directory.path().join("in/file")).unwrap(), "text");
        // A long name has a header of its own in front.
        let (directory, result) = taken(&tar(&("x/".repeat(400) + "file")));
        assert_eq!(result.unwrap(), Streamed::Archive);
        assert!(directory.path().join("x/x").exists());
        let dockerfile = b"FROM scratch\n".to_vec();
        assert_eq!(taken(&dockerfile).1.unwrap(), Streamed::Text(dockerfile));
        assert_eq!(taken(b"").1.unwrap(), Streamed::Nothing);
    }

    #[test]
    fn compressed_data_that_is_no_archive_is_an_error() {
        assert!(matches!(taken(&[0x1f, 0x8b, 0x08, 0, 0, 0]).1, Err(StreamError::Unpack(_))));
    }

    #[test]
    fn a_text_is_bounded() {
        assert!(matches!(taken(&vec![b'#'; MAX_TEXT_BYTES + 1]).1, Err(StreamError::Read(_))));
        assert!(matches!(taken(&vec![b'#'; MAX_TEXT_BYTES]).1, Ok(Streamed::Text(_))));
    }
}
