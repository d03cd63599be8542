//! What somebody meant who wrote no platform.

use super::parse::{OPERATING_SYSTEMS, parse_parts};

/// Names that other worlds have for one part of a platform.
const OTHER_NAMES: [(&str, &str); 36] = [
    ("win", "windows"),
    ("win32", "windows"),
    ("mac", "darwin"),
    ("osx", "darwin"),
    ("alpine", "linux"),
    ("debian", "linux"),
    ("ubuntu", "linux"),
    ("x64", "amd64"),
    ("intel64", "amd64"),
    ("x86", "386"),
    ("ia32", "386"),
    ("i486", "386"),
    ("i586", "386"),
    ("i686", "386"),
    ("aarch32", "arm/v7"),
    ("arm32", "arm/v7"),
    ("arm32v5", "arm/v5"),
    ("arm32v6", "arm/v6"),
    ("arm32v7", "arm/v7"),
    ("arm64v8", "arm64"),
    ("armv5", "arm/v5"),
    ("armv6", "arm/v6"),
    ("armv6l", "arm/v6"),
    ("armv7", "arm/v7"),
    ("armv7l", "arm/v7"),
    ("armv7hl", "arm/v7"),
    ("armv8", "arm64"),
    ("powerpc64le", "ppc64le"),
    ("ppc64el", "ppc64le"),
    ("loongarch64", "loong64"),
    ("mips64el", "mips64le"),
    ("mipsel", "mipsle"),
    ("riscv64gc", "riscv64"),
    ("rv64", "riscv64"),
    ("zarch", "s390x"),
    ("wasm32", "wasm"),
];

/// What people build for. Of several that are equally near, the first is suggested.
const COMMON: [&str; 34] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/arm/v5",
    "linux/386",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "linux/loong64",
    "linux/mips64le",
    "linux/arm64/v8",
    "linux/arm64/v9",
    "linux/amd64/v4",
    "linux/amd64/v3",
    "linux/amd64/v2",
    "windows/amd64",
    "windows/arm64",
    "darwin/amd64",
    "darwin/arm64",
    "freebsd/amd64",
    "freebsd/arm64",
    "wasi/wasm",
    "local",
    "linux",
    "windows",
    "amd64",
    "arm64",
    "arm",
    "386",
    "ppc64le",
    "s390x",
    "riscv64",
    "loong64",
];

/// Longer texts are not a slip of the finger.
const LONGEST: usize = 64;

/// Likeness (0 to 1) below which a guess would only confuse.
const LIKE_ENOUGH: f64 = 0.7;

/// The nearest text that is a platform, or `local`.
pub(super) fn nearest(specifier: &str) -> Option<String> {
    if specifier.is_empty() || specifier.len() > LONGEST {
        return None;
    }
    let text = in_our_words(&specifier.to_ascii_lowercase());
    if parse_parts(&text).is_ok() {
        return Some(text);
    }
    COMMON
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&text, name), name))
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, name)| name.to_owned())
}

/// Replaces the names of other worlds, and puts the operating system first.
fn in_our_words(text: &str) -> String {
    let mut parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).map(our_name).collect();
    match &mut parts[..] {
        [only] if only.contains('/') => parts.insert(0, "linux"),
        [first, second] if OPERATING_SYSTEMS.contains(second) => std::mem::swap(first, second),
        _ => {}
    }
    parts.join("/")
}

fn our_name(part: &str) -> &str {
    OTHER_NAMES.iter().find(|(other, _)| *other == part).map_or(part, |(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_corrected() {
        let table = [
            ("linux/amd46", Some("linux/amd64")),
            ("linus/amd64", Some("linux/amd64")),
            ("linux/arm46", Some("linux/arm64")),
            ("arm46", Some("arm64")),
            ("linux/x64", Some("linux/amd64")),
            ("x86", Some("386")),
            ("linux/armv7", Some("linux/arm/v7")),
            ("armv6l", Some("linux/arm/v6")),
            ("linux/arm64v8", Some("linux/arm64")),
            ("arm64/linux", Some("linux/arm64")),
            ("x64/linux", Some("linux/amd64")),
            ("linux-arm64", Some("linux/arm64")),
            ("linux_amd64", Some("linux/amd64")),
            ("linux arm64", Some("linux/arm64")),
            ("linux/ppc64el", Some("linux/ppc64le")),
            ("linux/s309x", Some("linux/s390x")),
            ("linux/riscv46", Some("linux/riscv64")),
            ("Ubuntu/AMD64", Some("linux/amd64")),
            ("win/amd64", Some("windows/amd64")),
            ("linux/amd64/v5", Some("linux/amd64/v4")),
            ("linux/amd64/2", Some("linux/amd64/v2")),
            ("linux/arm/v9", Some("linux/arm/v7")),
            ("linux/arm64/v7", Some("linux/arm64/v8")),
            ("linux/", Some("linux")),
            ("//linux//arm64", Some("linux/arm64")),
            ("locla", Some("local")),
            ("", None),
            ("///", None),
            ("qwertyuiop", None),
            ("linux/qwertyuiop", None),
        ];
        for (text, expected) in table {
            assert!(parse_parts(text).is_err(), "{text} needs no correction");
            assert_eq!(nearest(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_suggestion_is_valid() {
        let mut suggestions: Vec<String> = COMMON.iter().map(|name| (*name).to_owned()).collect();
        for (other, _) in OTHER_NAMES {
            assert!(parse_parts(other).is_err(), "{other} needs no correction");
            suggestions.extend(nearest(other));
            suggestions.extend(nearest(&format!("linux/{other}")));
        }
        for text in suggestions.iter().filter(|text| *text != "local") {
            assert!(parse_parts(text).is_ok(), "{text}");
        }
    }
}
