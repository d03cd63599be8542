//! A directory of OSV records, read in one go on all processors.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use archway_attest::{
    packages::Catalog,
    vulnerability::osv::{Matcher, Matches, Outcome},
};

use super::ScanError;

/// A record that is larger is refused, in bytes; the largest published ones have some megabytes.
const MAX_RECORD: u64 = 64 * 1024 * 1024;
/// Directories are followed so deep.
const MAX_DEPTH: usize = 8;

/// What the records below `directory` say about `catalogs`. All files called `*.json` are records.
pub(super) fn look_up(directory: &Path, catalogs: &[Catalog]) -> Result<Outcome, ScanError> {
    let mut files = Vec::new();
    list(directory, 0, &mut files)?;
    if files.is_empty() {
        return Err(ScanError::Empty { path: directory.to_owned() });
    }
    let matcher = Matcher::new(catalogs);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let work = || {
        let mut matches = Matches::default();
        let mut bytes = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            read(path, &mut bytes)?;
            let unusable = |source| ScanError::Record { path: path.clone(), source };
            matcher.record(&bytes, &mut matches).map_err(unusable)?;
        }
        Ok(matches)
    };
    let parts: Vec<Result<Matches, ScanError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("matching does not panic")).collect()
    });
    let mut all = Matches::default();
    for part in parts {
        all = all.and(part?);
    }
    Ok(matcher.outcome(all))
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ScanError> {
    let failed = |source: io::Error| ScanError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        if is_directory && depth < MAX_DEPTH {
            list(&path, depth + 1, files)?;
        } else if !is_directory && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path, bytes: &mut Vec<u8>) -> Result<(), ScanError> {
    let failed = |source: io::Error| ScanError::Read { path: path.to_owned(), source };
    bytes.clear();
    File::open(path).map_err(failed)?.take(MAX_RECORD + 1).read_to_end(bytes).map_err(failed)?;
    match bytes.len() as u64 {
        size if size > MAX_RECORD => Err(ScanError::TooLarge { path: path.to_owned(), size }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_in_directories_below() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(matches!(look_up(path, &[]), Err(ScanError::Empty { .. })));
        fs::create_dir_all(path.join("Debian/all")).unwrap();
        fs::write(
            path.join("Debian/all/DSA-1.json"),
            r#"{"id": "DSA-1", "modified": "2024-01-01T00:00:00Z"}"#,
        )
        .unwrap();
        fs::write(path.join("Debian/readme.txt"), "no record").unwrap();
        let outcome = look_up(path, &[]).unwrap();
        assert_eq!((outcome.records, outcome.newest.as_deref()), (1, Some("2024-01-01T00:00:00Z")));
        fs::write(path.join("broken.json"), "{").unwrap();
        assert!(matches!(look_up(path, &[]), Err(ScanError::Record { .. })));
    }
}
