//! Names of processor architectures in texts, and what tells that a script asks for the right one.

use std::ops::Range;

/// An architecture, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Amd64,
    Arm64,
    Arm,
    X86,
    Ppc64le,
    S390x,
    Riscv64,
}

/// Who calls it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `uname -m`: `x86_64`, `aarch64`.
    Kernel,
    /// Go, Docker, Debian: `amd64`, `arm64`.
    Go,
    /// Others.
    Other,
}

/// An architecture's name in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) range: Range<usize>,
    pub(crate) family: Family,
    pub(crate) scheme: Scheme,
}

/// Longer names before those they begin with.
const NAMES: [(&str, Family, Scheme); 22] = [
    ("x86_64", Family::Amd64, Scheme::Kernel),
    ("x86-64", Family::Amd64, Scheme::Other),
    ("amd64", Family::Amd64, Scheme::Go),
    ("linux64", Family::Amd64, Scheme::Other),
    ("x64", Family::Amd64, Scheme::Other),
    ("aarch64", Family::Arm64, Scheme::Kernel),
    ("arm64v8", Family::Arm64, Scheme::Other),
    ("arm64", Family::Arm64, Scheme::Go),
    ("arm32v7", Family::Arm, Scheme::Other),
    ("armv7l", Family::Arm, Scheme::Kernel),
    ("armv7", Family::Arm, Scheme::Other),
    ("armv6l", Family::Arm, Scheme::Kernel),
    ("armv6", Family::Arm, Scheme::Other),
    ("armhf", Family::Arm, Scheme::Other),
    ("i386", Family::X86, Scheme::Other),
    ("i686", Family::X86, Scheme::Kernel),
    ("ppc64le", Family::Ppc64le, Scheme::Kernel),
    ("ppc64el", Family::Ppc64le, Scheme::Other),
    ("powerpc64le", Family::Ppc64le, Scheme::Other),
    ("s390x", Family::S390x, Scheme::Kernel),
    ("riscv64", Family::Riscv64, Scheme::Kernel),
    ("64bit", Family::Amd64, Scheme::Other),
];

/// The names of architectures that stand alone in a text, between characters that are no letters or digits.
pub(crate) fn named(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let lower = text.to_ascii_lowercase();
    let mut position = 0;
    while position < lower.len() {
        let rest = lower.get(position..).unwrap_or_default();
        let name = NAMES
            .iter()
            .find(|(name, ..)| rest.starts_with(name) && stands_alone(&lower, position, name.len()));
        match name {
            Some((name, family, scheme)) => {
                let range = position..position + name.len();
                position = range.end;
                found.push(Named { range, family: *family, scheme: *scheme });
            }
            None => position += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

fn stands_alone(text: &str, start: usize, length: usize) -> bool {
    let before = text.get(..start).and_then(|text| text.chars().next_back());
    let after = text.get(start + length..).and_then(|text| text.chars().next());
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !joins(before) && !joins(after)
}

/// Programs and files that tell an architecture.
const QUESTIONS: [&str; 14] = [
    "uname",
    "--print-architecture",
    "--print-foreign-architectures",
    "--print-arch",
    "dpkg-architecture",
    "$(arch)",
    "`arch`",
    "lscpu",
    "getconf",
    "%{_arch}",
    "go env",
    "os.arch",
    "process.arch",
    "platform.machine",
];

/// What a variable that holds an architecture is called.
const VARIABLES: [&str; 6] = ["arch", "platform", "machine", "triple", "cpu", "variant"];

/// Whether a script finds out for which architecture it runs, or is told: then a constant in it is one of
/// several cases.
pub(crate) fn asks(script: &str) -> bool {
    let lower = script.to_ascii_lowercase();
    QUESTIONS.iter().any(|question| lower.contains(question))
        || variables(&lower).any(|name| VARIABLES.iter().any(|part| name.contains(part)))
}

/// The names of the variables a script uses.
pub(crate) fn variables(script: &str) -> impl Iterator<Item = &str> {
    script.match_indices('$').filter_map(|(at, _)| {
        let rest = script.get(at + 1..)?;
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let rest = rest.trim_start_matches(['!', '#']);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.get(..end).filter(|name| !name.is_empty())
    })
}

/// The URLs in a text, `$(…)` included.
pub(crate) fn urls(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (separator, _) in text.match_indices("://") {
        let scheme = text.get(..separator).unwrap_or_default();
        let letters = scheme.chars().rev().take_while(char::is_ascii_alphabetic).count();
        let start = separator - letters;
        let is_download = matches!(
            text.get(start..separator).map(str::to_ascii_lowercase).as_deref(),
            Some("http" | "https" | "ftp")
        );
        if !is_download || found.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let mut depth = 0_usize;
        let end = text.get(start..).unwrap_or_default().char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ')' | '"' | '\'' | '<' | '>' | ';' | '|' | '\\' | ']' => return depth == 0,
                c if c.is_whitespace() => return depth == 0,
                _ => {}
            }
            false
        });
        found.push(start..end.map_or(text.len(), |(at, _)| start + at));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_alone() {
        for (text, expected) in [
            ("tool-linux-amd64.tar.gz", &["amd64"][..]),
            ("tool_Linux_x86_64 and AArch64", &["x86_64", "AArch64"]),
            ("x86_64-unknown-linux-musl", &["x86_64"]),
            ("arm64v8/alpine", &["arm64v8"]),
            ("x64dbg pharm64 amd64s tools64bit", &[]),
            ("chromedriver_linux64.zip hugo_Linux-64bit", &["linux64", "64bit"]),
            ("é-armhf", &["armhf"]),
        ] {
            let found: Vec<&str> = named(text).into_iter().map(|named| &text[named.range]).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_script_that_knows_where_it_runs_is_recognised() {
        for (script, expected) in [
            ("curl -o x https://h/x-amd64", false),
            ("ARCH=$(uname -m); curl https://h/x-$ARCH", true),
            ("case \"${TARGETPLATFORM}\" in linux/amd64) ;; esac", true),
            ("dpkgArch=\"$(dpkg --print-architecture)\"", true),
            ("curl https://h/$VERSION/x-amd64", false),
            ("tar -C /opt x.tar", false),
            ("case ${dpkgArch##*-} in amd64) ;; esac", true),
        ] {
            assert_eq!(asks(script), expected, "{script}");
        }
    }

    #[test]
    fn urls_are_found_whole() {
        let text = "curl -L 'https://a/b c' \"http://d/$(uname -m)/e.tgz\" x://y; wget https://f/${V}/g;tar";
        let found: Vec<&str> = urls(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["https://a/b", "http://d/$(uname -m)/e.tgz", "https://f/${V}/g"]);
    }
}
