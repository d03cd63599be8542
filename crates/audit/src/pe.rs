//! PE/COFF: programs of Windows (Microsoft's "PE Format").

use crate::{
    bytes::Order::Little,
    program::{Format, Machine, Program, Role},
};

/// How a program of DOS begins, which each of Windows also is.
pub(crate) const MAGIC: &[u8] = b"MZ";
/// Everything that is read here is mostly within this many bytes.
pub(crate) const USUAL: usize = 4096;

const CHARACTERISTIC_DLL: u16 = 0x2000;
/// Data directory of .NET's header.
const CLR: usize = 14;

/// Reads a program or a library of Windows; `None` for programs of DOS and firmware, and for those of .NET
/// that run on any processor.
pub(crate) fn parse(bytes: &[u8]) -> Option<Program> {
    let at = Little.u32(bytes, 0x3c)? as usize;
    if bytes.get(at..)?.first_chunk() != Some(b"PE\0\0") {
        return None;
    }
    let machine = Little.u16(bytes, at.checked_add(4)?)?;
    let characteristics = Little.u16(bytes, at.checked_add(22)?)?;
    let optional = bytes.get(at.checked_add(24)?..)?;
    let directories = match Little.u16(optional, 0) {
        Some(0x10b) => 96,
        Some(0x20b) => 112,
        _ => return None,
    };
    // Firmware: EFI applications, drivers, images.
    if matches!(Little.u16(optional, 68)?, 10..=13) {
        return None;
    }
    let is_managed = Little.u32(optional, directories + CLR * 8).is_some_and(|address| address != 0);
    if is_managed {
        return None;
    }
    let role = if characteristics & CHARACTERISTIC_DLL != 0 { Role::Library } else { Role::Program };
    Some(Program { format: Format::Pe, machine: self::machine(machine)?, role, os: None, interpreter: None })
}

/// `IMAGE_FILE_MACHINE_*`; `None`: for any.
fn machine(number: u16) -> Option<Machine> {
    Some(match number {
        0 => return None,
        0x014c => Machine::new("386"),
        0x8664 => Machine::new("amd64"),
        0x01c0 | 0x01c2 | 0x01c4 => Machine::new("arm"),
        // The second and third hold code that amd64 programs can call, too.
        0xaa64 | 0xa641 | 0xa64e => Machine::new("arm64"),
        0x0200 => Machine::new("ia64"),
        0x5064 => Machine::new("riscv64"),
        0x6264 => Machine::new("loong64"),
        other => Machine::unknown("PE", other),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::made;

    #[test]
    fn machines_are_those_of_go() {
        for (number, expected) in [
            (0x8664, "windows/amd64"),
            (0x014c, "windows/386"),
            (0xaa64, "windows/arm64"),
            (0x01c4, "windows/arm"),
            (0x1234, "windows/PE machine 0x1234"),
        ] {
            assert_eq!(parse(&made::pe(number, 3, 0)).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_runs_on_any_processor_or_on_none_is_left_out() {
        assert_eq!(parse(&made::pe(0x8664, 10, 0)), None, "firmware");
        assert_eq!(parse(&made::pe(0x014c, 3, 0x2008)), None, ".NET");
        assert_eq!(parse(b"MZ of DOS, and nothing behind it"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), at in any::<u32>()) {
            let mut bytes = [MAGIC, &bytes].concat();
            if let Some(place) = bytes.get_mut(0x3c..0x40) {
                place.copy_from_slice(&at.to_le_bytes());
            }
            let _ = parse(&bytes);
        }
    }
}
