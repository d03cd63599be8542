//! Writing the contexts of a fixture to disk.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use archway_oci::Digest;
use archway_testkit::process;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};
use tar::{EntryType, Header};

use crate::{
    bases::NET_RAW,
    fixture::{Fixture, Item, ItemKind},
    servers::Places,
};

/// When directories and links of contexts were changed, unless they say so: 2020-09-13, in seconds since 1970.
const TIME: u64 = 1_600_000_000;

/// Writes the main context to `directory/context`, and each named one to `directory/context.NAME`.
pub(crate) fn write(fixture: &Fixture, places: &Places, directory: &Path) {
    let root = |context: &str| {
        directory.join(if context.is_empty() { "context".to_owned() } else { format!("context.{context}") })
    };
    fs::create_dir_all(root("")).unwrap();
    if !fixture.dockerfile.is_empty() {
        fs::write(root("").join("Dockerfile"), places.fill(&fixture.dockerfile)).unwrap();
    }
    for item in &fixture.items {
        let path = root(&item.context).join(&item.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        create(item, &path, &root(&item.context), places);
    }
    for entry in fs::read_dir(directory).unwrap() {
        settle(&entry.unwrap().path());
    }
    // Last, because what is written into a directory changes its time.
    for item in fixture.items.iter().rev() {
        if let Some(time) = item.time {
            set_time(&root(&item.context).join(&item.path), time);
        }
    }
}

fn create(item: &Item, path: &Path, root: &Path, places: &Places) {
    match &item.kind {
        ItemKind::File(content) => fs::write(path, places.fill(content)).unwrap(),
        ItemKind::Directory => fs::create_dir_all(path).unwrap(),
        ItemKind::Symlink(target) => symlink(target, path).unwrap(),
        ItemKind::HardLink(target) => fs::hard_link(root.join(target), path).unwrap(),
        ItemKind::Pipe => process::output(Command::new("mkfifo").arg(path)).map(drop).unwrap(),
        ItemKind::Archive { compression, entries } => {
            fs::write(path, compressed(&archive(entries), compression)).unwrap();
        }
    }
    if matches!(item.kind, ItemKind::Symlink(_) | ItemKind::HardLink(_)) {
        return;
    }
    let usual = if item.kind == ItemKind::Directory { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(item.mode.unwrap_or(usual))).unwrap();
    if item.capable {
        setxattr(path, "security.capability", &NET_RAW, XattrFlags::empty()).unwrap();
    }
}

/// Gives everything a time. A file's follows from its content: BuildKit takes a file of the same name, size
/// and time for the one that it was sent before; and either program's cache may hold a copy of the same
/// content for another fixture, which then must have the same time.
fn settle(path: &Path) {
    let mut time = TIME;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path());
        }
    } else if path.is_file() && !path.is_symlink() {
        let digest = Digest::sha256(&fs::read(path).unwrap());
        time += u64::from_str_radix(&digest.hex()[..6], 16).unwrap();
    }
    set_time(path, time);
}

fn set_time(path: &Path, seconds: u64) {
    let time = Timespec { tv_sec: seconds.try_into().unwrap(), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tar of entries: `file PATH MODE UID:GID CONTENT`, `dir PATH MODE UID:GID`, `link PATH TARGET`, and
/// `hard PATH TARGET MODE UID:GID`.
fn archive(entries: &[String]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for line in entries {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let (path, target) = (words[1], words[2]);
        match words[0] {
            "file" => {
                let content = words.get(4).copied().unwrap_or_default();
                let mut header = header(EntryType::Regular, words[2], words[3]);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            "dir" => {
                let mut header = header(EntryType::Directory, words[2], words[3]);
                tar.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            "link" => {
                tar.append_link(&mut header(EntryType::Symlink, "777", "0:0"), path, target).unwrap();
            }
            "hard" => {
                tar.append_link(&mut header(EntryType::Link, words[3], words[4]), path, target).unwrap();
            }
            other => panic!("no entry `{other}`"),
        }
    }
    tar.into_inner().unwrap()
}

fn header(kind: EntryType, mode: &str, owner: &str) -> Header {
    let (uid, gid) = owner.split_once(':').unwrap();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(u32::from_str_radix(mode, 8).unwrap());
    header.set_uid(uid.parse().unwrap());
    header.set_gid(gid.parse().unwrap());
    header.set_mtime(TIME - 1000);
    header.set_size(0);
    header
}

fn compressed(bytes: &[u8], compression: &str) -> Vec<u8> {
    if compression == "none" {
        return bytes.to_vec();
    }
    let mut process = Command::new(compression)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{compression}: {error}"));
    let mut input = process.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        process.wait_with_output().unwrap().stdout
    })
}
