//! Mach-O: programs of macOS, which no image of another system can run.

use crate::{
    bytes::Order,
    program::{Format, Machine, Program, Role},
};

/// Files for several processors hold at most this many; a Java class, which begins with the same bytes, has
/// its version in that place: 45 and above.
const MOST_PROCESSORS: u32 = 20;

/// Reads a program of macOS.
pub(crate) fn parse(bytes: &[u8]) -> Option<Program> {
    let machine = match *bytes.first_chunk()? {
        [0xcf | 0xce, 0xfa, 0xed, 0xfe] => machine(Order::Little.u32(bytes, 4)?),
        [0xfe, 0xed, 0xfa, 0xcf | 0xce] => machine(Order::Big.u32(bytes, 4)?),
        [0xca, 0xfe, 0xba, 0xbe] if (1..=MOST_PROCESSORS).contains(&Order::Big.u32(bytes, 4)?) => {
            Machine::new("universal")
        }
        _ => return None,
    };
    Some(Program { format: Format::MachO, machine, role: Role::Program, os: None, interpreter: None })
}

fn machine(cpu_type: u32) -> Machine {
    match cpu_type {
        7 => Machine::new("386"),
        0x0100_0007 => Machine::new("amd64"),
        12 => Machine::new("arm"),
        0x0100_000c => Machine::new("arm64"),
        18 => Machine::new("ppc"),
        0x0100_0012 => Machine::new("ppc64"),
        _ => Machine::new("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_class_is_none() {
        let shown = |bytes: &[u8]| parse(bytes).map(|program| program.to_string());
        assert_eq!(shown(&[0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1]).as_deref(), Some("darwin/arm64"));
        assert_eq!(shown(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2]).as_deref(), Some("darwin/universal"));
        assert_eq!(shown(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61]), None);
        assert_eq!(shown(&[0xcf, 0xfa]), None);
    }
}
