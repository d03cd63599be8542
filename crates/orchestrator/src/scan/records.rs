//! The records of a database on disk: files called `*.json`, also as members of archives called `*.zip`, as osv.dev publishes them.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder};

use super::ScanError;

/// A record that is larger is refused, in bytes; the largest published ones have some megabytes.
const MAX_RECORD: u64 = 64 * 1024 * 1024;
/// Directories are followed so deep.
const MAX_DEPTH: usize = 8;
/// Bytes asked of an archive at a time; most records have less.
const BUFFER: usize = 8 * 1024;

/// Where all records are. They are read in any order, by any number of threads.
#[derive(Default)]
pub(super) struct Records {
    archives: Vec<Archive>,
    places: Vec<Place>,
}

struct Archive {
    path: PathBuf,
    zip: ZipArchive<FileReader>,
}

enum Place {
    File(PathBuf),
    Member { archive: usize, name: String, method: CompressionMethod, at: ZipArchiveEntryWayfinder },
}

impl Records {
    /// Those of one archive, or in a directory and below.
    pub(super) fn list(path: &Path) -> Result<Self, ScanError> {
        let mut records = Self::default();
        match path.is_file() {
            true => records.add_archive(path)?,
            false => records.add_directory(path, 0)?,
        }
        Ok(records)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where record `number` is, for people.
    pub(super) fn name(&self, number: usize) -> PathBuf {
        match &self.places[number] {
            Place::File(path) => path.clone(),
            Place::Member { archive, name, .. } => self.archives[*archive].path.join(name),
        }
    }

    /// Reads record `number` into `bytes`, in place of what is there.
    pub(super) fn read(&self, number: usize, bytes: &mut Vec<u8>) -> Result<(), ScanError> {
        bytes.clear();
        let failed = |source: io::Error| ScanError::Read { path: self.name(number), source };
        match &self.places[number] {
            Place::File(path) => {
                let file = File::open(path).map_err(failed)?;
                file.take(MAX_RECORD + 1).read_to_end(bytes).map_err(failed)?;
            }
            Place::Member { archive, method, at, .. } => {
                let member = self.archives[*archive].zip.get_entry(*at).map_err(damaged).map_err(failed)?;
                let packed = io::BufReader::with_capacity(BUFFER, member.reader());
                let unpacked: Box<dyn Read + '_> = match *method {
                    CompressionMethod::STORE => Box::new(packed),
                    CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(packed)),
                    _ => return Err(failed(io::ErrorKind::Unsupported.into())),
                };
                member.verifying_reader(unpacked).take(MAX_RECORD + 1).read_to_end(bytes).map_err(failed)?;
            }
        }
        match bytes.len() as u64 {
            size if size > MAX_RECORD => Err(ScanError::TooLarge { path: self.name(number), size }),
            _ => Ok(()),
        }
    }

    fn add_directory(&mut self, directory: &Path, depth: usize) -> Result<(), ScanError> {
        let failed = |source: io::Error| ScanError::Read { path: directory.to_owned(), source };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if is_directory && depth < MAX_DEPTH => self.add_directory(&path, depth + 1)?,
                _ if is_directory => {}
                Some("json") => self.places.push(Place::File(path)),
                Some("zip") => self.add_archive(&path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_archive(&mut self, path: &Path) -> Result<(), ScanError> {
        let failed = |source: io::Error| ScanError::Read { path: path.to_owned(), source };
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let file = File::open(path).map_err(failed)?;
        let zip = ZipArchive::from_file(file, &mut buffer).map_err(damaged).map_err(failed)?;
        let mut members = zip.entries(&mut buffer);
        while let Some(member) = members.next_entry().map_err(damaged).map_err(failed)? {
            let name = String::from_utf8_lossy(member.file_path().as_ref()).into_owned();
            if name.ends_with(".json") {
                let (method, at) = (member.compression_method(), member.wayfinder());
                self.places.push(Place::Member { archive: self.archives.len(), name, method, at });
            }
        }
        self.archives.push(Archive { path: path.to_owned(), zip });
        Ok(())
    }
}

fn damaged(error: rawzip::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
