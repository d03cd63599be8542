//! Program files that say what they were made of: sections of ELF and PE files.

use super::{Package, bytes::Bytes, cargo, golang};

/// More sections are none that a linker writes.
const MAX_SECTIONS: usize = 4096;

/// The packages that a program file says it contains.
pub(super) fn packages(file: &[u8]) -> Vec<Package> {
    let mut packages = Vec::new();
    let sections = sections(file).unwrap_or_default();
    let memory =
        |address: u64, length: usize| sections.iter().find_map(|section| section.at(address, length));
    for section in &sections {
        match section.name {
            b".dep-v0" => packages.extend(cargo::packages(section.data)),
            b".go.buildinfo" => packages.extend(golang::packages(section.data, memory)),
            // PE has no section of Go's own: it is at the beginning of the data.
            b".data" if file.starts_with(b"MZ") => packages.extend(golang::packages(section.data, memory)),
            _ => {}
        }
    }
    packages
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section<'a> {
    name: &'a [u8],
    /// Of its first byte in memory; 0 if it is not loaded.
    address: u64,
    data: &'a [u8],
}

impl<'a> Section<'a> {
    /// `length` bytes from `address`, if they are all here.
    fn at(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        let offset = address.checked_sub(self.address).filter(|_| self.address != 0)?;
        Bytes::little_endian(self.data).slice(usize::try_from(offset).ok()?, length)
    }
}

/// The sections of an ELF or PE file; `None` if it is neither, or broken.
fn sections(file: &[u8]) -> Option<Vec<Section<'_>>> {
    match file {
        [0x7f, b'E', b'L', b'F', class, order, ..] => {
            let bytes = if *order == 2 { Bytes::big_endian(file) } else { Bytes::little_endian(file) };
            elf(bytes, *class == 2)
        }
        [b'M', b'Z', ..] => pe(Bytes::little_endian(file)),
        _ => None,
    }
}

/// System V ABI, chapter 4: section headers.
fn elf(bytes: Bytes<'_>, wide: bool) -> Option<Vec<Section<'_>>> {
    let offset_of_table = if wide { bytes.u64(0x28)? } else { bytes.u32(0x20)? };
    let counts = if wide { 0x3a } else { 0x2e };
    let (size, count, names) = (bytes.u16(counts)?, bytes.u16(counts + 2)?, bytes.u16(counts + 4)?);
    let header = |number: usize| {
        let at = offset_of_table.checked_add(number.checked_mul(size)?)?;
        // Address, offset, length: three numbers in a row.
        let numbers = match wide {
            true => [0x10, 0x18, 0x20].map(|field| bytes.u64(at.checked_add(field)?)),
            false => [0x0c, 0x10, 0x14].map(|field| bytes.u32(at.checked_add(field)?)),
        };
        let [Some(address), Some(offset), Some(length)] = numbers else { return None };
        // Name, type, place. Sections of type NOBITS (8) have no bytes in the file.
        Some((bytes.u32(at)?, bytes.u32(at + 4)?, address as u64, offset, length))
    };
    let (_, _, _, offset, length) = header(names)?;
    let names = bytes.slice(offset, length)?;
    let mut sections = Vec::new();
    for number in 0..count.min(MAX_SECTIONS) {
        let (name, kind, address, offset, length) = header(number)?;
        let Some(name) = names.get(name..).and_then(|rest| rest.split(|byte| *byte == 0).next()) else {
            continue;
        };
        if kind != 8
            && let Some(data) = bytes.slice(offset, length)
        {
            sections.push(Section { name, address, data });
        }
    }
    Some(sections)
}

/// Microsoft's PE format: COFF header, optional header, section table.
fn pe(bytes: Bytes<'_>) -> Option<Vec<Section<'_>>> {
    let coff = bytes.u32(0x3c)?;
    if bytes.slice(coff, 4)? != b"PE\0\0" {
        return None;
    }
    let count = bytes.u16(coff + 6)?;
    let table = coff + 24 + bytes.u16(coff + 20)?;
    // Addresses of sections are relative to that of the image, in the optional header of either width.
    let base = match bytes.u16(coff + 24) {
        Some(0x20b) => bytes.u64(coff + 48)?,
        _ => bytes.u32(coff + 52).unwrap_or_default(),
    };
    let mut sections = Vec::new();
    for number in 0..count.min(MAX_SECTIONS) {
        let at = table + number * 40;
        let name = bytes.slice(at, 8)?.split(|byte| *byte == 0).next()?;
        let (address, length, offset) = (bytes.u32(at + 12)?, bytes.u32(at + 16)?, bytes.u32(at + 20)?);
        if let Some(data) = bytes.slice(offset, length) {
            sections.push(Section { name, address: base.saturating_add(address) as u64, data });
        }
    }
    Some(sections)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A little-endian 64-bit ELF file with one section besides the names.
    pub(in super::super) fn elf_with(name: &str, data: &[u8]) -> Vec<u8> {
        let names = [b"\0.shstrtab\0", name.as_bytes(), b"\0"].concat();
        let (data_at, names_at) = (64, 64 + data.len());
        let table = names_at + names.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        file[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        file[0x3a..0x40].copy_from_slice(&[64, 0, 3, 0, 1, 0]);
        file.extend(data);
        file.extend(&names);
        let mut header = |name: u32, kind: u32, offset: usize, length: usize| {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend(header);
        };
        header(0, 0, 0, 0);
        header(1, 3, names_at, names.len());
        header(11, 1, data_at, data.len());
        file
    }

    #[test]
    fn sections_are_found_and_broken_files_are_not_followed() {
        let file = elf_with(".dep-v0", b"data");
        let found = sections(&file).unwrap();
        assert!(found.contains(&Section { name: b".dep-v0", address: 0, data: b"data" }));
        for length in 0..file.len() {
            let _ = sections(&file[..length]);
        }
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] = 0xff;
            let _ = sections(&broken);
        }
        assert_eq!(sections(b"#!/bin/sh"), None);
    }
}
