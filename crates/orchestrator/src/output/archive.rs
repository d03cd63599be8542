//! Tar archives of images, the same bytes every time.

use std::{
    fs::Permissions,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{Error, request::Destination};

/// Writes files into a tar whose headers depend on names and sizes only.
pub(crate) struct Archive<W: Write> {
    tar: tar::Builder<W>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { tar: tar::Builder::new(to) }
    }

    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut header = header(tar::EntryType::Directory, 0, 0o755);
        self.tar.append_data(&mut header, path, io::empty())
    }

    pub(crate) fn bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(path, bytes.len() as u64, bytes)
    }

    pub(crate) fn file(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, size, 0o644);
        self.tar.append_data(&mut header, path, content)
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Where a single-file output is written. A file appears under its name only when it is complete.
pub(crate) enum Sink {
    File { temporary: tempfile::NamedTempFile, path: PathBuf },
    Stdout(io::Stdout),
}

impl Sink {
    pub(crate) fn open(destination: &Destination) -> Result<Self, Error> {
        match destination {
            Destination::Stdout => Ok(Self::Stdout(io::stdout())),
            Destination::File(path) => {
                let directory = match path.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                };
                let temporary = tempfile::Builder::new()
                    .prefix(".archway-")
                    // Temporary files are private; an output is as readable as the umask allows.
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(directory)
                    .map_err(Error::write(path))?;
                Ok(Self::File { temporary, path: path.clone() })
            }
            Destination::Daemon => unreachable!("the daemon is not written to as a file"),
        }
    }

    /// Puts the file in place. Gives its name.
    pub(crate) fn finish(mut self) -> Result<String, Error> {
        self.flush().map_err(Error::write("standard output"))?;
        match self {
            Self::Stdout(_) => Ok("standard output".into()),
            Self::File { temporary, path } => {
                temporary.persist(&path).map_err(|error| Error::write(&path)(error.error))?;
                Ok(path.display().to_string())
            }
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { temporary, .. } => temporary.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { temporary, .. } => temporary.flush(),
            Self::Stdout(stdout) => stdout.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete_and_others_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.tar");
        let mut sink = Sink::open(&Destination::File(path.clone())).unwrap();
        sink.write_all(b"half").unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        // What the umask of whoever runs the test makes of a plain new file.
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
