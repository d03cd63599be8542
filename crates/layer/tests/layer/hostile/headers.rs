//! Headers that lie, mean nothing, or want more than they may.

use std::fs;

use archway_layer::{
    ExtractError, ExtractOptions, apply_layer,
    archive::{Fault, Limit, Limits, ReadError},
};
use archway_oci::media_type::LayerCompression;

use super::{Scene, options, refusal};
use crate::raw::{archive, directory, entry, file, header, pax, seal, symlink};

#[test]
fn headers_that_mean_nothing_are_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut block = file("x", "");
        block[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut block);
        block
    };
    let mut broken = file("x", "");
    broken[0] = b'y';
    for (parts, expected) in [
        (vec![broken], Fault::Checksum),
        (vec![vec![0; 512], file("x", "")], Fault::Checksum),
        (vec![with(124, &[0xff; 12])], Fault::Number("size")),
        (vec![with(124, &[0xbf; 12])], Fault::Number("size")),
        (vec![with(124, b"0000000000x")], Fault::Number("size")),
        (vec![with(108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])], Fault::Number("uid")),
        (vec![with(116, &[0x80, 0, 0, 1, 0, 0, 0, 0])], Fault::Number("gid")),
        (vec![pax(&[("uid", b"4294967295")]), file("x", "")], Fault::Number("uid")),
        (vec![with(156, b"Z")], Fault::Type(b'Z')),
        (vec![file("", "")], Fault::Name),
        (vec![symlink("x", "")], Fault::Name),
        (vec![pax(&[("path", b"a\0b")]), file("x", "")], Fault::Pax),
        (vec![entry(b'x', "x", "", b"no records")], Fault::Pax),
        (vec![pax(&[("path", b"a")])], Fault::Dangling),
        (vec![entry(b'L', "x", "", b"name")], Fault::Dangling),
        (vec![pax(&[("GNU.sparse.major", b"0"), ("GNU.sparse.minor", b"1")]), file("x", "")], Fault::Sparse),
        (vec![with(156, b"S")], Fault::Number("nothing")),
    ] {
        if expected == Fault::Number("nothing") {
            // A sparse file of size 0 without segments is sound.
            Scene::new().apply(&archive(&parts)).expect("extracted");
            continue;
        }
        let refused = refusal(&archive(&parts), Limits::default());
        assert!(
            matches!(refused, ReadError::Header { fault, .. } if fault == expected),
            "{expected}: {refused}"
        );
    }
}

#[test]
fn the_size_that_counts_is_the_extension_header_s() {
    // Readers that take the header's size see `hidden` as an entry of its own.
    let hidden = file("hidden", "");
    let size = hidden.len().to_string();
    let mut carrier = header(b'0', b"carrier", b"", 0);
    carrier.extend_from_slice(&hidden);
    let scene = Scene::new();
    scene.apply(&archive(&[pax(&[("size", size.as_bytes())]), carrier])).expect("extracted");
    assert!(!scene.delta().join("hidden").exists());
    assert_eq!(fs::read(scene.delta().join("carrier")).expect("file"), hidden);
    // And other kinds have no data, whatever is said.
    let scene = Scene::new();
    let mut sized = directory("d");
    sized[124..135].copy_from_slice(b"00000001000");
    seal(&mut sized);
    scene.apply(&archive(&[sized, file("seen", "")])).expect("extracted");
    assert!(scene.delta().join("seen").exists());
}

#[test]
fn every_limit_holds() {
    let few = Limits { entries: 3, ..Limits::default() };
    let small = Limits { total: Some(100), ..Limits::default() };
    let many: Vec<_> = (0..4).map(|n| file(&n.to_string(), "")).collect();
    let extensions: Vec<_> = (0..4).map(|_| pax(&[("comment", b"x")])).collect();
    let huge_pax = header(b'x', b"x", b"", 2 << 20);
    let endless_pax = header(b'x', b"x", b"", 0o77_777_777_777);
    let huge_name = header(b'L', b"x", b"", 2 << 20);
    let long = "n/".repeat(2049);
    for (bytes, limits, expected) in [
        (archive(&many), few.clone(), Limit::Entries),
        (archive(&extensions), few, Limit::Entries),
        (archive(&[huge_pax]), Limits::default(), Limit::Extension),
        (archive(&[endless_pax]), Limits::default(), Limit::Extension),
        (archive(&[huge_name]), Limits::default(), Limit::Extension),
        (archive(&[pax(&[("path", long.as_bytes())]), file("x", "")]), Limits::default(), Limit::Name),
        (archive(&[entry(b'L', "x", "", long.as_bytes()), file("x", "")]), Limits::default(), Limit::Name),
        (archive(&[entry(b'K', "x", "", long.as_bytes()), symlink("x", "")]), Limits::default(), Limit::Name),
        (archive(&[file("a", &"x".repeat(60)), file("b", &"x".repeat(60))]), small.clone(), Limit::Total),
        (archive(&[header(b'0', b"a", b"", 1 << 30)]), small.clone(), Limit::Total),
        ([archive(&[]), vec![0; 1000]].concat(), small, Limit::Total),
    ] {
        let refused = refusal(&bytes, limits);
        assert!(
            matches!(refused, ReadError::Limit { limit, .. } if limit == expected),
            "{expected}: {refused}"
        );
    }
}

#[test]
fn what_is_remembered_until_the_end_is_bounded() {
    let memory = 100_000;
    let deep = pax(&[("path", "d/".repeat(1000).as_bytes())]);
    let named = |n: usize| directory(&format!("{n:060}"));
    for parts in [
        (0..2000).map(named).collect(),
        vec![directory("again"); 2000],
        // Each of the directories on the way has a name of its own.
        vec![deep, file("x", "")],
    ] {
        let limits = Limits { memory, ..Limits::default() };
        let options = ExtractOptions { limits, ..options() };
        let bytes = archive(&parts);
        let scene = Scene::new();
        let refused = apply_layer(bytes.as_slice(), LayerCompression::None, &scene.delta(), &options);
        assert!(matches!(refused, Err(ExtractError::Memory { most }) if most == memory), "{refused:?}");
    }
}

/// Header of an old GNU sparse file whose `more` is set if its map goes on.
fn gnu_sparse(map: &[(u64, u64)], more: bool, size: u64, stored: u64) -> Vec<u8> {
    let mut block = header(b'S', b"sparse", b"", stored);
    for (slot, (offset, length)) in map.iter().enumerate() {
        let at = 386 + slot * 24;
        block[at..at + 23].copy_from_slice(format!("{offset:011o} {length:011o}").as_bytes());
    }
    block[482] = u8::from(more);
    block[483..494].copy_from_slice(format!("{size:011o}").as_bytes());
    seal(&mut block);
    block
}

/// A sparse file of PAX format 1.0 that has nothing but its map, of one block.
fn pax_sparse(size: &str, map: &str) -> Vec<Vec<u8>> {
    let version: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", size.as_bytes())];
    vec![pax(&version), file("sparse", &format!("{map:\0<512}"))]
}

#[test]
fn maps_of_sparse_files_that_cannot_be_are_refused() {
    // Every block of this map announces another one.
    let mut endless = gnu_sparse(&[(0, 0); 4], true, 1, 0);
    let mut block = [0; 512];
    for slot in 0..21 {
        block[slot * 24..slot * 24 + 23].copy_from_slice(b"00000000000 00000000000");
    }
    block[504] = 1;
    endless.extend(std::iter::repeat_n(block, 4000).flatten());
    for parts in [
        vec![endless],
        vec![gnu_sparse(&[(0, 512), (100, 0)], false, 1000, 512), vec![0; 512]],
        vec![gnu_sparse(&[(512, 512)], false, 600, 512), vec![0; 512]],
        vec![gnu_sparse(&[(0, 512)], false, 512, 1024), vec![0; 1024]],
        pax_sparse("10", "1\n0\n"),
        pax_sparse("10", "99999999\n0\n"),
        pax_sparse("10", "1\n18446744073709551615\n5\n"),
        pax_sparse("-1", "0\n"),
        pax_sparse("18446744073709551616", "0\n"),
    ] {
        let refused = refusal(&archive(&parts), Limits::default());
        assert!(matches!(refused, ReadError::Header { fault: Fault::Sparse, .. }), "{refused}");
    }
}

#[test]
fn holes_count_as_what_they_look_like() {
    let limits = Limits { total: Some(1 << 30), ..Limits::default() };
    let parts = pax_sparse("18446744073709551615", "0\n");
    for parts in [parts.clone(), [gnu_sparse(&[], false, 1 << 29, 0), parts.concat()].to_vec()] {
        let refused = refusal(&archive(&parts), limits.clone());
        assert!(matches!(refused, ReadError::Limit { limit: Limit::Total, .. }), "{refused}");
    }
}
