//! ELF: what System V's gABI and the processors' supplements say in header, program headers, on 32-bit ARM in the
//! build attributes, and on x86-64 in the property note.

use archway_layer::contents::Keep;

use crate::{
    bytes::{Order, slice, text},
    program::{Format, Machine, Program, Role},
};

/// How an ELF file begins.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// Program headers and the interpreter's name are mostly within this many bytes.
const USUAL: usize = 4096;
/// Where they are further away, or build attributes are to be read, files up to this size are read whole.
const MAX_WHOLE: u64 = 128 << 20;
/// More program or section headers are those of no program.
const MAX_HEADERS: u16 = 4096;
/// Linux's `PATH_MAX`.
const MAX_INTERPRETER: u64 = 4096;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_INTERP: u32 = 3;
const PT_GNU_PROPERTY: u32 = 0x6474_e553;
const NT_GNU_PROPERTY_TYPE_0: u32 = 5;
/// x86-64 psABI, "Program Property": the levels of instructions without which the file does not run.
const GNU_PROPERTY_X86_ISA_1_NEEDED: u32 = 0xc000_8002;
/// Longer notes are none that a linker wrote.
const MAX_NOTES: u64 = 4096;
const SHT_ARM_ATTRIBUTES: u32 = 0x7000_0003;
const EM_MIPS: u16 = 8;
const EM_ARM: u16 = 40;
const EM_X86_64: u16 = 62;
/// `e_flags` of MIPS: the ABI n32, of 64-bit processors.
const EF_MIPS_ABI2: u32 = 0x20;

/// The fields of the header that matter here.
struct Header<'a> {
    bytes: &'a [u8],
    order: Order,
    is_64: bool,
    os_abi: u8,
    kind: u16,
    machine: u16,
    flags: u32,
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let is_64 = match bytes.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let order = match bytes.get(5)? {
            1 => Order::Little,
            2 => Order::Big,
            _ => return None,
        };
        Some(Self {
            bytes,
            order,
            is_64,
            os_abi: *bytes.get(7)?,
            kind: order.u16(bytes, 16)?,
            machine: order.u16(bytes, 18)?,
            flags: order.u32(bytes, if is_64 { 48 } else { 36 })?,
        })
    }

    /// A number as wide as an address of the file's class.
    fn word(&self, bytes: &[u8], offset: usize) -> Option<u64> {
        if self.is_64 { self.order.u64(bytes, offset) } else { self.order.u32(bytes, offset).map(u64::from) }
    }

    /// Offset, size of one and number of the program headers.
    fn program_headers(&self) -> Option<(u64, u16, u16)> {
        let (offset, sizes) = if self.is_64 { (32, 54) } else { (28, 42) };
        self.table(offset, sizes)
    }

    fn section_headers(&self) -> Option<(u64, u16, u16)> {
        let (offset, sizes) = if self.is_64 { (40, 58) } else { (32, 46) };
        self.table(offset, sizes)
    }

    fn table(&self, offset: usize, sizes: usize) -> Option<(u64, u16, u16)> {
        let count = self.order.u16(self.bytes, sizes + 2)?;
        (count <= MAX_HEADERS).then_some((
            self.word(self.bytes, offset)?,
            self.order.u16(self.bytes, sizes)?,
            count,
        ))
    }

    /// The headers of a table that `bytes` has.
    fn headers(&self, (offset, size, count): (u64, u16, u16)) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let at = move |index: u16| offset.checked_add(u64::from(index) * u64::from(size));
        (0..count).map_while(move |index| slice(bytes, at(index)?, u64::from(size)))
    }

    /// Offset and length of the first segment of a kind, if a program header that is in `bytes` names one.
    fn segment(&self, kind: u32) -> Option<(u64, u64)> {
        let (offset, length) = if self.is_64 { (8, 32) } else { (4, 16) };
        let is_meant = |header: &&[u8]| self.order.u32(header, 0) == Some(kind);
        let header = self.headers(self.program_headers()?).find(is_meant)?;
        Some((self.word(header, offset)?, self.word(header, length)?))
    }

    /// Where the interpreter's name is.
    fn interpreter(&self) -> Option<(u64, u64)> {
        self.segment(PT_INTERP).filter(|(_, length)| *length <= MAX_INTERPRETER)
    }

    /// Where the properties are that matter here.
    fn properties(&self) -> Option<(u64, u64)> {
        let has_levels = self.machine == EM_X86_64 && self.is_64;
        self.segment(PT_GNU_PROPERTY).filter(|(_, length)| has_levels && *length <= MAX_NOTES)
    }
}

/// How much of a file that begins with `head` is needed.
pub(crate) fn wanted(head: &[u8], size: u64) -> Keep {
    let all = || match size <= MAX_WHOLE {
        true => Keep::Whole { limit: MAX_WHOLE },
        false => Keep::Head(USUAL),
    };
    let Some(header) = Header::read(head) else { return Keep::Nothing };
    if !matches!(header.kind, ET_EXEC | ET_DYN) {
        return Keep::Nothing;
    }
    // Its build attributes are at the end.
    if header.machine == EM_ARM {
        return all();
    }
    let Some((offset, entry, count)) = header.program_headers() else { return Keep::Head(USUAL) };
    let table = offset.saturating_add(u64::from(entry) * u64::from(count));
    let segments = [header.interpreter(), header.properties()].into_iter().flatten();
    let end = segments.map(|(offset, length)| offset.saturating_add(length)).max().unwrap_or(0);
    match table.max(end) <= USUAL as u64 {
        true => Keep::Head(USUAL),
        false => all(),
    }
}

/// Reads a program or a library; `None` for object files, dumps, and what is damaged.
pub(crate) fn parse(bytes: &[u8]) -> Option<Program> {
    let header = Header::read(bytes)?;
    let role = match header.kind {
        ET_EXEC => Role::Program,
        ET_DYN => Role::Library,
        _ => return None,
    };
    let interpreter =
        header.interpreter().and_then(|(offset, length)| slice(bytes, offset, length)).map(text);
    Some(Program {
        format: Format::Elf,
        machine: machine(&header)?,
        role,
        os: system(header.os_abi).map(Into::into),
        interpreter: interpreter.filter(|path| !path.is_empty()),
    })
}

/// The processor; `None` for those that run no programs of an operating system.
fn machine(header: &Header<'_>) -> Option<Machine> {
    use Order::{Big, Little};

    Some(match (header.machine, header.is_64, header.order) {
        (3, false, _) => Machine::new("386"),
        (EM_X86_64, true, _) => match x86_level(header) {
            Some(level) => Machine::with("amd64", level),
            None => Machine::new("amd64"),
        },
        (EM_X86_64, false, _) => Machine::with("amd64", "x32"),
        (EM_ARM, false, Little) => match arm_version(header) {
            Some(version) => Machine::with("arm", version),
            None => Machine::new("arm"),
        },
        (EM_ARM, false, Big) => Machine::new("armbe"),
        (183, true, Little) => Machine::new("arm64"),
        (183, true, Big) => Machine::new("arm64be"),
        (183, false, Little) => Machine::with("arm64", "ilp32"),
        (20, false, Big) => Machine::new("ppc"),
        (21, true, Little) => Machine::new("ppc64le"),
        (21, true, Big) => Machine::new("ppc64"),
        (22, true, _) => Machine::new("s390x"),
        (22, false, _) => Machine::new("s390"),
        (243, true, _) => Machine::new("riscv64"),
        (243, false, _) => Machine::new("riscv"),
        (258, true, _) => Machine::new("loong64"),
        (EM_MIPS, true, Little) => Machine::new("mips64le"),
        (EM_MIPS, true, Big) => Machine::new("mips64"),
        (EM_MIPS, false, Little) if header.flags & EF_MIPS_ABI2 != 0 => Machine::with("mips64le", "n32"),
        (EM_MIPS, false, Big) if header.flags & EF_MIPS_ABI2 != 0 => Machine::with("mips64", "n32"),
        (EM_MIPS, false, Little) => Machine::new("mipsle"),
        (EM_MIPS, false, Big) => Machine::new("mips"),
        (2 | 18, ..) => Machine::new("sparc"),
        (43, ..) => Machine::new("sparc64"),
        (50, ..) => Machine::new("ia64"),
        // The kernel's virtual machine; graphics cards of Nvidia and AMD.
        (247 | 190 | 224, ..) => return None,
        (other, ..) => Machine::unknown("ELF", other),
    })
}

/// Systems whose programs others do not run. Zero and three are what Linux has; many leave it at zero.
fn system(os_abi: u8) -> Option<&'static str> {
    match os_abi {
        2 => Some("netbsd"),
        6 => Some("solaris"),
        9 => Some("freebsd"),
        12 => Some("openbsd"),
        _ => None,
    }
}

/// The instruction set that the build attributes state (ABI for the Arm Architecture, "Addenda": section
/// `.ARM.attributes`, `Tag_CPU_arch`).
fn arm_version(header: &Header<'_>) -> Option<&'static str> {
    let is_attributes = |section: &&[u8]| header.order.u32(section, 4) == Some(SHT_ARM_ATTRIBUTES);
    let section = header.headers(header.section_headers()?).find(is_attributes)?;
    let (offset, length) = (header.order.u32(section, 16)?, header.order.u32(section, 20)?);
    let bytes = slice(header.bytes, offset.into(), length.into())?;
    let cpu = cpu_architecture(header.order, bytes.strip_prefix(b"A")?)?;
    Some(match cpu {
        1 | 2 => "v4",
        3..=5 => "v5",
        6..=9 | 11 | 12 => "v6",
        10 | 13 => "v7",
        14..=22 => "v8",
        _ => return None,
    })
}

/// `Tag_CPU_arch` of the whole file: vendor `aeabi`, subsection `Tag_File`.
fn cpu_architecture(order: Order, mut vendors: &[u8]) -> Option<u64> {
    const TAG_FILE: u64 = 1;
    const TAG_CPU_ARCH: u64 = 6;

    while !vendors.is_empty() {
        let length = order.u32(vendors, 0)? as usize;
        let (vendor, rest) = vendors.split_at_checked(length.max(4))?;
        vendors = rest;
        let Some(mut scopes) = vendor.get(4..)?.strip_prefix(b"aeabi\0") else { continue };
        while !scopes.is_empty() {
            let mut scope = scopes;
            let tag = uleb128(&mut scope)?;
            let length = order.u32(scope, 0)? as usize;
            let header = scopes.len() - scope.len() + 4;
            let (whole, rest) = scopes.split_at_checked(length.max(header))?;
            scopes = rest;
            if tag != TAG_FILE {
                continue;
            }
            let mut attributes = whole.get(header..)?;
            while !attributes.is_empty() {
                let tag = uleb128(&mut attributes)?;
                match tag {
                    TAG_CPU_ARCH => return uleb128(&mut attributes),
                    // Names; above 32 odd tags are texts.
                    4 | 5 => skip_text(&mut attributes)?,
                    32 => {
                        uleb128(&mut attributes)?;
                        skip_text(&mut attributes)?;
                    }
                    tag if tag > 32 && tag % 2 == 1 => skip_text(&mut attributes)?,
                    _ => drop(uleb128(&mut attributes)?),
                }
            }
        }
    }
    None
}

/// The level of instructions that the file says it needs; `None` for those that every processor has.
fn x86_level(header: &Header<'_>) -> Option<&'static str> {
    let (offset, length) = header.properties()?;
    let needed = isa_needed(header.order, slice(header.bytes, offset, length)?)?;
    // One bit for each level: baseline, v2, v3, v4.
    match needed {
        needed if needed & 8 != 0 => Some("v4"),
        needed if needed & 4 != 0 => Some("v3"),
        needed if needed & 2 != 0 => Some("v2"),
        _ => None,
    }
}

/// `GNU_PROPERTY_X86_ISA_1_NEEDED` among the notes of a 64-bit file (Linux gABI extensions, "Program Property").
fn isa_needed(order: Order, mut notes: &[u8]) -> Option<u32> {
    const HEADER: u64 = 12;

    while !notes.is_empty() {
        let (name, size) = (u64::from(order.u32(notes, 0)?), u64::from(order.u32(notes, 4)?));
        let start = HEADER + name.next_multiple_of(4);
        let is_meant =
            order.u32(notes, 8)? == NT_GNU_PROPERTY_TYPE_0 && slice(notes, HEADER, name)? == b"GNU\0";
        let mut properties = slice(notes, start, size)?;
        while is_meant && !properties.is_empty() {
            let (kind, size) = (order.u32(properties, 0)?, u64::from(order.u32(properties, 4)?));
            if kind == GNU_PROPERTY_X86_ISA_1_NEEDED {
                return order.u32(slice(properties, 8, size)?, 0);
            }
            properties = rest(properties, 8 + size.next_multiple_of(8));
        }
        notes = rest(notes, (start + size).next_multiple_of(8));
    }
    None
}

/// What is left behind `offset`; nothing if there is not so much.
fn rest(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
}

fn skip_text(bytes: &mut &[u8]) -> Option<()> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    *bytes = &bytes[end + 1..];
    Some(())
}

fn uleb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::made::Elf;

    fn shown(elf: Elf) -> String {
        parse(&elf.bytes()).map_or("none".to_owned(), |program| program.machine.to_string())
    }

    #[test]
    fn machines_are_those_of_go() {
        let table = [
            (Elf::new(62), "amd64"),
            (Elf::new(62).bits32(), "amd64/x32"),
            (Elf::new(3).bits32(), "386"),
            (Elf::new(183), "arm64"),
            (Elf::new(183).big(), "arm64be"),
            (Elf::new(40).bits32(), "arm"),
            (Elf::new(40).bits32().big(), "armbe"),
            (Elf::new(21), "ppc64le"),
            (Elf::new(21).big(), "ppc64"),
            (Elf::new(22).big(), "s390x"),
            (Elf::new(243), "riscv64"),
            (Elf::new(258), "loong64"),
            (Elf::new(8), "mips64le"),
            (Elf::new(8).big(), "mips64"),
            (Elf::new(8).bits32(), "mipsle"),
            (Elf::new(8).bits32().flags(EF_MIPS_ABI2), "mips64le/n32"),
            (Elf::new(0x1234), "ELF machine 0x1234"),
            (Elf::new(247), "none"),
        ];
        for (elf, expected) in table {
            assert_eq!(shown(elf), expected);
        }
    }

    #[test]
    fn arm_says_its_version_in_its_attributes() {
        for (architecture, expected) in
            [(2, "arm/v4"), (4, "arm/v5"), (6, "arm/v6"), (10, "arm/v7"), (14, "arm/v8"), (99, "arm")]
        {
            assert_eq!(shown(Elf::new(EM_ARM).bits32().arm(architecture)), expected);
        }
    }

    #[test]
    fn x86_says_which_level_it_needs() {
        for (needed, expected) in
            [(0b1, "amd64"), (0b11, "amd64/v2"), (0b111, "amd64/v3"), (0b1111, "amd64/v4"), (0, "amd64")]
        {
            assert_eq!(shown(Elf::new(EM_X86_64).isa(needed)), expected);
        }
        assert_eq!(shown(Elf::new(EM_X86_64).bits32().isa(0b111)), "amd64/x32");
        assert_eq!(shown(Elf::new(183).isa(0b111)), "arm64", "it is about x86-64 only");
        let near = Elf::new(EM_X86_64).interpreter("/ld.so").isa(0b111);
        let far = near.clone().isa_at(100_000);
        for (elf, is_near) in [(near, true), (far, false)] {
            let bytes = elf.bytes();
            let keep = wanted(&bytes[..bytes.len().min(512)], bytes.len() as u64);
            assert_eq!(keep == Keep::Head(USUAL), is_near, "{keep:?}");
            assert_eq!(parse(&bytes).unwrap().machine.to_string(), "amd64/v3");
        }
    }

    #[test]
    fn the_interpreter_is_read_wherever_it_is() {
        for (elf, is_near) in [
            (Elf::new(62).interpreter("/lib64/ld-linux-x86-64.so.2"), true),
            (Elf::new(40).bits32().interpreter("/lib/ld-musl-armhf.so.1"), false),
            (Elf::new(62).interpreter("/nix/store/ld.so").interpreter_at(100_000), false),
        ] {
            let (bytes, path) = (elf.bytes(), elf.interpreter.clone());
            let keep = wanted(&bytes[..bytes.len().min(512)], bytes.len() as u64);
            assert_eq!(keep == Keep::Head(USUAL), is_near, "{keep:?}");
            assert_eq!(parse(&bytes).unwrap().interpreter, path);
        }
        assert_eq!(parse(&Elf::new(62).bytes()).unwrap().interpreter, None, "it is static");
        let far = Elf::new(62).interpreter("/ld.so").interpreter_at(100_000);
        assert_eq!(parse(&far.bytes()[..USUAL]).unwrap().interpreter, None, "it was not read");
    }

    #[test]
    fn objects_and_dumps_are_not_executed() {
        for kind in [0, 1, 4, 0xfe00] {
            let bytes = Elf::new(62).kind(kind).bytes();
            assert_eq!(parse(&bytes), None);
            assert_eq!(wanted(&bytes, bytes.len() as u64), Keep::Nothing);
        }
        assert_eq!(parse(&Elf::new(62).kind(ET_EXEC).bytes()).unwrap().role, Role::Program);
        assert_eq!(parse(&Elf::new(62).bytes()).unwrap().role, Role::Library);
        assert_eq!(parse(b"\x7fELF"), None);
    }

    #[test]
    fn other_systems_say_so() {
        assert_eq!(parse(&Elf::new(62).os(9).bytes()).unwrap().to_string(), "freebsd/amd64");
        assert_eq!(parse(&Elf::new(62).os(3).bytes()).unwrap().to_string(), "amd64");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            mut bytes in prop::collection::vec(any::<u8>(), 0..700),
            class in 0u8..4, order in 0u8..4, machine in prop::option::of(Just(EM_ARM)),
        ) {
            let mut header = MAGIC.to_vec();
            header.extend([class, order]);
            for (at, byte) in header.into_iter().enumerate().take(bytes.len()) {
                bytes[at] = byte;
            }
            if let (Some(machine), Some(place)) = (machine, bytes.get_mut(16..20)) {
                place.copy_from_slice(&[3, 0, machine as u8, 0]);
            }
            let _ = (wanted(&bytes, u64::MAX), parse(&bytes));
        }

        #[test]
        fn damaged_notes_are_read_without_harm(
            at in 0x300usize..0x340, bytes in any::<[u8; 4]>(),
        ) {
            let mut file = Elf::new(EM_X86_64).isa(0b111).bytes();
            if let Some(place) = file.get_mut(at..at + 4) {
                place.copy_from_slice(&bytes);
            }
            let _ = parse(&file);
        }

        #[test]
        fn damaged_attributes_are_read_without_harm(
            at in 52usize..400, byte in any::<u8>(),
        ) {
            let mut bytes = Elf::new(EM_ARM).bits32().arm(10).bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&bytes);
        }
    }
}
