//! Filter programs for the kernel's classic BPF machine (linux/filter.h), as binary decision trees.

use libc::sock_filter as Instruction;

use super::policy::{NAMESPACE_FLAGS, PERSONALITIES, Rule, SOCKET_FAMILIES};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const DENY: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Offsets in `struct seccomp_data`; the first argument's lower half on a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Set in the numbers of the x32 interface, which shares its architecture with x86-64.
const X32_BIT: u32 = 0x4000_0000;

/// The system calls of one architecture.
#[derive(Debug)]
pub(super) struct Table {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) audit_arch: u32,
    /// Rules by number, ascending; other numbers are [`Rule::Absent`].
    pub(super) rules: Vec<(u32, Rule)>,
}

/// The program for processes of any of `tables`; those of another architecture are killed.
pub(super) fn program(tables: &[Table]) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for table in tables {
        let body = body(table);
        // Over the whole body if it is another architecture.
        program.push(jump(libc::BPF_JEQ, table.audit_arch, 1, 0));
        program.push(skip(body.len()));
        program.extend(body);
    }
    program.push(end(KILL));
    program
}

fn body(table: &Table) -> Vec<Instruction> {
    let mut ranges = vec![(0, Rule::Absent)];
    for &(number, rule) in &table.rules {
        ranges.push((number, rule));
        ranges.push((number + 1, Rule::Absent));
    }
    // x32 is switched off nearly everywhere, and its own numbers are not in our tables.
    ranges.push((X32_BIT, Rule::Absent));
    [vec![load(NUMBER)], tree(&merged(ranges), &leaf)].concat()
}

/// One entry per run of equal values; of entries with the same start the last one counts.
fn merged<T: Copy + PartialEq>(ranges: Vec<(u32, T)>) -> Vec<(u32, T)> {
    let mut merged: Vec<(u32, T)> = Vec::new();
    for (start, value) in ranges {
        if merged.last().is_some_and(|last| last.0 == start) {
            merged.pop();
        }
        if merged.last().is_none_or(|last| last.1 != value) {
            merged.push((start, value));
        }
    }
    merged
}

/// Decides by the loaded value in which of the ranges, given by their starts, it is.
fn tree<T: Copy>(ranges: &[(u32, T)], leaf: &dyn Fn(T) -> Vec<Instruction>) -> Vec<Instruction> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (Some(&(start, _)), false) = (upper.first(), lower.is_empty()) else {
        return ranges.first().map_or_else(Vec::new, |&(_, value)| leaf(value));
    };
    let (lower, upper) = (tree(lower, leaf), tree(upper, leaf));
    let decision = match u8::try_from(lower.len()) {
        Ok(distance) => vec![jump(libc::BPF_JGE, start, distance, 0)],
        Err(_) => vec![jump(libc::BPF_JGE, start, 0, 1), skip(lower.len())],
    };
    [decision, lower, upper].concat()
}

fn leaf(rule: Rule) -> Vec<Instruction> {
    match rule {
        Rule::Allow => vec![end(ALLOW)],
        Rule::Deny => vec![end(DENY)],
        Rule::Absent => vec![end(ABSENT)],
        Rule::Clone => {
            vec![load(FIRST_ARGUMENT), jump(libc::BPF_JSET, NAMESPACE_FLAGS, 0, 1), end(DENY), end(ALLOW)]
        }
        Rule::Socket => one_of(&SOCKET_FAMILIES),
        Rule::Personality => one_of(&PERSONALITIES.map(|value| (value, value))),
    }
}

/// Allows if the first argument is in one of the ranges (ascending, ends included).
fn one_of(allowed: &[(u32, u32)]) -> Vec<Instruction> {
    let mut ranges = vec![(0, DENY)];
    for &(first, last) in allowed {
        ranges.push((first, ALLOW));
        ranges.extend(last.checked_add(1).map(|next| (next, DENY)));
    }
    [vec![load(FIRST_ARGUMENT)], tree(&merged(ranges), &|value| vec![end(value)])].concat()
}

fn load(offset: u32) -> Instruction {
    Instruction { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// Skips `yes` instructions if the comparison with `value` holds, else `no`.
fn jump(comparison: u32, value: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code: (libc::BPF_JMP | comparison | libc::BPF_K) as u16, jt: yes, jf: no, k: value }
}

fn skip(count: usize) -> Instruction {
    let count = u32::try_from(count).expect("a filter has at most 4096 instructions");
    Instruction { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: count }
}

fn end(action: u32) -> Instruction {
    Instruction { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel does; returns the action and how many instructions it took.
    pub(in crate::seccomp) fn interpret(
        program: &[Instruction],
        arch: u32,
        number: u32,
        argument: u32,
    ) -> (u32, usize) {
        let (mut at, mut loaded, mut steps) = (0, 0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            steps += 1;
            at += 1;
            let branch = |holds: bool| usize::from(if holds { jt } else { jf });
            match u32::from(code) {
                0x20 => loaded = [number, arch, 0, 0, argument][(k / 4) as usize],
                0x05 => at += k as usize,
                0x15 => at += branch(loaded == k),
                0x35 => at += branch(loaded >= k),
                0x45 => at += branch(loaded & k != 0),
                0x06 => return (k, steps),
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn table(rules: Vec<(u32, Rule)>) -> Vec<Instruction> {
        program(&[Table { audit_arch: 7, rules }])
    }

    #[test]
    fn every_number_gets_its_rule() {
        // Alternating rules make the tree so large that it needs long jumps.
        let rule = |number| if number % 2 == 0 { Rule::Allow } else { Rule::Deny };
        let numbers = (0..400).filter(|number| number % 7 != 0);
        let rules: Vec<_> = numbers.map(|number| (number, rule(number))).collect();
        let program = table(rules.clone());
        for number in 0..500 {
            let rule = rules.iter().find(|rule| rule.0 == number).map(|rule| rule.1);
            let expected = match rule {
                Some(Rule::Allow) => ALLOW,
                Some(_) => DENY,
                None => ABSENT,
            };
            assert_eq!(interpret(&program, 7, number, 0).0, expected, "{number}");
        }
        assert_eq!(interpret(&program, 7, X32_BIT | 2, 0).0, ABSENT);
        assert_eq!(interpret(&program, 8, 2, 0).0, KILL);
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let program = table(vec![(1, Rule::Clone), (2, Rule::Socket), (3, Rule::Personality)]);
        let act = |number, argument| interpret(&program, 7, number, argument).0;
        assert_eq!(act(1, libc::CLONE_VM as u32), ALLOW);
        assert_eq!(act(1, (libc::CLONE_VM | libc::CLONE_NEWUSER) as u32), DENY);
        for (family, expected) in [
            (libc::AF_UNIX, ALLOW),
            (libc::AF_INET6, ALLOW),
            (libc::AF_NETLINK, ALLOW),
            (libc::AF_ALG, DENY),
            (libc::AF_VSOCK, DENY),
            (45, ALLOW),
            (46, DENY),
            (0, DENY),
        ] {
            assert_eq!(act(2, family as u32), expected, "family {family}");
        }
        for (value, expected) in
            [(0, ALLOW), (8, ALLOW), (9, DENY), (0x2_0008, ALLOW), (0xffff_ffff, ALLOW), (0xffff_fffe, DENY)]
        {
            assert_eq!(act(3, value), expected, "personality {value:#x}");
        }
    }
}
