//! What `ADD` does with archives.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use archway_layer::{ArchiveFormat, ExtractOptions, Ownership, Unpacked, is_archive, unpack_archive};

use crate::{
    raw::{archive, directory, entry, file, hardlink, pax, seal, symlink},
    tools::{has, run},
};

fn unpack(bytes: &[u8], into: &Path) -> Unpacked {
    let options = ExtractOptions { ownership: Ownership::Squash, ..ExtractOptions::default() };
    unpack_archive(bytes, into, &options).expect("unpacked")
}

/// `bytes` through a compressor.
fn compressed(tool: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("temp dir");
    let input = dir.path().join("input");
    fs::write(&input, bytes).expect("input");
    let input = fs::File::open(input).expect("input");
    run(Command::new(tool).arg("-c").stdin(Stdio::from(input)))
}

#[test]
fn every_format_is_told_by_its_content() {
    let large = "a line of text\n".repeat(100_000);
    let plain = archive(&[directory("d"), file("d/f", &large)]);
    let tools = [
        ("cat", ArchiveFormat::Tar),
        ("gzip", ArchiveFormat::Gzip),
        ("bzip2", ArchiveFormat::Bzip2),
        ("xz", ArchiveFormat::Xz),
        ("zstd", ArchiveFormat::Zstd),
    ];
    for (tool, format) in tools {
        if !has(tool) {
            continue;
        }
        let bytes = if tool == "cat" { plain.clone() } else { compressed(tool, &plain) };
        assert!(is_archive(bytes.as_slice()), "{tool}");
        let dir = tempfile::tempdir().expect("temp dir");
        let unpacked = unpack(&bytes, dir.path());
        assert_eq!((unpacked.format, unpacked.entries, unpacked.bytes), (format, 2, large.len() as u64));
        assert_eq!(fs::read_to_string(dir.path().join("d/f")).expect("file"), large);
        // The same format around something else is a file like any other.
        if tool != "cat" {
            assert!(!is_archive(compressed(tool, b"no archive").as_slice()), "{tool}");
        }
    }
}

#[test]
fn what_is_no_archive_is_not_taken_for_one() {
    let mut truncated = file("f", "");
    truncated.truncate(300);
    for (bytes, expected) in [
        (Vec::new(), false),
        (b"#!/bin/sh\n".to_vec(), false),
        (vec![0; 4096], false),
        (b"\x1f\x8b\x08garbage".to_vec(), false),
        (truncated, false),
        (file("f", ""), true),
        (archive(&[symlink("a", "b")]), true),
    ] {
        assert_eq!(is_archive(bytes.as_slice()), expected, "{} bytes", bytes.len());
    }
}

#[test]
fn an_archive_goes_over_what_is_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("kept/sub")).expect("directories");
    fs::write(at("kept/old"), "old").expect("file");
    fs::write(at("replaced"), "a file").expect("file");
    fs::create_dir(at("squashed")).expect("directory");
    fs::write(at("squashed/file"), "in the way").expect("file");
    std::os::unix::fs::symlink("kept", at("way")).expect("link");
    let parts = [
        directory("./"),
        directory("kept"),
        file("kept/new", "new"),
        file("way/through", "link"),
        directory("replaced"),
        file("squashed", "now a file"),
        file(".wh.kept", "just a name"),
        hardlink("twin", "kept/new"),
    ];
    let unpacked = unpack(&archive(&parts), dir.path());
    assert_eq!(unpacked.entries, 8);
    let read = |path: &str| fs::read_to_string(at(path)).expect("file");
    assert_eq!(
        (read("kept/old"), read("kept/new"), read("kept/through")),
        ("old".into(), "new".into(), "link".into())
    );
    assert!(at("replaced").is_dir());
    assert_eq!(
        (read("squashed"), read(".wh.kept"), read("twin")),
        ("now a file".into(), "just a name".into(), "new".into())
    );
    // As with BuildKit, an entry for the root is none for the destination.
    let root = dir.path().metadata().expect("directory");
    assert_ne!((root.mode() & 0o7777, root.mtime()), (0o755, 0));
}

#[test]
fn a_directory_goes_to_where_a_link_leads() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("usr/lib")).expect("directories");
    fs::write(at("file"), "").expect("file");
    for (target, link) in [("usr/lib", "lib"), ("usr/new", "new"), ("/file", "to-file")] {
        std::os::unix::fs::symlink(target, at(link)).expect("link");
    }
    let parts = [
        directory("lib/"),
        file("lib/libc", "1"),
        directory("new"),
        file("new/x", "2"),
        directory("to-file"),
        file("to-file/x", "3"),
    ];
    unpack(&archive(&parts), dir.path());
    let read = |path: &str| fs::read_to_string(at(path)).expect("file");
    assert_eq!(
        (read("usr/lib/libc"), read("usr/new/x"), read("to-file/x")),
        ("1".into(), "2".into(), "3".into())
    );
    assert!(at("lib").is_symlink() && at("new").is_symlink() && !at("to-file").is_symlink());
    assert_eq!(at("usr/lib").metadata().expect("directory").mtime(), 0);
}

#[test]
fn devices_and_pipes_are_left_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::write(dir.path().join("pipe"), "stays").expect("file");
    let parts = [entry(b'3', "null", "", b""), entry(b'4', "disk", "", b""), entry(b'6', "pipe", "", b"")];
    let unpacked = unpack(&archive(&parts), dir.path());
    assert_eq!(unpacked.skipped_special, ["null", "disk", "pipe"].map(PathBuf::from));
    assert_eq!(fs::read(dir.path().join("pipe")).expect("file"), b"stays");
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
}

#[test]
fn links_resolve_within_the_destination() {
    let dir = tempfile::tempdir().expect("temp dir");
    let destination = dir.path().join("destination");
    fs::create_dir(&destination).expect("directory");
    unpack(
        &archive(&[symlink("up", "../.."), file("up/f", "inside"), file("/../g", "inside")]),
        &destination,
    );
    let mut names: Vec<_> =
        fs::read_dir(&destination).expect("list").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["f", "g", "up"]);
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
}

/// A file with data at its beginning, middle and end.
fn sparse_file(path: &Path) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).expect("file");
    for n in 0..40 {
        file.write_all_at(b"data", n * 100_000).expect("write");
    }
    file.set_len(8_000_000).expect("length");
    fs::read(path).expect("read")
}

#[test]
fn gnu_tar_s_sparse_files_are_whole_again_and_stay_sparse() {
    if !has("tar") {
        return;
    }
    for format in ["--format=gnu", "--format=posix"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let content = sparse_file(&dir.path().join("sparse"));
        fs::write(dir.path().join("z"), "after").expect("file");
        let mut command = Command::new("tar");
        command.args(["-c", "-S", format, "-C"]).arg(dir.path()).args(["sparse", "z"]);
        let bytes = run(&mut command);
        assert!(bytes.len() < 1_000_000, "this tar did not find the holes");
        let into = tempfile::tempdir().expect("temp dir");
        let unpacked = unpack(&bytes, into.path());
        assert_eq!(unpacked.bytes, 8_000_005, "{format}");
        assert!(fs::read(into.path().join("sparse")).expect("file") == content, "{format}");
        assert_eq!(fs::read(into.path().join("z")).expect("file"), b"after");
        assert!(into.path().join("sparse").metadata().expect("file").blocks() * 512 < 4_000_000, "{format}");
    }
}

#[test]
fn archives_of_many_writers_are_read() {
    if !has("tar") {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    fs::create_dir(dir.path().join("d".repeat(150))).expect("directory");
    fs::write(dir.path().join(&long), "long").expect("file");
    std::os::unix::fs::symlink("t".repeat(180), dir.path().join("link")).expect("link");
    for format in ["gnu", "pax", "oldgnu"] {
        let mut command = Command::new("tar");
        command.arg("-c").arg(format!("--format={format}")).arg("-C").arg(dir.path()).arg(".");
        let into = tempfile::tempdir().expect("temp dir");
        unpack(&run(&mut command), into.path());
        assert_eq!(fs::read(into.path().join(&long)).expect("file"), b"long", "{format}");
        assert_eq!(fs::read_link(into.path().join("link")).expect("link"), PathBuf::from("t".repeat(180)));
    }
    let mut v7 = entry(0, "old/", "", b"");
    v7[257..265].fill(0);
    seal(&mut v7);
    let global = entry(b'g', "pax_global_header", "", b"13 path=bad\n\n");
    let into = tempfile::tempdir().expect("temp dir");
    unpack(&archive(&[global, v7, pax(&[("mtime", b"1.5")]), file("f", "")]), into.path());
    assert!(into.path().join("old").is_dir());
    let made = into.path().join("f").metadata().expect("file");
    assert_eq!((made.mtime(), made.mtime_nsec()), (1, 500_000_000));
}
