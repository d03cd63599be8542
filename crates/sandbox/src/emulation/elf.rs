//! Whether a program needs a dynamic loader (ELF gABI, program headers).

use std::{fs::File, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

/// Program headers come right after the file's header in every program that linkers make.
const HEAD: u64 = 4096;
/// `PT_INTERP`.
const INTERPRETER: u32 = 3;

/// Whether `path` is an executable of this machine that needs no dynamic loader.
pub(super) fn is_static(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let executable =
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let mut head = Vec::new();
    executable && file.take(HEAD).read_to_end(&mut head).is_ok() && has_no_interpreter(&head) == Some(true)
}

/// `None` if `head` is not the beginning of a program.
fn has_no_interpreter(head: &[u8]) -> Option<bool> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let is_64_bit = *head.get(4)? == 2;
    let half = |at: usize| Some(usize::from(u16::from_ne_bytes(*head.get(at..)?.first_chunk()?)));
    let word = |at: usize| Some(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?));
    let (offset, size, count) =
        if is_64_bit { (word(32)?, half(54)?, half(56)?) } else { (word(28)?, half(42)?, half(44)?) };
    for number in 0..count {
        let header = usize::try_from(offset).ok()?.checked_add(size.checked_mul(number)?)?;
        if word(header)? == INTERPRETER {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kind: u32) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..5].copy_from_slice(b"\x7fELF\x02");
        head[32..36].copy_from_slice(&64_u32.to_ne_bytes());
        head[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        head[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        head[64..68].copy_from_slice(&kind.to_ne_bytes());
        head
    }

    #[test]
    fn a_loader_makes_the_difference() {
        assert_eq!(has_no_interpreter(&program(1)), Some(true));
        assert_eq!(has_no_interpreter(&program(INTERPRETER)), Some(false));
    }

    #[test]
    fn other_files_are_no_programs() {
        assert_eq!(has_no_interpreter(b"#!/bin/sh"), None);
        let cut = &program(1)[..66];
        assert_eq!(has_no_interpreter(cut), None);
        assert!(!is_static(Path::new("/")));
        assert!(!is_static(Path::new("/etc/passwd")));
    }
}
