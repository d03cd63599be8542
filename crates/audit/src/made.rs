//! Files of machine code made byte by byte, for tests.

use archway_layer::{
    Entry, TarWriter,
    contents::{LayerContents, ReadOptions, read_layer},
};
use archway_oci::media_type::LayerCompression;

use crate::Audited;

/// An ELF file without code.
#[derive(Debug, Clone)]
pub(crate) struct Elf {
    machine: u16,
    kind: u16,
    is_64: bool,
    is_big: bool,
    os: u8,
    flags: u32,
    arm: Option<u8>,
    pub(crate) interpreter: Option<String>,
    at: usize,
}

impl Elf {
    /// A position-independent one, 64-bit, little-endian.
    pub(crate) fn new(machine: u16) -> Self {
        Self {
            machine,
            kind: 3,
            is_64: true,
            is_big: false,
            os: 0,
            flags: 0,
            arm: None,
            interpreter: None,
            at: 0x200,
        }
    }

    pub(crate) fn bits32(self) -> Self {
        Self { is_64: false, ..self }
    }

    pub(crate) fn big(self) -> Self {
        Self { is_big: true, ..self }
    }

    pub(crate) fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn os(self, os: u8) -> Self {
        Self { os, ..self }
    }

    pub(crate) fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// `Tag_CPU_arch`.
    pub(crate) fn arm(self, architecture: u8) -> Self {
        Self { arm: Some(architecture), ..self }
    }

    pub(crate) fn interpreter(self, path: &str) -> Self {
        Self { interpreter: Some(path.to_owned()), ..self }
    }

    pub(crate) fn interpreter_at(self, at: usize) -> Self {
        Self { at, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (header, program, section) = if self.is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let mut bytes = vec![0; header];
        bytes[..8].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            1 + u8::from(self.is_64),
            1 + u8::from(self.is_big),
            1,
            self.os,
        ]);
        self.put(&mut bytes, 16, u64::from(self.kind), 2);
        self.put(&mut bytes, 18, u64::from(self.machine), 2);
        self.put(&mut bytes, if self.is_64 { 48 } else { 36 }, u64::from(self.flags), 4);
        let word = if self.is_64 { 8 } else { 4 };
        if let Some(path) = &self.interpreter {
            self.put(&mut bytes, if self.is_64 { 32 } else { 28 }, header as u64, word);
            let sizes = if self.is_64 { 54 } else { 42 };
            self.put(&mut bytes, sizes, program as u64, 2);
            self.put(&mut bytes, sizes + 2, 1, 2);
            bytes.resize(header + program, 0);
            self.put(&mut bytes, header, 3, 4);
            let (offset, length) = if self.is_64 { (8, 32) } else { (4, 16) };
            self.put(&mut bytes, header + offset, self.at as u64, word);
            self.put(&mut bytes, header + length, path.len() as u64 + 1, word);
            bytes.resize(self.at, 0);
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
        }
        if let Some(architecture) = self.arm {
            // CPU_raw_name "x", then CPU_arch.
            let attributes = [4, b'x', 0, 6, architecture];
            let mut file = vec![1];
            file.extend((5 + attributes.len() as u32).to_le_bytes());
            file.extend(attributes);
            let mut vendor = (4 + 6 + file.len() as u32).to_le_bytes().to_vec();
            vendor.extend(b"aeabi\0");
            vendor.extend(file);
            let (offset, size) = (bytes.len() + 1, vendor.len());
            bytes.push(b'A');
            bytes.extend(vendor);
            let table = bytes.len();
            bytes.resize(table + section, 0);
            self.put(&mut bytes, table + 4, 0x7000_0003, 4);
            self.put(&mut bytes, table + 16, offset as u64 - 1, 4);
            self.put(&mut bytes, table + 20, size as u64 + 1, 4);
            self.put(&mut bytes, 32, table as u64, 4);
            self.put(&mut bytes, 46, section as u64, 2);
            self.put(&mut bytes, 48, 1, 2);
        }
        bytes
    }

    fn put(&self, bytes: &mut [u8], at: usize, value: u64, width: usize) {
        let value = value.to_le_bytes();
        let place = &mut bytes[at..at + width];
        place.copy_from_slice(&value[..width]);
        if self.is_big {
            place.reverse();
        }
    }
}

/// A PE32+ file of `machine` without code; `clr` is the address of .NET's header.
pub(crate) fn pe(machine: u16, subsystem: u16, clr: u32) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    let optional = 0x80 + 24;
    bytes[optional..optional + 2].copy_from_slice(&0x20bu16.to_le_bytes());
    bytes[optional + 68..optional + 70].copy_from_slice(&subsystem.to_le_bytes());
    let directory = optional + 112 + 14 * 8;
    bytes[directory..directory + 4].copy_from_slice(&clr.to_le_bytes());
    bytes
}

/// Files of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(Vec<(Entry, Vec<u8>)>);

impl Files {
    pub(crate) fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.0.push((Entry::file(path, content.len() as u64, mode), content.to_vec()));
        self
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.0.push((Entry::symlink(path, target), Vec::new()));
        self
    }

    /// The layer, read as an audit does.
    pub(crate) fn layer(&self) -> LayerContents {
        let mut tar = TarWriter::new(Vec::new(), None);
        for (entry, content) in &self.0 {
            tar.append(entry, content.as_slice()).unwrap();
        }
        let bytes = tar.finish().unwrap();
        let options = ReadOptions::default();
        let read = read_layer(bytes.as_slice(), LayerCompression::None, &options, &[&Audited]).unwrap();
        read.contents.into_iter().next().unwrap()
    }
}
