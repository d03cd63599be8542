//! Streams that are cut, damaged, or much larger than they look.

use std::io::{Read, Write};

use archway_layer::{
    ExtractError, ExtractOptions, LayerOptions, apply_layer,
    archive::{Fault, Limit, Limits, ReadError},
    unpack_archive, write_layer,
};
use archway_oci::media_type::LayerCompression;

use super::{Scene, options};
use crate::{
    raw::{archive, directory, file, header, pax},
    trees,
};

#[test]
fn a_stream_cut_anywhere_is_an_error_or_ends_between_entries() {
    let whole =
        archive(&[directory("d"), file("d/f", &"x".repeat(700)), pax(&[("uid", b"0")]), file("g", "y")]);
    let ends = [0, 512, 512 + 512 + 1024, 512 + 1536 + 1024 + 1024];
    let around_blocks = (0..whole.len()).filter(|length| matches!(length % 512, 0 | 1 | 300 | 511));
    for length in around_blocks {
        let result = Scene::new().apply(&whole[..length]);
        let at_an_end = ends.contains(&length) || length >= whole.len() - 1024 && length % 512 == 0;
        let at_an_extension = length == 512 + 1536 + 1024;
        match result {
            Ok(_) => assert!(at_an_end, "cut at {length}"),
            Err(ExtractError::Archive(ReadError::Truncated { .. })) => assert!(!at_an_end, "cut at {length}"),
            Err(ExtractError::Archive(ReadError::Header { fault: Fault::Dangling, .. })) => {
                assert!(at_an_extension, "cut at {length}");
            }
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
}

#[test]
fn damaged_compression_is_an_error() {
    for (bytes, compression) in [
        (&b"not gzip"[..], LayerCompression::Gzip),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", LayerCompression::Gzip),
        (b"not zstd at all", LayerCompression::Zstd),
        (b"\x28\xb5\x2f\xfd", LayerCompression::Zstd),
        (b"short", LayerCompression::None),
    ] {
        let scene = Scene::new();
        let refused = apply_layer(bytes, compression, &scene.delta(), &options());
        assert!(matches!(refused, Err(ExtractError::Archive(_))), "{refused:?}");
    }
    let scene = Scene::new();
    trees::make(&scene.delta(), &trees::sample(), 0);
    for compression in [archway_layer::Compression::gzip(), archway_layer::Compression::zstd()] {
        let mut bytes = Vec::new();
        let made = LayerOptions { compression, ..LayerOptions::default() };
        write_layer(&scene.delta(), &made, &mut bytes).expect("layer");
        let cut = &bytes[..bytes.len() - 3];
        assert!(apply_layer(cut, compression.format(), &Scene::new().delta(), &options()).is_err());
        let mut trailed = bytes.clone();
        trailed.extend_from_slice(b"garbage after the last member");
        assert!(
            apply_layer(trailed.as_slice(), compression.format(), &Scene::new().delta(), &options()).is_err()
        );
    }
}

#[test]
fn padding_after_the_archive_is_part_of_the_diff_id() {
    let plain = archive(&[file("x", "")]);
    let padded = [plain.clone(), vec![0; 10_000]].concat();
    let diff_ids = [&plain, &padded].map(|bytes| Scene::new().apply(bytes).expect("extracted").diff_id);
    assert_eq!(diff_ids[0], archway_oci::Digest::sha256(&plain));
    assert_eq!(diff_ids[1], archway_oci::Digest::sha256(&padded));
}

/// A frame whose window is of 2 to the power of `log` bytes, and which has no content.
fn zstd_frame(log: u8) -> Vec<u8> {
    vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0]
}

#[test]
fn windows_that_take_all_memory_are_refused() {
    for (log, accepted) in [(20, true), (27, true), (28, false), (31, false), (41, false)] {
        let bytes = zstd_frame(log);
        let applied =
            apply_layer(bytes.as_slice(), LayerCompression::Zstd, &Scene::new().delta(), &options());
        assert_eq!(applied.is_ok(), accepted, "2^{log}: {applied:?}");
        let directory = tempfile::tempdir().expect("temp dir");
        assert_eq!(
            unpack_archive(bytes.as_slice(), directory.path(), &options()).is_ok(),
            accepted,
            "2^{log}"
        );
        if let Err(error) = applied {
            let cause = std::error::Error::source(&error).expect("a cause").to_string();
            assert!(cause.contains("memory"), "{cause}");
        }
    }
}

/// Gives the same bytes over and over.
struct Forever(std::io::Cursor<Vec<u8>>);

impl Read for Forever {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => {
                self.0.set_position(0);
                self.0.read(buffer)
            }
            count => Ok(count),
        }
    }
}

/// `bytes` as one gzip member.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut layer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    layer.write_all(bytes).expect("in memory");
    layer.finish().expect("in memory")
}

#[test]
fn a_stream_that_never_ends_ends_at_the_limit() {
    let limits = Limits { total: Some(64 << 20), ..Limits::default() };
    let limited = ExtractOptions { limits, ..options() };
    let zeros = vec![0; 8 << 20];
    for (start, of) in [
        // A file without an end, and zeros after the archive.
        (header(b'0', b"large", b"", 0o77_777_777_777), "a file"),
        (archive(&[file("x", "")]), "padding"),
    ] {
        for (members, compression) in [
            ([gzip(&start), gzip(&zeros)], LayerCompression::Gzip),
            (
                [&start, &zeros].map(|bytes| zstd::encode_all(bytes.as_slice(), 1).expect("zstd")),
                LayerCompression::Zstd,
            ),
        ] {
            let [first, more] = members;
            let bomb = std::io::Cursor::new(first).chain(Forever(std::io::Cursor::new(more)));
            let scene = Scene::new();
            let refused = apply_layer(bomb, compression, &scene.delta(), &limited);
            let Err(ExtractError::Archive(ReadError::Limit { limit: Limit::Total, .. })) = refused else {
                panic!("{of}, {compression:?}: {refused:?}");
            };
        }
    }
}

#[test]
fn a_hundred_thousand_members_of_nothing_are_nothing() {
    let (content, count) = (archive(&[file("x", "inside")]), 100_000);
    let skippable = b"\x50\x2a\x4d\x18\0\0\0\0";
    for (nothing, something, compression) in [
        (gzip(b""), gzip(&content), LayerCompression::Gzip),
        (zstd_frame(10), zstd::encode_all(content.as_slice(), 1).expect("zstd"), LayerCompression::Zstd),
        (skippable.to_vec(), zstd::encode_all(content.as_slice(), 1).expect("zstd"), LayerCompression::Zstd),
    ] {
        let bytes = [nothing.repeat(count), something, nothing.repeat(count)].concat();
        let scene = Scene::new();
        apply_layer(bytes.as_slice(), compression, &scene.delta(), &options()).expect("extracted");
        assert_eq!(scene.read("x"), "inside");
    }
}
