//! What is known of a layer without extracting it.

use std::sync::Arc;

use archway_layer::{
    Compression, LayerOptions, Layout,
    contents::{
        Budget, Contents, ContentsError, Entry, HEAD, Keep, Kind, LayerContents, Meta, ReadOptions, Selector,
        read_layer,
    },
    write_layer,
};
use archway_oci::{Digest, media_type::LayerCompression};

use crate::{
    raw::{archive, directory, entry, file, hardlink, symlink},
    trees,
};

fn whole(_: &Meta<'_>) -> Keep {
    Keep::Whole { limit: 1 << 20 }
}

#[track_caller]
fn layer(parts: &[Vec<u8>]) -> LayerContents {
    LayerContents::read(archive(parts).as_slice(), &whole).expect("readable")
}

fn refused(parts: &[Vec<u8>]) -> ContentsError {
    LayerContents::read(archive(parts).as_slice(), &whole).expect_err("it is refused")
}

/// `path` and, of a file, its content.
fn shown<'a>(entries: impl Iterator<Item = (&'a [u8], &'a Entry)>) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    entries
        .map(|(path, entry)| match &entry.kind {
            Kind::Directory => format!("{}/", text(path)),
            Kind::File { .. } => format!("{}={}", text(path), text(entry.content().unwrap_or(b"?"))),
            Kind::Symlink { target } => format!("{}->{}", text(path), text(target)),
            Kind::Other => format!("{} other", text(path)),
        })
        .collect()
}

fn stacked(layers: &[&LayerContents]) -> Vec<String> {
    shown(Contents::stack(layers.iter().copied()).iter())
}

#[test]
fn layers_are_stacked_as_an_overlay() {
    let base = layer(&[
        directory("etc"),
        file("etc/passwd", "root"),
        file("etc/hosts", "h"),
        file("opt/app/old", "1"),
        file("opt/app2", "stays"),
        file("var/lib/x", "x"),
        symlink("lib", "usr/lib"),
        file("usr/lib/libc.so", "c"),
    ]);
    let top = layer(&[
        file("etc/.wh.hosts", ""),
        file("opt/app/.wh..wh..opq", ""),
        file("opt/app/new", "2"),
        file("var/lib", "now a file"),
        file("lib/own", "hides the link"),
        file("a/.wh..wh.aufs", "means nothing"),
    ]);
    assert_eq!(
        stacked(&[&base, &top]),
        [
            "etc/",
            "etc/passwd=root",
            "lib/",
            "lib/own=hides the link",
            "opt/",
            "opt/app/",
            "opt/app/new=2",
            "opt/app2=stays",
            "usr/",
            "usr/lib/",
            "usr/lib/libc.so=c",
            "var/",
            "var/lib=now a file",
        ]
    );
    let emptied = layer(&[file(".wh..wh..opq", ""), file("only", "this")]);
    assert_eq!(stacked(&[&base, &top, &emptied]), ["only=this"]);
}

#[test]
fn a_whiteout_hides_what_is_below_and_not_its_own_layer() {
    let base = layer(&[file("a/b/c", "old")]);
    for top in [
        layer(&[file("a/.wh.b", ""), file("a/b/d", "new")]),
        layer(&[file("a/b/d", "new"), file("a/.wh.b", "")]),
    ] {
        assert_eq!(stacked(&[&base, &top]), ["a/", "a/b/", "a/b/d=new"]);
    }
}

#[test]
fn later_entries_of_a_layer_replace_earlier_ones() {
    let replaced = layer(&[
        file("x/y", "1"),
        file("x", "a file"),
        directory("d"),
        file("d/e", "1"),
        symlink("d", "x"),
        file("f", "1"),
        file("f", "2"),
    ]);
    assert_eq!(stacked(&[&replaced]), ["d->x", "f=2", "x=a file"]);
}

#[test]
fn links_are_followed_within_the_root() {
    let image = layer(&[
        symlink("bin", "usr/bin"),
        symlink("usr/bin/sh", "../../bin/dash"),
        file("usr/bin/dash", "shell"),
        symlink("out", "../../../../etc/passwd"),
        file("etc/passwd", "inside"),
        symlink("absolute", "/bin/sh"),
        symlink("loop", "loop2/x"),
        symlink("loop2", "loop"),
        symlink("dangling", "nowhere"),
        file("bin/through", "a link of the layer"),
    ]);
    let contents = Contents::stack([&image]);
    for (path, found) in [
        ("bin/sh", Some("usr/bin/dash")),
        ("/bin/sh", Some("usr/bin/dash")),
        ("absolute", Some("usr/bin/dash")),
        ("out", Some("etc/passwd")),
        ("bin/../bin/./dash", Some("usr/bin/dash")),
        ("bin", Some("usr/bin")),
        ("bin/through", Some("usr/bin/through")),
        ("loop", None),
        ("dangling", None),
        ("", None),
    ] {
        let place = contents.follow(path.as_bytes()).map(|(place, _)| place);
        assert_eq!(place.as_deref(), found.map(str::as_bytes), "{path}");
    }
    let below = shown(contents.below(b"usr/bin"));
    assert_eq!(
        below,
        ["usr/bin/dash=shell", "usr/bin/sh->../../bin/dash", "usr/bin/through=a link of the layer"]
    );
    assert_eq!(contents.below(b"").count(), contents.iter().count());
}

#[test]
fn hard_links_are_the_files_they_name() {
    let image = layer(&[
        symlink("alias", "data"),
        file("data/one", "content"),
        hardlink("two", "data/one"),
        hardlink("three", "alias/one"),
        file("data/one", "changed"),
    ]);
    assert_eq!(
        stacked(&[&image]),
        ["alias->data", "data/", "data/one=changed", "three=content", "two=content"]
    );
    for (name, target) in [("link", "later"), ("link", "etc"), ("self", "self")] {
        let parts = [directory("etc"), hardlink(name, target), file("later", "")];
        assert!(matches!(refused(&parts), ContentsError::LinkTarget { .. }), "{target}");
    }
}

#[test]
fn selectors_see_the_beginning_and_keep_what_they_want() {
    struct Digests;
    impl Selector for Digests {
        fn keep(&self, file: &Meta<'_>) -> Keep {
            if file.head.starts_with(b"#!") { Keep::Whole { limit: 10_000 } } else { Keep::Nothing }
        }
        fn distil(&self, file: &Meta<'_>, bytes: &[u8]) -> Option<Arc<[u8]>> {
            assert_eq!(bytes.len() as u64, file.size);
            Some(Digest::sha256(bytes).as_str().as_bytes().into())
        }
    }
    let script = format!("#!/bin/sh\n{}", "x".repeat(5000));
    let long = format!("#!{}", "y".repeat(20_000));
    let tar = archive(&[file("script", &script), file("long", &long), file("text", "words")]);
    let heads = |file: &Meta<'_>| {
        assert_eq!(file.head.len() as u64, file.size.min(HEAD as u64));
        Keep::Head(4)
    };
    let read = |compression, bytes: &[u8]| {
        let options = ReadOptions::default();
        read_layer(bytes, compression, &options, &[&heads, &Digests]).expect("readable")
    };
    let read = read(LayerCompression::None, &tar);
    assert_eq!((read.diff_id, read.uncompressed_size), (Digest::sha256(&tar), tar.len() as u64));
    let digest = Digest::sha256(script.as_bytes());
    assert_eq!(shown(read.contents[0].iter()), ["long=#!yy", "script=#!/b", "text=word"]);
    assert_eq!(shown(read.contents[1].iter()), ["long=?", &format!("script={digest}"), "text=?"]);
}

#[test]
fn any_compression_and_layout_is_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    trees::make(dir.path(), &trees::sample(), 4);
    let mut seen = Vec::new();
    for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
        for layout in [Layout::Unix, Layout::Windows] {
            let mut bytes = Vec::new();
            let options = LayerOptions { compression, layout, ..LayerOptions::default() };
            let info = write_layer(dir.path(), &options, &mut bytes).expect("layer");
            let options = ReadOptions { layout, ..ReadOptions::default() };
            let read = read_layer(bytes.as_slice(), compression.format(), &options, &[&whole]).expect("read");
            assert_eq!(read.diff_id, info.diff_id);
            seen.push(shown(read.contents[0].iter()));
        }
    }
    assert!(seen[0].len() > 3);
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[test]
fn a_delta_holds_what_its_layer_holds() {
    let dir = tempfile::tempdir().expect("temp dir");
    trees::make(dir.path(), &trees::sample(), 4);
    let mut tar = Vec::new();
    let options = LayerOptions { compression: Compression::None, ..LayerOptions::default() };
    write_layer(dir.path(), &options, &mut tar).expect("layer");
    let keeps: [&(dyn Fn(&Meta<'_>) -> Keep + Sync); 4] =
        [&whole, &|_| Keep::Nothing, &|_| Keep::Head(3), &|file| {
            if file.head.starts_with(b"content") { Keep::Head(HEAD * 2) } else { Keep::Whole { limit: 9 } }
        }];
    for (number, keep) in keeps.into_iter().enumerate() {
        let layer = LayerContents::read(tar.as_slice(), keep).expect("the layer");
        let delta = LayerContents::of_delta(dir.path(), &Budget::new(1 << 30), &keep).expect("the delta");
        assert_eq!(shown(delta.iter()), shown(layer.iter()), "{number}");
        assert!(delta.to_bytes(|_, _| true) == layer.to_bytes(|_, _| true), "{number}: more than entries");
    }
    let missing = LayerContents::of_delta(&dir.path().join("nowhere"), &Budget::new(1 << 30), &whole);
    assert!(matches!(missing, Err(ContentsError::Delta { .. })));
    let much = LayerContents::of_delta(dir.path(), &Budget::new(10_000), &whole);
    assert!(matches!(much, Err(ContentsError::Budget { total: 10_000 })));
}

#[test]
fn holes_are_zeros() {
    let mut header = entry(b'S', "sparse", "", b"");
    // Old GNU: 4 bytes of data at 0, 4 at 1000; 1010 bytes.
    header[386..397].copy_from_slice(b"00000000000");
    header[398..409].copy_from_slice(b"00000000004");
    header[410..421].copy_from_slice(b"00000001750");
    header[422..433].copy_from_slice(b"00000000004");
    header[483..494].copy_from_slice(b"00000001762");
    header[124..135].copy_from_slice(b"00000000010");
    crate::raw::seal(&mut header);
    let mut data = b"headtail".to_vec();
    data.resize(512, 0);
    let image = layer(&[header, data, file("next", "is found")]);
    let sparse = Contents::stack([&image]);
    let content = sparse.get(b"sparse").and_then(Entry::content).expect("kept");
    assert_eq!((content.len(), &content[..4], &content[1000..1004]), (1010, &b"head"[..], &b"tail"[..]));
    assert!(content[4..1000].iter().all(|byte| *byte == 0));
    assert!(sparse.get(b"next").is_some());
}

#[test]
fn what_it_costs_is_bounded() {
    let tar = archive(&(0..100).map(|n| file(&format!("file{n}"), "content")).collect::<Vec<_>>());
    let read = |bytes: u64| {
        let options = ReadOptions { budget: Budget::new(bytes), ..ReadOptions::default() };
        read_layer(tar.as_slice(), LayerCompression::None, &options, &[&whole]).map(drop)
    };
    assert!(matches!(read(10_000), Err(ContentsError::Budget { total: 10_000 })));
    assert!(read(100_000).is_ok());
}

#[test]
fn what_no_one_could_unpack_is_refused() {
    assert!(matches!(refused(&[file("a/.wh.", "")]), ContentsError::Whiteout { .. }));
    assert!(matches!(refused(&[file("./", "x")]), ContentsError::Root));
    let mut cut = archive(&[file("a", &"x".repeat(2000))]);
    cut.truncate(1500);
    let error = LayerContents::read(cut.as_slice(), &whole).expect_err("cut");
    assert!(error.to_string().contains("ends early"), "{error}");
}

#[test]
fn what_is_kept_of_a_layer_is_as_good_as_the_layer() {
    let base = layer(&[file("a/old", "1"), file("b", "2"), file("c", "3")]);
    let top = layer(&[
        file("a/.wh..wh..opq", ""),
        file(".wh.b", ""),
        directory("a"),
        file("a/new", "4"),
        symlink("link", "a/new"),
        entry(b'6', "pipe", "", b""),
    ]);
    let bytes = top.to_bytes(|_, _| true);
    let again = LayerContents::from_bytes(&bytes).expect("it was written so");
    assert_eq!(stacked(&[&base, &again]), stacked(&[&base, &top]));
    assert_eq!(shown(again.iter()), shown(top.iter()));
    let chosen = top.to_bytes(|path, _| path == b"link");
    let expected = ["a/", "c=3", "link->a/new"];
    assert_eq!(stacked(&[&base, &LayerContents::from_bytes(&chosen).expect("written")]), expected);
    // The format of `docs/formats/store.md`, "Facts about layers".
    let digest = Digest::sha256(&bytes);
    assert_eq!(digest.as_str(), "sha256:28ee368963b0aa1365d14f2cf2a6466b95e03ad8a5840f1ddf6780d6694c50b3");
    for length in 1..bytes.len() {
        // Cut between records it is whole, and says less; cut elsewhere it is nothing.
        if let Some(cut) = LayerContents::from_bytes(&bytes[..length]) {
            assert!(cut.iter().count() < top.iter().count());
        }
    }
}
