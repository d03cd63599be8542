//! The system call filter: a [policy] by name, compiled for this machine and the 32-bit programs it runs.

mod bpf;
mod policy;

use bpf::Table;
use policy::Policy;

/// The filter for this machine's processes; `None` on machines whose system calls we have no table of.
///
/// Emulated processes need no other: their emulator makes this machine's system calls.
pub(crate) fn filter() -> Option<Vec<libc::sock_filter>> {
    let tables = tables();
    (!tables.is_empty()).then(|| bpf::program(&tables))
}

/// Rules for the calls of an architecture's table in the `syscalls` crate.
#[allow(unused_macros)]
macro_rules! table {
    ($policy:expr, $architecture:ident, $audit_arch:expr, $further:expr) => {
        Table {
            audit_arch: $audit_arch,
            rules: syscalls::$architecture::Sysno::iter()
                .map(|call| (call.id().cast_unsigned(), $policy.rule(call.name())))
                .chain($further)
                .collect(),
        }
    };
}

/// `AUDIT_ARCH_*` of linux/audit.h: the ELF machine with flags for 64 bits and for little-endian.
#[allow(dead_code)]
const fn audit_arch(machine: u32, is_64_bit: bool) -> u32 {
    machine | 0x4000_0000 | if is_64_bit { 0x8000_0000 } else { 0 }
}

#[cfg(target_arch = "x86_64")]
fn tables() -> Vec<Table> {
    let policy = Policy::new();
    vec![table!(policy, x86_64, audit_arch(62, true), []), table!(policy, x86, audit_arch(3, false), [])]
}

#[cfg(target_arch = "aarch64")]
fn tables() -> Vec<Table> {
    // `breakpoint`, `cacheflush` and `set_tls` of 32-bit ARM are far from the others.
    let private = [0xf_0001, 0xf_0002, 0xf_0005].map(|number| (number, policy::Rule::Allow));
    let policy = Policy::new();
    vec![
        table!(policy, aarch64, audit_arch(183, true), []),
        table!(policy, arm, audit_arch(40, false), private),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn tables() -> Vec<Table> {
    Vec::new()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use syscalls::{x86, x86_64};

    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn calls_of_both_architectures_follow_the_policy() {
        let filter = filter().unwrap();
        let native = |call: x86_64::Sysno| bpf::tests::interpret(&filter, 0xc000_003e, call.id() as u32, 0).0;
        let compat = |call: x86::Sysno| bpf::tests::interpret(&filter, 0x4000_0003, call.id() as u32, 0).0;
        assert_eq!(native(x86_64::Sysno::openat), ALLOWED);
        assert_eq!(native(x86_64::Sysno::mount), EPERM);
        assert_eq!(native(x86_64::Sysno::clone3), ENOSYS);
        assert_eq!(compat(x86::Sysno::openat), ALLOWED);
        assert_eq!(compat(x86::Sysno::umount), EPERM);
        let policy = Policy::new();
        for call in x86_64::Sysno::iter() {
            let expected = match policy.rule(call.name()) {
                policy::Rule::Allow | policy::Rule::Clone | policy::Rule::Personality => ALLOWED,
                policy::Rule::Deny | policy::Rule::Socket => EPERM,
                policy::Rule::Absent => ENOSYS,
            };
            assert_eq!(native(call), expected, "{}", call.name());
        }
    }

    #[test]
    fn a_decision_takes_few_instructions() {
        let filter = filter().unwrap();
        let steps = |number| bpf::tests::interpret(&filter, 0xc000_003e, number, 0).1;
        let most = (0..600).map(steps).max().unwrap();
        assert!(most <= 20, "{most} of {} instructions", filter.len());
    }
}
