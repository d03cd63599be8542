//! Sources of COPY in another node's root file system.

use std::{
    collections::HashMap,
    ffi::CStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use archway_dockerfile::{
    glob::{Glob, has_wildcards},
    keep::{Keep, Kept},
};
use archway_layer::is_image_xattr;
use rustix::{
    fs::{Dir, FileType, Stat},
    io::Errno,
};
use serde::Serialize;

use super::{
    entry::{Entry, EntryKind, Mtime, Open, Reading, SourceItem},
    pick::{self, Pick},
};
use crate::{
    StepError,
    key::{self, Key},
    tree::{self, Kind, Tree as _},
    view::View,
};

/// Deeper directories are refused: a hostile base image could make them endless.
const MAX_DEPTH: usize = 1000;

/// Everything `picks` select in `view`, in order. `from` names the view in errors. A wildcard may
/// match nothing.
pub(crate) fn select(view: &Arc<View>, picks: &[Pick], from: &str) -> Result<Vec<SourceItem>, StepError> {
    let mut items = Vec::new();
    for pick in picks {
        let missing = |pattern: String| StepError::MissingInRootFs { pattern, from: from.to_owned() };
        let matched = expand(view, &pick.path).map_err(StepError::io(&pick.path))?;
        let matched = matched.map_err(missing)?;
        for path in matched {
            let mut item = item(view, &path).map_err(StepError::io(&path))?;
            let took = take(&mut item, &pick.keep);
            if pick.required && !(took && item.is_directory()) {
                return Err(missing(pick::shown(&pick.path, pick.pattern.as_deref().unwrap_or_default())));
            }
            items.push(item);
        }
    }
    Ok(items)
}

/// Leaves in `item` what `keep` takes. Returns whether that is anything.
fn take(item: &mut SourceItem, keep: &Keep) -> bool {
    if keep.is_everything() || !item.is_directory() {
        return true;
    }
    let below = item.entries.iter().skip(1);
    let chosen = keep.choose(below.map(|entry| (entry.path.as_str(), entry.kind == EntryKind::Directory)));
    let root = item.entries.remove(0);
    let taken =
        std::mem::take(&mut item.entries).into_iter().zip(chosen).filter_map(|(entry, kept)| match kept {
            Kept::Whole => Some(entry),
            Kept::Parent => Some(Entry { implied: true, ..entry }),
            Kept::No => None,
        });
    item.entries = [root].into_iter().chain(taken).collect();
    item.entries.iter().skip(1).any(|entry| !entry.implied)
}

/// The file called `name` in the root of `view`.
pub(crate) fn file(view: &Arc<View>, name: &str) -> Result<SourceItem, StepError> {
    item(view, &tree::join("/", name)).map_err(StepError::io(name))
}

/// A hash of everything about `items` that a copy of them keeps.
pub(crate) fn content(items: &[SourceItem]) -> Result<Key, StepError> {
    #[derive(Serialize)]
    struct Described<'a> {
        path: &'a str,
        kind: &'a EntryKind,
        mode: u32,
        owner: (u32, u32),
        xattrs: &'a [(String, Vec<u8>)],
        hash: Option<String>,
        /// The first name of a file that has several.
        link: Option<&'a str>,
        implied: bool,
    }
    let mut described = Vec::new();
    for item in items {
        let mut entries = Vec::with_capacity(item.entries.len());
        let mut links: HashMap<(u64, u64), &str> = HashMap::new();
        for entry in &item.entries {
            let first = entry.hard_link.map(|inode| *links.entry(inode).or_insert(&entry.path));
            let link = first.filter(|first| *first != entry.path);
            let hash = match entry.kind {
                EntryKind::File { .. } if link.is_none() => {
                    Some(hash_file(item.open.open(entry)?, &item.open.path(entry))?)
                }
                _ => None,
            };
            entries.push(Described {
                path: &entry.path,
                kind: &entry.kind,
                mode: entry.mode,
                owner: (entry.uid, entry.gid),
                xattrs: &entry.xattrs,
                hash,
                link,
                implied: entry.implied,
            });
        }
        described.push((&item.name, entries));
    }
    Ok(key::content(&described))
}

fn hash_file(file: Box<dyn Reading>, path: &Path) -> Result<String, StepError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(StepError::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The paths a pattern matches, sorted, or what is missing: the part without wildcards, or what a matched
/// link leads to. Wildcards never match across `/`, and from the first one on links are matched and not
/// followed.
fn expand(view: &View, pattern: &str) -> io::Result<Result<Vec<String>, String>> {
    let components: Vec<&str> = tree::components(pattern).collect();
    let plain = components.iter().position(|component| has_wildcards(component)).unwrap_or(components.len());
    let (plain, wild) = components.split_at(plain);
    let start = plain.iter().fold(String::from("/"), |path, component| tree::join(&path, component));
    let resolved = tree::resolve(view, &start)?;
    if resolved.found.is_none() {
        return Ok(Err(pattern.to_owned()));
    }
    let mut paths = vec![if wild.is_empty() { start } else { resolved.path }];
    for component in wild {
        let glob = Glob::parse(component).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut next = Vec::new();
        for path in paths {
            if view.lstat(&path)?.is_some_and(|found| found.kind == Kind::Directory) {
                let matching = names(view, &path)?.into_iter().filter(|name| glob.matches(name));
                next.extend(matching.map(|name| tree::join(&path, &name)));
            }
        }
        paths = next;
    }
    for path in &paths {
        if tree::resolve(view, path)?.found.is_none() {
            return Ok(Err(path.clone()));
        }
    }
    Ok(Ok(paths))
}

/// A source and everything below it. A source that is a symlink is what the link leads to.
fn item(view: &Arc<View>, path: &str) -> io::Result<SourceItem> {
    let root = tree::resolve(view.as_ref(), path)?.path;
    let mut entries = Vec::new();
    walk(view, &root, String::new(), 0, &mut entries)?;
    let name = tree::components(path).next_back().unwrap_or_default().to_owned();
    Ok(SourceItem { name, entries, open: Box::new(Files { view: view.clone(), root }), unpack: None })
}

fn walk(view: &View, root: &str, path: String, depth: usize, entries: &mut Vec<Entry>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    let full = full_path(root, &path);
    let Some(stat) = view.stat(&full)? else { return Err(Errno::NOENT.into()) };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File { size: stat.st_size as u64 },
        FileType::Symlink => EntryKind::Symlink { target: view.read_link(&full)? },
        FileType::Socket => return Ok(()),
        other => EntryKind::Special { file_type: other.as_raw_mode(), device: stat.st_rdev },
    };
    let below = match kind {
        EntryKind::Directory => names(view, &full)?,
        _ => Vec::new(),
    };
    entries.push(describe(view, &full, path.clone(), kind, &stat)?);
    for name in below {
        let child = if path.is_empty() { name } else { format!("{path}/{name}") };
        walk(view, root, child, depth + 1, entries)?;
    }
    Ok(())
}

fn describe(view: &View, full: &str, path: String, kind: EntryKind, stat: &Stat) -> io::Result<Entry> {
    let plain_file = matches!(kind, EntryKind::File { .. });
    let xattrs = match kind {
        EntryKind::Directory | EntryKind::File { .. } => xattrs(view, full)?,
        _ => Vec::new(),
    };
    Ok(Entry {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Mtime { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as i64 },
        xattrs,
        hard_link: (plain_file && stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino)),
        implied: false,
    })
}

fn xattrs(view: &View, path: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(file) = view.open_file(path)? else { return Ok(Vec::new()) };
    let mut list = Vec::with_capacity(1 << 16);
    match rustix::fs::flistxattr(&file, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    }
    let mut found = Vec::new();
    for name in
        list.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    {
        let Ok(text) = name.to_str() else { continue };
        if !is_image_xattr(name.to_bytes()) {
            continue;
        }
        let mut value = Vec::with_capacity(1 << 16);
        rustix::fs::fgetxattr(&file, name, rustix::buffer::spare_capacity(&mut value))?;
        found.push((text.to_owned(), value));
    }
    found.sort();
    Ok(found)
}

/// Names in a directory, sorted.
fn names(view: &View, path: &str) -> io::Result<Vec<String>> {
    let Some(directory) = view.open_file(path)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_str().map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn full_path(root: &str, path: &str) -> String {
    if path.is_empty() { root.to_owned() } else { tree::join(root, path) }
}

/// The files of one item.
struct Files {
    view: Arc<View>,
    root: String,
}

impl Open for Files {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Reading>, StepError> {
        let path = full_path(&self.root, &entry.path);
        let file = self.view.open_file(&path).map_err(StepError::io(&path))?;
        Ok(Box::new(file.ok_or_else(|| StepError::io(path)(Errno::NOENT.into()))?))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        full_path(&self.root, &entry.path).into()
    }
}
