//! Any file where a program may be: what is kept of it is JSON, and the same each time.

#![no_main]

use archway_audit::Audited;
use archway_layer::contents::{HEAD, Keep, Meta, Selector as _};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (is_executable, bytes) = input;
    let mode = if is_executable { 0o755 } else { 0o644 };
    let head = &bytes[..bytes.len().min(HEAD)];
    let file = Meta { path: b"bin/program", size: bytes.len() as u64, mode, uid: 0, gid: 0, head };
    let read = match Audited.keep(&file) {
        Keep::Nothing => return,
        Keep::Head(count) => &bytes[..bytes.len().min(count)],
        Keep::Whole { .. } => bytes,
    };
    let Some(kept) = Audited.distil(&file, read) else { return };
    assert!(kept.starts_with(b"{") && kept.ends_with(b"}"));
    assert_eq!(Audited.distil(&file, read).as_deref(), Some(&*kept));
});
