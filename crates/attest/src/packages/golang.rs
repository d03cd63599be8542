//! Go: the modules that the linker writes into each program, as `go version -m` shows them.
//!
//! Programs of Go 1.18 and newer have them inline; older ones, from 1.13 on, have pointers to them.
//! `debug/buildinfo` of Go is the description.

use super::{Package, PackageType, bytes::Bytes};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the inline texts begin.
const HEADER: usize = 32;
const INLINE: u8 = 2;
/// Of pointers.
const BIG_ENDIAN: u8 = 1;
/// Before and after the module list, so that it is found in a core dump.
const SENTINEL: usize = 16;
/// The header is aligned so, and near the beginning of the data.
const ALIGNMENT: usize = 16;
const SEARCHED: usize = 64 * 1024;

/// The modules of a program, its standard library first. `memory` finds bytes of the program by the address that they have when it runs.
pub(super) fn packages<'a>(
    section: &'a [u8],
    memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Vec<Package> {
    let places = section.chunks(ALIGNMENT).take(SEARCHED / ALIGNMENT);
    let Some(at) = places.into_iter().position(|chunk| chunk.starts_with(MAGIC)) else { return Vec::new() };
    read(&section[at * ALIGNMENT..], memory).unwrap_or_default()
}

fn read<'a>(header: &'a [u8], memory: impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<Vec<Package>> {
    let (version, modules) = if header.get(15)? & INLINE != 0 {
        let (version, rest) = text(header.get(HEADER..)?)?;
        (version, text(rest)?.0)
    } else {
        let pointers = Pointers::of(header)?;
        let version = pointers.text(header, 16, &memory)?;
        // A program that was not built of modules has none.
        (version, pointers.text(header, 16 + pointers.size, &memory).unwrap_or_default())
    };
    let mut packages = Vec::new();
    let version = String::from_utf8_lossy(version);
    // `go1.22.1 X:experiment`
    if let Some(version) = version.strip_prefix("go").and_then(|version| version.split(' ').next()) {
        packages.push(Package::new(PackageType::Golang, "stdlib", version));
    }
    let end = modules.len().checked_sub(SENTINEL);
    if let Some(modules) = end.and_then(|end| modules.get(SENTINEL..end)) {
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

/// How addresses are written.
struct Pointers {
    /// In bytes: 4 or 8.
    size: usize,
    is_big_endian: bool,
}

impl Pointers {
    fn of(header: &[u8]) -> Option<Self> {
        let size = usize::from(*header.get(14)?);
        matches!(size, 4 | 8).then_some(Self { size, is_big_endian: header.get(15)? & BIG_ENDIAN != 0 })
    }

    fn read(&self, bytes: &[u8], offset: usize) -> Option<usize> {
        let bytes = if self.is_big_endian { Bytes::big_endian(bytes) } else { Bytes::little_endian(bytes) };
        if self.size == 8 { bytes.u64(offset) } else { bytes.u32(offset) }
    }

    /// The text of a variable whose address is at `offset`: a variable has the address of its text and its length.
    fn text<'a>(
        &self,
        header: &[u8],
        offset: usize,
        memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        let variable = memory(self.read(header, offset)? as u64, 2 * self.size)?;
        memory(self.read(variable, 0)? as u64, self.read(variable, self.size)?)
    }
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
            packages(bytes, |_, _| None)
                .iter()
                .map(|package| format!("{} {}", package.name, package.version))
                .collect()
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
            let _ = packages(&bytes[..length], |_, _| None);
        }
    }

    /// A program of Go 1.17 in memory from 0x1000 on: header, two variables, their texts.
    fn with_pointers(size: usize, is_big_endian: bool) -> Vec<u8> {
        let number = |number: usize| {
            let bytes = number.to_be_bytes();
            let mut bytes = bytes[bytes.len() - size..].to_vec();
            if !is_big_endian {
                bytes.reverse();
            }
            bytes
        };
        let modules = format!("{}path\tx\nmod\texample.com/app\tv1.0.0\n{}", "0".repeat(16), "1".repeat(16));
        let texts = HEADER + 4 * size;
        let mut bytes = [MAGIC, &[size as u8, u8::from(is_big_endian)]].concat();
        bytes.extend([number(0x1000 + HEADER), number(0x1000 + HEADER + 2 * size)].concat());
        bytes.resize(HEADER, 0);
        bytes.extend(
            [number(0x1000 + texts), number(8), number(0x1000 + texts + 8), number(modules.len())].concat(),
        );
        bytes.extend([b"go1.17.3", modules.as_bytes()].concat());
        bytes
    }

    #[test]
    fn older_programs_have_pointers() {
        for (size, is_big_endian) in [(4, false), (8, false), (4, true), (8, true)] {
            let bytes = with_pointers(size, is_big_endian);
            let memory = |address: u64, length: usize| {
                let offset = usize::try_from(address.checked_sub(0x1000)?).ok()?;
                bytes.get(offset..offset.checked_add(length)?)
            };
            let found = packages(&bytes, memory);
            let names: Vec<String> =
                found.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
            assert_eq!(names, ["stdlib 1.17.3", "example.com/app v1.0.0"], "{size} {is_big_endian}");
            assert!(packages(&bytes, |_, _| None).is_empty());
        }
    }
}
