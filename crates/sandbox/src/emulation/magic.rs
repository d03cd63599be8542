//! How the kernel recognises programs of an architecture: the ELF header fields that binfmt_misc compares.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

/// An architecture with an emulator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Go's name.
    pub(crate) architecture: &'static str,
    /// QEMU's name: its program is `qemu-<name>`.
    pub(crate) qemu: &'static str,
    class: Class,
    order: Order,
    /// `e_machine` (ELF gABI).
    machine: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bits32 = 1,
    Bits64 = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little = 1,
    Big = 2,
}

const fn machine(
    architecture: &'static str,
    qemu: &'static str,
    class: Class,
    order: Order,
    machine: u16,
) -> Machine {
    Machine { architecture, qemu, class, order, machine }
}

const MACHINES: [Machine; 13] = [
    machine("386", "i386", Class::Bits32, Order::Little, 3),
    machine("amd64", "x86_64", Class::Bits64, Order::Little, 62),
    machine("arm", "arm", Class::Bits32, Order::Little, 40),
    machine("arm64", "aarch64", Class::Bits64, Order::Little, 183),
    machine("loong64", "loongarch64", Class::Bits64, Order::Little, 258),
    machine("mips", "mips", Class::Bits32, Order::Big, 8),
    machine("mips64", "mips64", Class::Bits64, Order::Big, 8),
    machine("mips64le", "mips64el", Class::Bits64, Order::Little, 8),
    machine("mipsle", "mipsel", Class::Bits32, Order::Little, 8),
    machine("ppc64", "ppc64", Class::Bits64, Order::Big, 21),
    machine("ppc64le", "ppc64le", Class::Bits64, Order::Little, 21),
    machine("riscv64", "riscv64", Class::Bits64, Order::Little, 243),
    machine("s390x", "s390x", Class::Bits64, Order::Big, 22),
];

/// Bytes of the ELF header that are compared: up to and including `e_machine`.
const HEADER: usize = 20;

/// The machine with Go's name `architecture`.
pub(crate) fn of(architecture: &str) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.architecture == architecture)
}

impl Machine {
    /// The header of a program and which of its bits count: not the ABI and its version (bytes 7 and
    /// 8), and executables (`e_type` 2) as well as position independent ones (3).
    pub(crate) fn pattern(&self) -> ([u8; HEADER], [u8; HEADER]) {
        let mut magic = [0; HEADER];
        magic[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class as u8, self.order as u8, 1]);
        let (kind, number, low_kind) = match self.order {
            Order::Little => (2_u16.to_le_bytes(), self.machine.to_le_bytes(), 16),
            Order::Big => (2_u16.to_be_bytes(), self.machine.to_be_bytes(), 17),
        };
        magic[16..18].copy_from_slice(&kind);
        magic[18..].copy_from_slice(&number);
        let mut mask = [0xff; HEADER];
        mask[7] = 0;
        mask[8] = 0;
        mask[low_kind] = 0xfe;
        (magic, mask)
    }

    /// Whether a registered pattern would take a program of this machine.
    pub(crate) fn is_matched_by(&self, offset: usize, magic: &[u8], mask: &[u8]) -> bool {
        let (header, _) = self.pattern();
        let Some(header) = header.get(offset..) else { return false };
        // Longer patterns look at flags of the header that tell variants of an architecture apart.
        magic.len() >= HEADER - offset
            && header.iter().zip(magic).enumerate().all(|(index, (byte, wanted))| {
                let mask = mask.get(index).copied().unwrap_or(0xff);
                byte & mask == wanted & mask
            })
    }
}

/// The line that registers `interpreter` for programs of `architecture`.
///
/// Flags: `F` opens the interpreter now, so that it need not exist in the root file system; `P` keeps
/// `argv[0]`, which QEMU expects; `C` lets set-user-ID programs such as `su` work as they do natively
/// (it implies `O`).
pub(crate) fn registration(architecture: &str, interpreter: &Path) -> Option<Vec<u8>> {
    let (magic, mask) = of(architecture)?.pattern();
    let mut line = format!(":archway-{architecture}:M::").into_bytes();
    escape(&mut line, &magic);
    line.push(b':');
    escape(&mut line, &mask);
    line.push(b':');
    line.extend(interpreter.as_os_str().as_bytes());
    line.extend(b":POCF");
    Some(line)
}

fn escape(to: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        to.extend(format!("\\x{byte:02x}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_the_kernel_reads_them() {
        let line = registration("arm64", Path::new("/usr/bin/qemu-aarch64-static")).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r":archway-arm64:M::",
                r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:",
                r"\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:",
                r"/usr/bin/qemu-aarch64-static:POCF",
            )
        );
        assert_eq!(registration("pdp11", Path::new("/x")), None);
    }

    #[test]
    fn the_kernels_line_limit_is_kept() {
        for machine in &MACHINES {
            let line =
                registration(machine.architecture, Path::new("/usr/local/bin/qemu-loongarch64-static"));
            assert!(line.unwrap().len() < 1920, "MAX_REGISTER_LENGTH");
        }
    }

    #[test]
    fn a_machine_matches_its_own_pattern_only() {
        for machine in &MACHINES {
            let (magic, mask) = machine.pattern();
            let matched: Vec<_> = MACHINES
                .iter()
                .filter(|other| other.is_matched_by(0, &magic, &mask))
                .map(|other| other.architecture)
                .collect();
            assert_eq!(matched, [machine.architecture]);
        }
    }

    #[test]
    fn patterns_that_end_early_do_not_count() {
        let elf = b"\x7fELF";
        assert!(!of("arm64").unwrap().is_matched_by(0, elf, &[0xff; 4]));
    }
}
