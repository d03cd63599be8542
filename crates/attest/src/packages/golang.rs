//! Go: the modules that the linker writes into each program, as `go version -m` shows them.
//!
//! Programs of Go 1.18 and newer have them inline; older ones have pointers to them, and are not read.

use super::{Package, PackageType};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the inline texts begin.
const HEADER: usize = 32;
const INLINE: u8 = 2;
/// Before and after the module list, so that it is found in a core dump.
const SENTINEL: usize = 16;
/// The header is aligned so, and near the beginning of the data.
const ALIGNMENT: usize = 16;
const SEARCHED: usize = 64 * 1024;

/// The modules of a program, its standard library first.
pub(super) fn packages(section: &[u8]) -> Vec<Package> {
    let places = section.chunks(ALIGNMENT).take(SEARCHED / ALIGNMENT);
    let Some(at) = places.into_iter().position(|chunk| chunk.starts_with(MAGIC)) else { return Vec::new() };
    read(&section[at * ALIGNMENT..]).unwrap_or_default()
}

fn read(header: &[u8]) -> Option<Vec<Package>> {
    if header.get(15)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = text(header.get(HEADER..)?)?;
    let (modules, _) = text(rest)?;
    let mut packages = Vec::new();
    let version = String::from_utf8_lossy(version);
    // `go1.22.1 X:experiment`
    if let Some(version) = version.strip_prefix("go").and_then(|version| version.split(' ').next()) {
        packages.push(Package::new(PackageType::Golang, "stdlib", version));
    }
    if let Some(modules) = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?) {
        packages.extend(list(&String::from_utf8_lossy(modules)));
    }
    Some(packages)
}

/// Lines of `mod`, `dep` and `=>`, fields separated by tabs; the last one replaces the module before it.
fn list(text: &str) -> Vec<Package> {
    let mut modules: Vec<Package> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(kind), Some(path), Some(version)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        match kind {
            "=>" => drop(modules.pop()),
            "mod" | "dep" => {}
            _ => continue,
        }
        modules.push(Package::new(PackageType::Golang, path, version));
    }
    modules
}

/// A text with its length before it, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(version: &str, modules: &str) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE]);
        bytes.resize(16 + HEADER, 0);
        let modules = format!("{}{modules}{}", "0".repeat(SENTINEL), "1".repeat(SENTINEL));
        for text in [version, &modules] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn modules_and_their_replacements() {
        let modules = "path\texample.com/app/cmd\nmod\texample.com/app\t(devel)\t\ndep\tgolang.org/x/net\tv0.17.0\th1:x=\n\
            dep\texample.com/old\tv1.0.0\n=>\texample.com/new\tv1.1.0\th1:y=\nbuild\t-compiler=gc\n";
        let names = |bytes: &[u8]| -> Vec<String> {
            packages(bytes).iter().map(|package| format!("{} {}", package.name, package.version)).collect()
        };
        let bytes = section("go1.22.1 X:loopvar", modules);
        let expected = [
            "stdlib 1.22.1",
            "example.com/app (devel)",
            "golang.org/x/net v0.17.0",
            "example.com/new v1.1.0",
        ];
        assert_eq!(names(&bytes), expected);
        for length in 0..bytes.len() {
            let _ = packages(&bytes[..length]);
        }
    }
}
