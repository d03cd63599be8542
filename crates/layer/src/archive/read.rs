//! A tar reader for archives that nobody vouches for.
//!
//! It accepts what Go's `archive/tar` accepts, because that is what wrote and checks most layers, and
//! agrees with it about where each entry ends: two readers that disagree about that see two different
//! archives. Names come out relative and free of `..`; everything that takes memory is bounded.

use std::{
    io::{self, BufRead, Read},
    mem,
};

use super::{
    BLOCK, Entry, EntryKind, MAX_EXTENSION, Timestamp,
    field::RawHeader,
    padding,
    pax::Extension,
    sparse::{self, PaxMap, Segment},
};

/// What a reader puts up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most headers, extension headers included.
    pub entries: u64,
    /// Longest path and link target in bytes.
    pub name: usize,
    /// Most bytes that the files may have together, holes included; `None`: any.
    pub total: Option<u64>,
    /// Most bytes of memory for what is remembered until the end of the archive, such as the names of its
    /// directories. This reader remembers nothing; who makes files of the entries does.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // Linux's PATH_MAX; ten times the entries of the largest images known; the names of two million
        // directories.
        Self { entries: 10_000_000, name: 4096, total: None, memory: 256 << 20 }
    }
}

/// Which of [`Limits`] was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::entries`].
    Entries,
    /// [`Limits::name`].
    Name,
    /// [`MAX_EXTENSION`]: a PAX header or a GNU long name.
    Extension,
    /// [`Limits::total`].
    Total,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entries => "too many entries",
            Self::Name => "a name that is too long",
            Self::Extension => "an extension header that is too large",
            Self::Total => "more data than allowed",
        })
    }
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The checksum: this is not a tar header.
    Checksum,
    /// A numeric field that is no number or out of range; the field's name.
    Number(&'static str),
    /// A name that is missing or has a NUL byte.
    Name,
    /// A PAX record.
    Pax,
    /// The map of a sparse file, or a sparse format other than old GNU and PAX 1.0.
    Sparse,
    /// A type no layer has; the type flag.
    Type(u8),
    /// An extension header that no entry follows.
    Dangling,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checksum => f.write_str("the checksum is wrong; this is no tar header"),
            Self::Number(field) => write!(f, "the {field} is not a valid number"),
            Self::Name => f.write_str("a name is missing or has a NUL byte"),
            Self::Pax => f.write_str("malformed PAX record"),
            Self::Sparse => f.write_str("malformed or unsupported sparse file"),
            Self::Type(flag) => write!(f, "unsupported entry type `{}`", flag.escape_ascii()),
            Self::Dangling => f.write_str("an extension header that no entry follows"),
        }
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream failed: I/O or decompression.
    #[error("cannot read the archive")]
    Stream {
        /// Why.
        source: io::Error,
    },
    /// The stream ended inside a header or an entry's data.
    #[error("the archive ends early, at byte {offset}")]
    Truncated {
        /// Uncompressed bytes read until then.
        offset: u64,
    },
    /// A header that means nothing.
    #[error("bad tar header before byte {offset}: {fault}")]
    Header {
        /// End of the header in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// One of the [`Limits`] was exceeded.
    #[error("refused at byte {offset}: {limit}, the limit is {most}")]
    Limit {
        /// Where in the uncompressed stream.
        offset: u64,
        /// Which limit.
        limit: Limit,
        /// Its value.
        most: u64,
    },
}

/// Reads entries one after another; the data of the current one through [`Read`].
#[derive(Debug)]
pub struct TarReader<R> {
    stream: R,
    limits: Limits,
    offset: u64,
    entries: u64,
    total: u64,
    /// Bytes of the current entry's data not yet read, and of the padding after it.
    data: u64,
    padding: u64,
    segments: Vec<Segment>,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Pending {
    pax: Option<Extension>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// Reads the (uncompressed) archive in `stream`.
    pub fn new(stream: R, limits: Limits) -> Self {
        Self { stream, limits, offset: 0, entries: 0, total: 0, data: 0, padding: 0, segments: Vec::new() }
    }

    /// Uncompressed bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the data that [`Read`] gives goes in the current file. An ordinary file has one segment;
    /// between the segments of a sparse one, and after the last, are holes.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The stream, at the byte after the last one read.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// The next entry, `None` at the end of the archive. What is left of the current one's data is
    /// skipped. After an error the reader is of no use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        self.skip(self.data + self.padding)?;
        (self.data, self.padding) = (0, 0);
        let mut pending = Pending::default();
        let mut extended = false;
        loop {
            let Some(block) = self.header_block()? else {
                return if extended { Err(self.fault(Fault::Dangling)) } else { Ok(None) };
            };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(self.limit(Limit::Entries, self.limits.entries));
            }
            let raw = RawHeader(&block);
            match raw.type_flag() {
                b'x' => {
                    let body = self.extension(&raw)?;
                    pending.pax = Some(Extension::parse(&body).map_err(|_| self.fault(Fault::Pax))?);
                }
                // Global records: as in Go and Docker, they have no effect (`git archive` stores a comment).
                b'g' => drop(self.extension(&raw)?),
                b'L' => pending.name = Some(until_nul(self.extension(&raw)?)),
                b'K' => pending.link = Some(until_nul(self.extension(&raw)?)),
                _ => return self.entry(&raw, pending).map(Some),
            }
            extended |= raw.type_flag() != b'g';
        }
    }

    /// The next header block; `None` at the two zero blocks, or at an end of the stream where a header
    /// would begin.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if RawHeader(&block).is_zero() {
            return match self.block()? {
                Some(second) if !RawHeader(&second).is_zero() => Err(self.fault(Fault::Checksum)),
                _ => Ok(None),
            };
        }
        if RawHeader(&block).checksum_holds() { Ok(Some(block)) } else { Err(self.fault(Fault::Checksum)) }
    }

    /// The body of an extension header.
    fn extension(&mut self, raw: &RawHeader<'_>) -> Result<Vec<u8>, ReadError> {
        let size = self.number(raw.size(), "size")?;
        if size > MAX_EXTENSION {
            return Err(self.limit(Limit::Extension, MAX_EXTENSION));
        }
        let mut body = vec![0; size as usize];
        self.exactly(&mut body)?;
        self.skip(padding(size) as u64)?;
        Ok(body)
    }

    /// The entry of a header that is no extension; leaves the stream at its data.
    fn entry(&mut self, raw: &RawHeader<'_>, mut pending: Pending) -> Result<Entry, ReadError> {
        let mut pax = pending.pax.take().unwrap_or_default();
        let sparse = mem::take(&mut pax.sparse);
        let stored = match pax.size {
            Some(size) => size,
            None => self.number(raw.size(), "size")?,
        };
        let sparse_name = sparse.get(&b"name"[..]).cloned();
        let name = sparse_name.or(pax.path).or(pending.name).unwrap_or_else(|| header_name(raw));
        let link = pax.linkpath.or(pending.link).unwrap_or_else(|| raw.link().to_vec());
        let path = self.clean(&name)?;
        let kind = self.kind(raw, &name, link, stored)?;
        let uid = match pax.uid {
            Some(uid) => uid,
            None => self.number(raw.uid(), "uid")?,
        };
        let gid = match pax.gid {
            Some(gid) => gid,
            None => self.number(raw.gid(), "gid")?,
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timestamp::from_seconds(self.number(raw.mtime(), "mtime")?),
        };
        let mut entry = Entry {
            path,
            kind,
            mode: self.number::<u32>(raw.mode(), "mode")? & 0o7777,
            uid: self.owner(uid, "uid")?,
            gid: self.owner(gid, "gid")?,
            mtime,
            xattrs: pax.xattrs,
        };
        self.begin_data(raw, &mut entry, stored, &sparse)?;
        Ok(entry)
    }

    fn kind(
        &self,
        raw: &RawHeader<'_>,
        name: &[u8],
        link: Vec<u8>,
        size: u64,
    ) -> Result<EntryKind, ReadError> {
        Ok(match raw.type_flag() {
            // Before POSIX, a directory was a file whose name ends with a slash.
            0 if name.ends_with(b"/") => EntryKind::Directory,
            // `7` is a "contiguous" file; `S` is GNU's sparse one.
            0 | b'0' | b'7' | b'S' => EntryKind::File { size },
            b'1' => EntryKind::Hardlink { target: self.clean(&link)? },
            b'2' if link.is_empty() || link.contains(&0) => return Err(self.fault(Fault::Name)),
            b'2' if link.len() > self.limits.name => {
                return Err(self.limit(Limit::Name, self.limits.name as u64));
            }
            b'2' => EntryKind::Symlink { target: link },
            b'3' => {
                let (major, minor) = self.device(raw)?;
                EntryKind::CharDevice { major, minor }
            }
            b'4' => {
                let (major, minor) = self.device(raw)?;
                EntryKind::BlockDevice { major, minor }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            flag => return Err(self.fault(Fault::Type(flag))),
        })
    }

    fn device(&self, raw: &RawHeader<'_>) -> Result<(u32, u32), ReadError> {
        let numbers = raw.device();
        let major = self.number(numbers.map(|pair| pair.0), "device number")?;
        let minor = self.number(numbers.map(|pair| pair.1), "device number")?;
        Ok((major, minor))
    }

    /// Prepares reading the data of `entry`, for which `stored` bytes follow. Kinds other than files
    /// have none, whatever their size field says (as in Go).
    fn begin_data(
        &mut self,
        raw: &RawHeader<'_>,
        entry: &mut Entry,
        stored: u64,
        pax_sparse: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), ReadError> {
        self.segments.clear();
        let EntryKind::File { size } = &mut entry.kind else { return Ok(()) };
        self.padding = padding(stored) as u64;
        self.data = stored;
        if raw.type_flag() == b'S' {
            *size = self.gnu_sparse(raw)?;
        } else if !pax_sparse.is_empty() {
            *size = self.pax_sparse(pax_sparse)?;
        } else {
            self.segments.push(Segment { offset: 0, length: stored });
        }
        if !sparse::is_sound(&self.segments, *size, self.data) {
            return Err(self.fault(Fault::Sparse));
        }
        self.total = self.total.saturating_add(*size);
        match self.limits.total {
            Some(most) if self.total > most => Err(self.limit(Limit::Total, most)),
            _ => Ok(()),
        }
    }

    /// Reads an old GNU map, which is not part of the data; returns the file's size.
    fn gnu_sparse(&mut self, raw: &RawHeader<'_>) -> Result<u64, ReadError> {
        let (table, mut more, size) = raw.gnu_sparse();
        let mut segments = Vec::new();
        sparse::gnu_table(table, &mut segments).ok_or(self.fault(Fault::Sparse))?;
        while more {
            let mut block = [0; BLOCK];
            self.exactly(&mut block)?;
            sparse::gnu_table(&block[..504], &mut segments).ok_or(self.fault(Fault::Sparse))?;
            more = block[504] != 0 && block[0] != 0;
        }
        self.segments = segments;
        self.number(size, "size of the sparse file")
    }

    /// Reads a PAX 1.0 map, which is the beginning of the data; returns the file's size.
    fn pax_sparse(
        &mut self,
        records: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<u64, ReadError> {
        let record = |key: &[u8]| records.get(key).map(Vec::as_slice);
        if (record(b"major"), record(b"minor")) != (Some(b"1"), Some(b"0")) {
            return Err(self.fault(Fault::Sparse));
        }
        let size = record(b"realsize").and_then(super::pax::decimal).ok_or(self.fault(Fault::Sparse))?;
        let mut map = PaxMap::default();
        while !map.is_complete() {
            let mut block = [0; BLOCK];
            self.data = self.data.checked_sub(BLOCK as u64).ok_or(self.fault(Fault::Sparse))?;
            self.exactly(&mut block)?;
            map.push(&block).ok_or(self.fault(Fault::Sparse))?;
        }
        self.segments = map.segments();
        Ok(size)
    }

    /// A path without leading slashes, `.` and empty components, and without `..`, which never leads
    /// out of the root.
    fn clean(&self, name: &[u8]) -> Result<Vec<u8>, ReadError> {
        if name.len() > self.limits.name {
            return Err(self.limit(Limit::Name, self.limits.name as u64));
        }
        if name.is_empty() || name.contains(&0) {
            return Err(self.fault(Fault::Name));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        Ok(parts.join(&b'/'))
    }

    fn number<T: TryFrom<i128>>(&self, value: Option<i128>, field: &'static str) -> Result<T, ReadError> {
        value.and_then(|value| T::try_from(value).ok()).ok_or(self.fault(Fault::Number(field)))
    }

    /// A user or group; the highest number means "no one" to Linux.
    fn owner(&self, id: u64, field: &'static str) -> Result<u32, ReadError> {
        let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        id.ok_or(self.fault(Fault::Number(field)))
    }

    /// The next block, `None` if the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(ReadError::Truncated { offset: self.offset }),
        }
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.fill(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(ReadError::Truncated { offset: self.offset })
        }
    }

    /// Reads until `buffer` is full or the stream ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Stream { source }),
            }
        }
        Ok(filled)
    }

    fn skip(&mut self, count: u64) -> Result<(), ReadError> {
        let skipped = io::copy(&mut (&mut self.stream).take(count), &mut io::sink())
            .map_err(|source| ReadError::Stream { source })?;
        self.offset += skipped;
        if skipped == count { Ok(()) } else { Err(ReadError::Truncated { offset: self.offset }) }
    }

    fn fault(&self, fault: Fault) -> ReadError {
        ReadError::Header { offset: self.offset, fault }
    }

    fn limit(&self, limit: Limit, most: u64) -> ReadError {
        ReadError::Limit { offset: self.offset, limit, most }
    }
}

/// The data of the current entry; `UnexpectedEof` if the archive ends before the data does.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The same without a copy, where the stream has a buffer.
impl<R: BufRead> BufRead for TarReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let available = self.stream.fill_buf()?;
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(available.len());
        if most == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(&available[..most]) }
    }

    fn consume(&mut self, count: usize) {
        self.stream.consume(count);
        self.data -= count as u64;
        self.offset += count as u64;
    }
}

fn header_name(raw: &RawHeader<'_>) -> Vec<u8> {
    match raw.prefix() {
        b"" => raw.name().to_vec(),
        prefix => [prefix, raw.name()].join(&b'/'),
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    text
}
