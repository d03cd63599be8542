//! A directory of OSV records, or one archive, read in one go on all processors.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use archway_attest::{
    packages::Catalog,
    vulnerability::osv::{Matcher, Matches, Outcome},
};

use super::{ScanError, records::Records};

/// What the records at `path` say about `catalogs`.
pub(super) fn look_up(path: &Path, catalogs: &[Catalog]) -> Result<Outcome, ScanError> {
    let records = Records::list(path)?;
    if records.len() == 0 {
        return Err(ScanError::Empty { path: path.to_owned() });
    }
    let matcher = Matcher::new(catalogs);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(records.len());
    let work = || {
        let mut matches = Matches::default();
        let mut bytes = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= records.len() {
                return Ok(matches);
            }
            records.read(number, &mut bytes)?;
            let unusable = |source| ScanError::Record { path: records.name(number), source };
            matcher.record(&bytes, &mut matches).map_err(unusable)?;
        }
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

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::DeflateEncoder};
    use rawzip::{CompressionMethod, ZipArchiveWriter};

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

    /// A zip archive with these members.
    fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ZipArchiveWriter::new(&mut bytes);
        for (name, content) in members {
            let (mut entry, config) = writer.new_file(name).compression_method(method).start().unwrap();
            let descriptor = if method == CompressionMethod::STORE {
                let mut data = config.wrap(&mut entry);
                data.write_all(content).unwrap();
                data.finish().unwrap().1
            } else {
                let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
                data.write_all(content).unwrap();
                let (encoder, descriptor) = data.finish().unwrap();
                encoder.finish().unwrap();
                descriptor
            };
            entry.finish(descriptor).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn records_in_archives_are_read_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let record =
            |id: &str, day: u8| format!(r#"{{"id": "{id}", "modified": "2024-01-0{day}T00:00:00Z"}}"#);
        let records: Vec<(String, String)> =
            (1..=5).map(|n| (format!("PYSEC-{n}.json"), record("PYSEC", n))).collect();
        let mut members: Vec<(&str, &[u8])> =
            records.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        members.push(("readme.txt", b"no record"));
        fs::create_dir(path.join("PyPI")).unwrap();
        let zip = path.join("PyPI/all.zip");
        fs::write(&zip, archive(&members, CompressionMethod::DEFLATE)).unwrap();
        fs::write(path.join("npm.zip"), archive(&members[..2], CompressionMethod::STORE)).unwrap();
        fs::write(path.join("DSA-1.json"), record("DSA-1", 9)).unwrap();
        let outcome = look_up(path, &[]).unwrap();
        assert_eq!((outcome.records, outcome.newest.as_deref()), (8, Some("2024-01-09T00:00:00Z")));
        let outcome = look_up(&zip, &[]).unwrap();
        assert_eq!((outcome.records, outcome.newest.as_deref()), (5, Some("2024-01-05T00:00:00Z")));
    }

    #[test]
    fn damaged_archives_are_errors_that_name_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let zip = directory.path().join("all.zip");
        let whole =
            archive(&[("A-1.json", br#"{"id": "A-1"}"#), ("B-1.json", b"{")], CompressionMethod::STORE);
        fs::write(&zip, &whole).unwrap();
        match look_up(&zip, &[]) {
            Err(ScanError::Record { path, .. }) => assert_eq!(path, zip.join("B-1.json")),
            other => panic!("{other:?}"),
        }
        // Another byte than the checksum is of. Records are read in any order, so only one may be wrong.
        let whole = archive(&[("A-1.json", br#"{"id": "A-1"}"#)], CompressionMethod::STORE);
        let mut damaged = whole.clone();
        let at = damaged.windows(4).position(|bytes| bytes == b"\"A-1").unwrap();
        damaged[at + 1] = b'X';
        fs::write(&zip, &damaged).unwrap();
        assert!(
            matches!(look_up(&zip, &[]), Err(ScanError::Read { path, .. }) if path == zip.join("A-1.json"))
        );
        fs::write(&zip, &whole[..whole.len() - 30]).unwrap();
        assert!(matches!(look_up(&zip, &[]), Err(ScanError::Read { path, .. }) if path == zip));
    }
}
