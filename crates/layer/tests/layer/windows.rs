//! Layers of Windows images: what hcsshim and containerd look for in them, and that we read them back.

use std::{collections::BTreeMap, io::Read as _};

use archway_layer::{
    Compression, DiffError, Entry, EntryKind, ExtractOptions, LayerInfo, LayerOptions, Layout, Ownership,
    Timestamp, apply_layer, write_layer, write_layer_with,
};
use archway_oci::media_type::LayerCompression;

fn options(layout: Layout) -> LayerOptions {
    LayerOptions { compression: Compression::None, layout, ..LayerOptions::default() }
}

fn layer(layout: Layout) -> (LayerInfo, Vec<u8>) {
    let mut bytes = Vec::new();
    let made = write_layer_with::<_, DiffError>(&options(layout), &mut bytes, |layer| {
        let mut directory = Entry::directory("app", 0o755);
        directory.mtime = Timestamp::from_seconds(1_700_000_000);
        layer.append(&directory, std::io::empty())?;
        layer.append(&Entry::file("app/.wh.old.exe", 0, 0), std::io::empty())?;
        layer.append(&Entry::file("app/a.exe", 2, 0o644), &b"MZ"[..])?;
        let hard = EntryKind::Hardlink { target: b"app/a.exe".to_vec() };
        layer.append(&Entry::new("app/b.exe", hard, 0o644), std::io::empty())?;
        let link = EntryKind::Symlink { target: b"a.exe".to_vec() };
        Ok(layer.append(&Entry::new("app/c.exe", link, 0o777), std::io::empty())?)
    });
    (made.expect("layer"), bytes)
}

#[test]
fn files_stand_below_files_and_carry_what_windows_wants_to_know() {
    let (info, bytes) = layer(Layout::Windows);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut found = BTreeMap::new();
    let mut names = Vec::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let mode = entry.header().mode().expect("mode");
        let records = entry.pax_extensions().expect("records").into_iter().flatten();
        let records: BTreeMap<String, String> = records
            .map(|record| record.expect("record"))
            .map(|record| (record.key().expect("key").to_owned(), record.value().expect("value").to_owned()))
            .collect();
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("content");
        names.push(name.clone());
        found.insert(name, (mode, link, records, content));
    }
    let expected = [
        "Hives",
        "Files",
        "Files/app",
        "Files/app/.wh.old.exe",
        "Files/app/a.exe",
        "Files/app/b.exe",
        "Files/app/c.exe",
    ];
    assert_eq!(names, expected);
    assert_eq!(info.entries, 5, "the directories of the layout change nothing");

    let (mode, _, records, _) = &found["Files/app"];
    assert_eq!((*mode, records["MSWINDOWS.fileattr"].as_str()), (0o40_755, "16"));
    assert_eq!(records["LIBARCHIVE.creationtime"], "1700000000.0");
    let (mode, _, records, content) = &found["Files/app/a.exe"];
    assert_eq!((*mode, records["MSWINDOWS.fileattr"].as_str(), content.as_str()), (0o100_644, "32", "MZ"));
    assert!(records["MSWINDOWS.rawsd"].starts_with("AQAEgBQAAAAkAAAA"));
    assert!(!found["Files"].2.contains_key("MSWINDOWS.rawsd"), "the one of the base layer stays");
    assert_eq!(found["Files/app/b.exe"].1.as_deref(), Some("Files/app/a.exe"));
    assert_eq!(found["Files/app/c.exe"].1.as_deref(), Some("a.exe"));
}

#[test]
fn todays_bytes_are_tomorrows() {
    let (info, _) = layer(Layout::Windows);
    assert_eq!(
        info.diff_id.to_string(),
        "sha256:78faa527631aecabb43b3cdf93bfa66a17e1dba467684e68e619b970e151e8b5"
    );
}

#[test]
fn what_was_written_is_read_back_and_the_rest_of_windows_is_not_seen() {
    let (info, bytes) = layer(Layout::Windows);
    let (_, foreign) = {
        let mut bytes = Vec::new();
        let made = write_layer_with::<_, DiffError>(&options(Layout::Unix), &mut bytes, |layer| {
            for path in ["Files/kept.txt", "Hives/Software_Delta", "UtilityVM/Files/hidden.txt"] {
                layer.append(&Entry::file(path, 0, 0o644), std::io::empty())?;
            }
            Ok(())
        });
        (made.expect("layer"), bytes)
    };
    let extract = |bytes: &[u8], to: &std::path::Path| {
        let options = ExtractOptions {
            ownership: Ownership::Squash,
            layout: Layout::Windows,
            ..ExtractOptions::default()
        };
        apply_layer(bytes, LayerCompression::None, to, &options).expect("a layer")
    };
    let dir = tempfile::tempdir().expect("temp dir");
    let extracted = extract(&foreign, dir.path());
    assert_eq!(extracted.entries, 1);
    assert!(dir.path().join("kept.txt").exists());
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);

    if crate::trees::is_root() {
        // Whiteouts are devices, which only root can make.
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(extract(&bytes, dir.path()).diff_id, info.diff_id);
        let mut again = Vec::new();
        let made = write_layer(dir.path(), &options(Layout::Windows), &mut again).expect("layer");
        assert_eq!(made.entries, info.entries);
        assert_eq!(std::fs::read(dir.path().join("app/b.exe")).expect("the link"), b"MZ");
    }
}
