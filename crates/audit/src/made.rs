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
    isa: Option<u32>,
    isa_at: usize,
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
            isa: None,
            isa_at: 0x300,
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

    /// The levels of x86-64 that it needs, a bit for each.
    pub(crate) fn isa(self, needed: u32) -> Self {
        Self { isa: Some(needed), ..self }
    }

    pub(crate) fn isa_at(self, isa_at: usize) -> Self {
        Self { isa_at, ..self }
    }

    /// Kind, offset and content of what program headers name.
    fn segments(&self) -> Vec<(u32, usize, Vec<u8>)> {
        let path = self.interpreter.as_ref().map(|path| [path.as_bytes(), b"\0"].concat());
        let interpreter = path.map(|path| (3, self.at, path));
        let note = self.isa.map(|needed| {
            // Another property comes first: that the stack is shadowed.
            let properties = [0xc000_0002_u32, 4, 3, 0, 0xc000_8002, 4, needed, 0];
            let header = [4_u32, 32, 5].iter().flat_map(|word| word.to_le_bytes());
            let name = *b"GNU\0";
            let properties = properties.iter().flat_map(|word| word.to_le_bytes());
            (0x6474_e553, self.isa_at, header.chain(name).chain(properties).collect())
        });
        interpreter.into_iter().chain(note).collect()
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
        let segments = self.segments();
        if !segments.is_empty() {
            self.put(&mut bytes, if self.is_64 { 32 } else { 28 }, header as u64, word);
            let sizes = if self.is_64 { 54 } else { 42 };
            self.put(&mut bytes, sizes, program as u64, 2);
            self.put(&mut bytes, sizes + 2, segments.len() as u64, 2);
            bytes.resize(header + program * segments.len(), 0);
        }
        for (number, (kind, at, content)) in segments.into_iter().enumerate() {
            let entry = header + program * number;
            self.put(&mut bytes, entry, u64::from(kind), 4);
            let (offset, length) = if self.is_64 { (8, 32) } else { (4, 16) };
            self.put(&mut bytes, entry + offset, at as u64, word);
            self.put(&mut bytes, entry + length, content.len() as u64, word);
            bytes.resize(bytes.len().max(at + content.len()), 0);
            bytes[at..at + content.len()].copy_from_slice(&content);
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

/// A `Packages.db` of rpm's own kind (ndb) with packages of these names and versions.
pub(crate) fn rpm_database(packages: &[(&str, &str)]) -> Vec<u8> {
    const BLOCK: usize = 16;
    const SLOTS_END: usize = 256 * BLOCK;

    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut slots = words(&[u32::from_le_bytes(*b"RpmP"), 0, 1, 1, 0, 0, 0, 0]);
    let mut blobs = Vec::new();
    for (number, (name, version)) in (1_u32..).zip(packages) {
        let header = rpm_header(&[(1000, name), (1001, version), (1002, "1")]);
        let offset = (SLOTS_END + blobs.len()) / BLOCK;
        blobs.extend(words(&[u32::from_le_bytes(*b"BlbS"), number, 0, header.len() as u32]));
        blobs.extend(header);
        blobs.resize(blobs.len().next_multiple_of(BLOCK), 0);
        let end = (SLOTS_END + blobs.len()) / BLOCK;
        slots.extend(words(&[u32::from_le_bytes(*b"Slot"), number, offset as u32, (end - offset) as u32]));
    }
    slots.resize(SLOTS_END, 0);
    slots.extend(blobs);
    slots
}

/// A package's header: an index of texts by tag, and the texts.
fn rpm_header(texts: &[(u32, &str)]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, text) in texts {
        index.extend([*tag, 6, data.len() as u32, 1].iter().flat_map(|word| word.to_be_bytes()));
        data.extend(text.bytes().chain([0]));
    }
    let lengths = [texts.len() as u32, data.len() as u32];
    lengths.iter().flat_map(|word| word.to_be_bytes()).chain(index).chain(data).collect()
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
