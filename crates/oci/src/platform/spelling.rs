//! What somebody meant who wrote no platform.

use super::{
    Platform,
    parse::{ARCHITECTURES, OPERATING_SYSTEMS, known_variants, parse_parts},
};

/// Names other worlds use, and what they are here.
const OTHER_NAMES: [(&str, &str); 31] = [
    ("win", "windows"),
    ("win32", "windows"),
    ("win64", "windows/amd64"),
    ("mac", "darwin"),
    ("osx", "darwin"),
    ("alpine", "linux"),
    ("debian", "linux"),
    ("ubuntu", "linux"),
    ("gnu", "linux"),
    ("x64", "amd64"),
    ("x86", "386"),
    ("x32", "386"),
    ("ia32", "386"),
    ("i486", "386"),
    ("i586", "386"),
    ("i686", "386"),
    ("intel64", "amd64"),
    ("arm32", "arm/v7"),
    ("aarch32", "arm/v7"),
    ("powerpc64le", "ppc64le"),
    ("ppc64el", "ppc64le"),
    ("power", "ppc64le"),
    ("loongarch64", "loong64"),
    ("mipsel", "mipsle"),
    ("mips64el", "mips64le"),
    ("zseries", "s390x"),
    ("systemz", "s390x"),
    ("riscv64gc", "riscv64"),
    ("rv64", "riscv64"),
    ("wasm32", "wasm"),
    ("armv7l", "arm/v7"),
];

/// Whole platforms, for texts whose parts cannot be told apart.
const COMMON: [&str; 12] = [
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
    "windows/amd64",
    "local",
];

/// Names accepted besides Go's.
const ALIASES: [&str; 6] = ["x86_64", "x86-64", "aarch64", "armhf", "armel", "i386"];

/// Longer texts are not a slip of the finger.
const LONGEST: usize = 64;

/// Similarity (0 to 1) below which a guess would only confuse.
const LIKE_ENOUGH: f64 = 0.75;

/// The nearest text that parses.
pub(super) fn nearest(specifier: &str) -> Option<String> {
    if specifier.is_empty() || specifier.len() > LONGEST {
        return None;
    }
    let text = specifier.to_ascii_lowercase();
    corrected_parts(&text).or_else(|| closest(&text, COMMON.into_iter()))
}

/// Corrects part by part: `linus/amd46` is `linux/amd64`, `arm64/linux` is `linux/arm64`.
fn corrected_parts(text: &str) -> Option<String> {
    let mut parts: Vec<String> =
        text.split('/').filter(|part| !part.is_empty()).map(corrected).collect::<Option<_>>()?;
    if let [first, second, ..] = &mut parts[..]
        && OPERATING_SYSTEMS.contains(&second.as_str())
    {
        std::mem::swap(first, second);
    }
    let joined = parts.join("/");
    match parse_parts(&joined) {
        Ok(_) => Some(joined),
        Err(_) => correct_variant(&joined),
    }
}

/// One part: a known word stays, others become the nearest name.
fn corrected(part: &str) -> Option<String> {
    if is_version(part) || part.contains('(') || is_name(part) {
        return Some(part.to_owned());
    }
    if let Some((_, name)) = OTHER_NAMES.iter().find(|(other, _)| *other == part) {
        return Some((*name).to_owned());
    }
    if let Some(split) = split_variant(part) {
        return Some(split);
    }
    let names = OPERATING_SYSTEMS.into_iter().chain(ARCHITECTURES).chain(ALIASES);
    closest(part, names)
}

/// `armv7`, `arm64v8`, `amd64v3`: architecture and variant without the slash.
fn split_variant(part: &str) -> Option<String> {
    let (architecture, version) = part.rsplit_once('v')?;
    let candidate = format!("{}/v{version}", architecture.trim_end_matches(['-', '_']));
    parse_parts(&format!("linux/{candidate}")).ok().map(|_| candidate)
}

/// The last part of `os/architecture/variant` becomes the variant that is nearest.
fn correct_variant(text: &str) -> Option<String> {
    let (rest, variant) = text.rsplit_once('/')?;
    let platform = parse_parts(rest).ok()?;
    if !is_version(variant) {
        return None;
    }
    let default = match platform.architecture.as_str() {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        _ => None,
    };
    let known = known_variants(&platform.architecture)?;
    let with_v = format!("v{}", variant.trim_start_matches('v'));
    match closest(&with_v, default.into_iter().chain(known.iter().copied())) {
        Some(variant) => Some(format!("{rest}/{variant}")),
        None => Some(rest.to_owned()),
    }
}

fn is_version(part: &str) -> bool {
    let digits = part.trim_start_matches('v');
    !digits.is_empty()
        && digits.len() <= 4
        && digits != "386"
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn is_name(part: &str) -> bool {
    OPERATING_SYSTEMS.contains(&part)
        || ARCHITECTURES.contains(&Platform::new("", part, None).architecture.as_str())
}

fn closest(text: &str, names: impl Iterator<Item = &'static str>) -> Option<String> {
    names
        .map(|name| {
            (strsim::jaro_winkler(text, name).max(strsim::normalized_damerau_levenshtein(text, name)), name)
        })
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
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
            ("linux/arm64v8", Some("linux/arm64/v8")),
            ("linux/armv6", Some("linux/arm/v6")),
            ("linux/armv7l", Some("linux/arm/v7")),
            ("arm64/linux", Some("linux/arm64")),
            ("linux-arm64", Some("linux/arm64")),
            ("linux_amd64", Some("linux/amd64")),
            ("linux arm64", Some("linux/arm64")),
            ("linux/ppc64el", Some("linux/ppc64le")),
            ("linux/s390", None),
            ("linux/s309x", Some("linux/s390x")),
            ("linux/riscv46", Some("linux/riscv64")),
            ("win/amd64", Some("windows/amd64")),
            ("linux/amd64/v5", Some("linux/amd64/v1")),
            ("linux/amd64/2", Some("linux/amd64/v2")),
            ("linux/arm/v9", Some("linux/arm/v5")),
            ("linux/arm64/v7", Some("linux/arm64/v8")),
            ("linux/386/v2", Some("linux/386")),
            ("linux/", Some("linux")),
            ("locla", Some("local")),
            ("", None),
            ("qwertyuiop", None),
            ("linux/qwertyuiop", None),
        ];
        for (text, expected) in table {
            if parse_parts(text).is_ok() {
                continue;
            }
            assert_eq!(nearest(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_suggestion_is_a_platform() {
        for (name, meant) in OTHER_NAMES {
            for text in [name.to_owned(), format!("linux/{name}")] {
                if let Some(suggestion) = nearest(&text) {
                    assert!(
                        suggestion == "local" || parse_parts(&suggestion).is_ok(),
                        "{text} -> {suggestion}"
                    );
                }
            }
            assert!(parse_parts(meant).is_ok() || parse_parts(&format!("linux/{meant}")).is_ok(), "{meant}");
        }
    }
}
