//! The digest of selected files.
//!
//! Covers what an image gets to see: relative path, type, permissions, link target, content, and which
//! files of a directory are one file with several names. Not
//! the times (content keys, not timestamps), not the owner (files of a context become root's), and
//! not the name or mode of a selected directory, of which only the content is copied.
//! Written down in `docs/formats/source.md`.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::SystemTime,
};

use archway_store::{FileHashStore, FileHashes, StatKey};

use crate::{Below, Entry, Kind, Match, Selection, Snapshot, SourceError};

/// Raised with the meaning of the digest.
const DOMAIN: &str = "archway source content v2";

/// Bytes read at once.
const BUFFER: usize = 128 << 10;

/// Files for which one thread is enough.
const FILES_PER_THREAD: usize = 64;

/// Files hashed by a thread, with the time at which each was opened.
type Hashed = Vec<(usize, SystemTime, blake3::Hash)>;

impl Snapshot {
    /// The digest of the content of `selection`. Files whose hash is in `cache` are not read; those
    /// that are read are noted there.
    pub fn digest(
        &self,
        selection: &Selection,
        cache: &FileHashStore<'_>,
    ) -> Result<blake3::Hash, SourceError> {
        self.hash_files(selection, cache)?;
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        for found in &selection.matches {
            self.digest_match(found, &mut hasher);
        }
        Ok(hasher.finalize())
    }

    /// The hash of the content of the file at `path`, if a digest was made of it.
    pub fn content_hash(&self, path: &str) -> Option<blake3::Hash> {
        self.hashes.get(self.position(path)?)?.get().copied()
    }

    fn digest_match(&self, found: &Match, hasher: &mut blake3::Hasher) {
        let entry = self.matched(found);
        if !entry.is_directory() {
            return self.digest_entry(&found.name, found.entry, entry, b'd', hasher);
        }
        let below = self.matched_below(found);
        hasher.update(b"D").update(&(below.len() as u64).to_le_bytes());
        let mut names: HashMap<StatKey, &str> = HashMap::new();
        for Below { entry, path, implied, index } in below {
            let first = if entry.linked { *names.entry(entry.stat).or_insert(path) } else { path };
            if first != path {
                text(b'n', path, hasher);
                text(b'h', first, hasher);
                continue;
            }
            // A directory that is only on the way does not replace one that is there.
            self.digest_entry(path, index, entry, if implied { b'i' } else { b'd' }, hasher);
        }
    }

    fn digest_entry(
        &self,
        name: &str,
        index: usize,
        entry: &Entry,
        directory: u8,
        hasher: &mut blake3::Hasher,
    ) {
        text(b'n', name, hasher);
        match &entry.kind {
            Kind::Directory => text(directory, "", hasher),
            Kind::Fifo => text(b'p', "", hasher),
            Kind::Symlink { target } => text(b'l', target, hasher),
            Kind::File => {
                let hash = self.hashes[index].get().expect("hash_files has hashed every selected file");
                hasher.update(b"f").update(hash.as_bytes());
            }
        }
        hasher.update(&entry.mode.to_le_bytes());
        if entry.owner != (0, 0) {
            let (user, group) = entry.owner;
            hasher.update(b"o").update(&user.to_le_bytes()).update(&group.to_le_bytes());
        }
    }

    /// Makes sure that the hash of every selected file is known.
    fn hash_files(&self, selection: &Selection, cache: &FileHashStore<'_>) -> Result<(), SourceError> {
        let tree = self.directory.to_string_lossy();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &mut *known {
            Some(known) => known,
            empty => empty.insert(cache.load(&tree)?),
        };
        let unknown = self.unknown(selection, known);
        if unknown.is_empty() {
            return Ok(());
        }
        let mut learned = false;
        for (index, opened, hash) in self.read_and_hash(&unknown)? {
            let _ = self.hashes[index].set(hash);
            learned |= known.record(&self.entries[index].stat, opened, hash);
        }
        if learned {
            // Files that are gone would fill the cache for ever.
            let present: HashSet<(u64, u64)> =
                self.entries.iter().map(|entry| (entry.stat.dev, entry.stat.ino)).collect();
            known.retain(|stat| present.contains(&(stat.dev, stat.ino)));
            cache.save(&tree, known)?;
        }
        Ok(())
    }

    /// The selected files whose hash is not in `known`; notes those that are.
    fn unknown(&self, selection: &Selection, known: &FileHashes) -> Vec<usize> {
        let selected = selection.matches.iter().flat_map(|found| {
            found.below.iter().copied().chain((!self.matched(found).is_directory()).then_some(found.entry))
        });
        let mut unknown: Vec<usize> = selected
            .filter(|&index| self.entries[index].kind == Kind::File && self.hashes[index].get().is_none())
            .filter(|&index| match known.get(&self.entries[index].stat) {
                Some(hash) => self.hashes[index].set(hash).is_err(),
                None => true,
            })
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    fn read_and_hash(&self, files: &[usize]) -> Result<Hashed, SourceError> {
        let threads = thread::available_parallelism().map_or(1, |count| count.get());
        let threads = threads.min(files.len().div_ceil(FILES_PER_THREAD));
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Result<Hashed, SourceError>>> = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let result = self.hash_some(files, &next);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hashed: Vec<Hashed> = results.into_iter().collect::<Result<_, _>>()?;
        Ok(hashed.concat())
    }

    /// Hashes one file after the other, as long as other threads leave some.
    fn hash_some(&self, files: &[usize], next: &AtomicUsize) -> Result<Hashed, SourceError> {
        let mut buffer = vec![0; BUFFER];
        let mut hashed = Vec::new();
        while let Some(&index) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let opened = SystemTime::now();
            hashed.push((index, opened, self.hash_file(&self.entries[index], &mut buffer)?));
        }
        Ok(hashed)
    }

    fn hash_file(&self, entry: &Entry, buffer: &mut [u8]) -> Result<blake3::Hash, SourceError> {
        let mut file = self.open(entry)?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let count = file.read(buffer).map_err(|error| file.unreadable(&error))?;
            match buffer.get(..count) {
                None | Some([]) => break,
                Some(bytes) => hasher.update(bytes),
            };
        }
        file.finish()?;
        Ok(hasher.finalize())
    }
}

fn text(tag: u8, text: &str, hasher: &mut blake3::Hasher) {
    hasher.update(&[tag]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
}
