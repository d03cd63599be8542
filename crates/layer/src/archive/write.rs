//! The tar writer that defines the bytes of our layers.

use std::io::{self, Read, Write};

use super::{BLOCK, Entry, EntryKind, header, padding};
use crate::windows::{self, Layout};

/// Bytes read from a file at a time.
const CHUNK: usize = 128 * 1024;

/// An entry that tar cannot hold, data that is not what was announced, or a sink that failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A path that is empty, absolute, has empty, `.` or `..` components, or a NUL byte.
    #[error("`{path}` cannot name an archive entry")]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// An extended attribute whose name a PAX record cannot carry: empty, or with `=` or NUL.
    #[error("`{path}`: the extended attribute `{name}` has a name that tar cannot hold")]
    XattrName {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
    },
    /// The name and extended attributes together exceed [`super::MAX_EXTENSION`].
    #[error("`{path}`: name and extended attributes take {size} bytes, more than readers of layers accept")]
    ExtensionTooLarge {
        /// The file.
        path: String,
        /// Size of the PAX extended header in bytes.
        size: u64,
    },
    /// A device number above what ustar holds.
    #[error("`{path}`: tar cannot hold device number {major}:{minor}")]
    DeviceNumber {
        /// The device.
        path: String,
        /// Driver number.
        major: u32,
        /// Device number.
        minor: u32,
    },
    /// The file ended before its announced size: it was cut while it was read.
    #[error("`{path}` ended after {read} of {announced} bytes: it changed while it was read")]
    ShortData {
        /// The file.
        path: String,
        /// Bytes its entry announced.
        announced: u64,
        /// Bytes there were.
        read: u64,
    },
    /// The data of a file could not be read.
    #[error("cannot read `{path}`")]
    Data {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Sink {
        /// Why.
        source: io::Error,
    },
}

/// Takes the bytes of an archive. Every [`Write`] is one.
pub trait Sink {
    /// Called before the first byte of each entry with its path and the `length` of its headers, data
    /// and padding together.
    fn begin_entry(&mut self, path: &[u8], length: u64) -> io::Result<()> {
        let _ = (path, length);
        Ok(())
    }

    /// Takes all of `bytes`.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl<W: Write> Sink for W {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

/// Writes entries one after another; equal calls give equal bytes.
///
/// Entries come out in the order they are appended: the order of a layer is the caller's
/// (see [`crate::diff`]).
#[derive(Debug)]
pub struct TarWriter<S> {
    sink: S,
    mtime: Option<i64>,
    layout: Layout,
    entries: u64,
    chunk: Vec<u8>,
}

impl<S: Sink> TarWriter<S> {
    /// An empty archive. With `mtime` (seconds since 1970), every entry is written with that time instead
    /// of its own.
    pub fn new(sink: S, mtime: Option<i64>) -> Self {
        Self { sink, mtime, layout: Layout::Unix, entries: 0, chunk: vec![0; CHUNK] }
    }

    /// The same archive in the layout of a layer: paths of entries are those of the root file system. With
    /// [`Layout::Windows`] it begins with the directories of the layout, which do not count as entries.
    pub fn with_layout(mut self, layout: Layout) -> Result<Self, WriteError> {
        if layout == Layout::Windows {
            for root in windows::roots() {
                self.write(&root, layout, io::empty())?;
            }
        }
        Ok(Self { layout, ..self })
    }

    /// How many entries were appended.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Appends one entry; `data` is read for exactly the size a regular file announces, and not at all
    /// for other kinds ([`io::empty`]). After an error the archive is not usable.
    pub fn append(&mut self, entry: &Entry, data: impl Read) -> Result<(), WriteError> {
        if !is_relative(&entry.path) {
            return Err(WriteError::InvalidPath { path: header::lossy(&entry.path) });
        }
        if let EntryKind::Hardlink { target } = &entry.kind
            && !is_relative(target)
        {
            return Err(WriteError::InvalidPath { path: header::lossy(target) });
        }
        if let EntryKind::Symlink { target } = &entry.kind
            && (target.is_empty() || target.contains(&0))
        {
            return Err(WriteError::InvalidPath { path: header::lossy(target) });
        }
        match self.layout {
            Layout::Unix => self.write(entry, Layout::Unix, data)?,
            Layout::Windows => self.write(&windows::outside(entry), Layout::Windows, data)?,
        }
        self.entries += 1;
        Ok(())
    }

    /// Writes an entry, the path of which is that in the archive.
    fn write(&mut self, entry: &Entry, layout: Layout, data: impl Read) -> Result<(), WriteError> {
        let mtime = self.mtime.unwrap_or(entry.mtime.seconds);
        let head = header::encode(entry, mtime, layout)?;
        let size = entry.data_size();
        let padding = padding(size);
        let length = head.len() as u64 + size + padding as u64;
        self.sink.begin_entry(&entry.path, length).map_err(sink)?;
        self.sink.put(&head).map_err(sink)?;
        self.copy(entry, data, size)?;
        self.sink.put(&[0; BLOCK][..padding]).map_err(sink)
    }

    fn copy(&mut self, entry: &Entry, mut data: impl Read, size: u64) -> Result<(), WriteError> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            match data.read(&mut self.chunk[..most]) {
                Ok(0) => {
                    let path = header::lossy(&entry.path);
                    return Err(WriteError::ShortData { path, announced: size, read: size - left });
                }
                Ok(count) => {
                    self.sink.put(&self.chunk[..count]).map_err(sink)?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(WriteError::Data { path: header::lossy(&entry.path), source }),
            }
        }
        Ok(())
    }

    /// Ends the archive with two blocks of zeros and gives the sink back.
    pub fn finish(mut self) -> Result<S, WriteError> {
        self.sink.put(&[0; 2 * BLOCK]).map_err(sink)?;
        Ok(self.sink)
    }
}

fn sink(source: io::Error) -> WriteError {
    WriteError::Sink { source }
}

fn is_relative(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}
