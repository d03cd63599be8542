//! Text to platforms.

use std::{fmt, str::FromStr};

use super::{Platform, normal_architecture, spelling};

/// Operating systems of Go, and the two names WebAssembly images use.
pub(super) const OPERATING_SYSTEMS: [&str; 19] = [
    "linux",
    "windows",
    "darwin",
    "freebsd",
    "netbsd",
    "openbsd",
    "dragonfly",
    "solaris",
    "illumos",
    "aix",
    "android",
    "ios",
    "js",
    "nacl",
    "plan9",
    "hurd",
    "zos",
    "wasi",
    "wasip1",
];

/// Architectures of Go.
pub(super) const ARCHITECTURES: [&str; 24] = [
    "amd64",
    "arm64",
    "arm",
    "386",
    "ppc64le",
    "s390x",
    "riscv64",
    "loong64",
    "mips64le",
    "mips64",
    "mipsle",
    "mips",
    "ppc64",
    "ppc",
    "riscv",
    "s390",
    "sparc64",
    "sparc",
    "wasm",
    "amd64p32",
    "armbe",
    "arm64be",
    "mips64p32",
    "mips64p32le",
];

/// Variants, in normal form, of the architectures whose variants are enumerated somewhere;
/// `None` for an architecture that may have any.
pub(super) fn known_variants(architecture: &str) -> Option<&'static [&'static str]> {
    match architecture {
        "amd64" => Some(&["v2", "v3", "v4"]),
        "arm" => Some(&["v5", "v6", "v7", "v8"]),
        "arm64" => Some(&[
            "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9", "v9", "v9.1", "v9.2",
            "v9.3", "v9.4", "v9.5", "v9.6", "v9.7",
        ]),
        "386" => Some(&[]),
        _ => None,
    }
}

/// A text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform `{specifier}`: {problem}")]
pub struct PlatformError {
    /// The text, trimmed.
    pub specifier: String,
    /// What is wrong with it.
    pub problem: PlatformProblem,
    /// The nearest text that is a platform, if one is near.
    pub suggestion: Option<String>,
}

/// What is wrong with a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformProblem {
    /// Nothing between the commas.
    Empty,
    /// More than `os/architecture/variant`.
    TooManyParts,
    /// A part is empty or has a character that no platform has.
    Malformed(String),
    /// One word that is neither an operating system nor an architecture.
    UnknownName(String),
    /// No such operating system.
    UnknownOs(String),
    /// No such architecture.
    UnknownArchitecture(String),
    /// The architecture has no such variant.
    UnknownVariant {
        /// The architecture, in normal form.
        architecture: String,
        /// The variant as written.
        variant: String,
    },
}

impl fmt::Display for PlatformProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "it is empty"),
            Self::TooManyParts => write!(f, "want os[/architecture[/variant]]"),
            Self::Malformed(part) => write!(f, "`{part}` is not a word of letters, digits, `.`, `_`, `-`"),
            Self::UnknownName(name) => {
                write!(f, "`{name}` is neither an operating system nor an architecture")
            }
            Self::UnknownOs(os) => write!(f, "unknown operating system `{os}`"),
            Self::UnknownArchitecture(architecture) => write!(f, "unknown architecture `{architecture}`"),
            Self::UnknownVariant { architecture, variant } => {
                write!(f, "architecture {architecture} has no variant `{variant}`")
            }
        }
    }
}

impl Platform {
    /// Reads `os[(version[+feature]…)][/architecture[/variant]]`, or a lone architecture, and
    /// gives the normal form. A lone operating system gets this machine's architecture, a lone
    /// architecture gets `linux`.
    ///
    /// Stricter than containerd in one point: unknown operating systems, architectures and
    /// variants of `amd64`, `arm`, `arm64` and `386` are refused, because here they are typing errors.
    ///
    /// # Errors
    /// [`PlatformError`] with the nearest valid spelling.
    pub fn parse(specifier: &str) -> Result<Self, PlatformError> {
        let specifier = specifier.trim();
        parse_parts(specifier).map_err(|problem| PlatformError {
            specifier: specifier.to_owned(),
            problem,
            suggestion: spelling::nearest(specifier),
        })
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(specifier: &str) -> Result<Self, PlatformError> {
        Self::parse(specifier)
    }
}

/// Reads the values of a repeatable, comma-separated option: spaces are trimmed, `local` is
/// [`Platform::host`], a platform that was named before is dropped, the order is kept.
///
/// # Errors
/// The [`PlatformError`] of the first item that is none; an empty item is none.
pub fn parse_list<S: AsRef<str>>(values: &[S]) -> Result<Vec<Platform>, PlatformError> {
    let mut platforms = Vec::new();
    for item in values.iter().flat_map(|value| value.as_ref().split(',')) {
        let platform = match item.trim() {
            "local" => Platform::host(),
            specifier => Platform::parse(specifier)?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

pub(super) fn parse_parts(specifier: &str) -> Result<Platform, PlatformProblem> {
    if specifier.is_empty() {
        return Err(PlatformProblem::Empty);
    }
    let parts: Vec<&str> = specifier.splitn(4, '/').collect();
    match parts[..] {
        [name] => parse_name(name),
        [os, architecture] => {
            let mut platform = parse_os(os)?;
            set_architecture(&mut platform, architecture, "")?;
            Ok(platform)
        }
        [os, architecture, variant] => {
            let mut platform = parse_os(os)?;
            require_word(variant)?;
            set_architecture(&mut platform, architecture, variant)?;
            Ok(platform)
        }
        _ => Err(PlatformProblem::TooManyParts),
    }
}

/// A lone operating system or architecture.
fn parse_name(name: &str) -> Result<Platform, PlatformProblem> {
    match parse_os(name) {
        Ok(platform) => {
            let host = Platform::host();
            Ok(Platform { architecture: host.architecture, variant: host.variant, ..platform })
        }
        Err(PlatformProblem::UnknownOs(_)) => {
            let mut platform = Platform { os: "linux".into(), ..Platform::default() };
            set_architecture(&mut platform, name, "")
                .map_err(|_| PlatformProblem::UnknownName(name.to_owned()))?;
            Ok(platform)
        }
        Err(problem) => Err(problem),
    }
}

/// `os[(version[+feature]…)]`; the architecture is left empty.
fn parse_os(text: &str) -> Result<Platform, PlatformProblem> {
    let malformed = || PlatformProblem::Malformed(text.to_owned());
    let (os, options) = match text.split_once('(') {
        Some((os, rest)) => (os, rest.strip_suffix(')').ok_or_else(malformed)?),
        None => (text, ""),
    };
    require_word(os)?;
    let mut options = options.split('+');
    let version = options.next().unwrap_or_default();
    let features: Vec<&str> = options.collect();
    let words = features.iter().chain((!version.is_empty()).then_some(&version));
    for word in words {
        require_word(word)?;
    }

    let platform = Platform {
        os: os.to_owned(),
        os_version: Some(version.to_owned()),
        os_features: features.into_iter().map(str::to_owned).collect(),
        ..Platform::default()
    }
    .normalized();
    if OPERATING_SYSTEMS.contains(&platform.os.as_str()) {
        Ok(platform)
    } else {
        Err(PlatformProblem::UnknownOs(os.to_owned()))
    }
}

fn set_architecture(
    platform: &mut Platform,
    architecture: &str,
    variant: &str,
) -> Result<(), PlatformProblem> {
    require_word(architecture)?;
    let (normal, normal_variant) = normal_architecture(architecture, variant);
    if !ARCHITECTURES.contains(&normal.as_str()) {
        return Err(PlatformProblem::UnknownArchitecture(architecture.to_owned()));
    }
    let known = known_variants(&normal);
    if !normal_variant.is_empty() && known.is_some_and(|known| !known.contains(&normal_variant.as_str())) {
        return Err(PlatformProblem::UnknownVariant { architecture: normal, variant: variant.to_owned() });
    }
    platform.architecture = normal;
    platform.variant = Some(normal_variant).filter(|variant| !variant.is_empty());
    Ok(())
}

fn require_word(part: &str) -> Result<(), PlatformProblem> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !part.is_empty() && part.bytes().all(valid) {
        Ok(())
    } else {
        Err(PlatformProblem::Malformed(part.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn specifiers_are_read_as_containerd_reads_them() {
        let host = Platform::host();
        let lone_os = Platform { os: "linux".into(), ..host };
        let table = [
            ("linux", lone_os.to_string()),
            ("arm64", "linux/arm64".into()),
            ("amd64", "linux/amd64".into()),
            ("armhf", "linux/arm/v7".into()),
            ("x86_64", "linux/amd64".into()),
            ("linux/arm", "linux/arm/v7".into()),
            ("linux/arm/v7", "linux/arm/v7".into()),
            ("linux/arm/6", "linux/arm/v6".into()),
            ("linux/arm/v5", "linux/arm/v5".into()),
            ("linux/armel", "linux/arm/v6".into()),
            ("linux/i386", "linux/386".into()),
            ("linux/x86-64", "linux/amd64".into()),
            ("linux/amd64/v1", "linux/amd64".into()),
            ("linux/amd64/v4", "linux/amd64/v4".into()),
            ("linux/aarch64", "linux/arm64".into()),
            ("linux/arm64/v8", "linux/arm64".into()),
            ("linux/arm64/v9", "linux/arm64/v9".into()),
            ("LINUX/ARM64", "linux/arm64".into()),
            ("  linux/s390x ", "linux/s390x".into()),
            ("macos/arm64", "darwin/arm64".into()),
            ("linux/riscv64/rva22u64", "linux/riscv64/rva22u64".into()),
            ("wasi/wasm", "wasi/wasm".into()),
        ];
        for (text, expected) in table {
            assert_eq!(Platform::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn windows_versions_and_features_are_read() {
        let platform = Platform::parse("windows(10.0.17763+win32k)/amd64").unwrap();
        assert_eq!(platform.os_version.as_deref(), Some("10.0.17763"));
        assert_eq!(platform.os_features, ["win32k"]);
        assert_eq!(platform.to_string(), "windows/amd64");
        assert_eq!(platform.specifier(), "windows(10.0.17763+win32k)/amd64");
        assert_eq!(Platform::parse("windows()/amd64").unwrap().os_version, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        use PlatformProblem::*;
        let unknown_variant = |architecture: &str, variant: &str| UnknownVariant {
            architecture: architecture.into(),
            variant: variant.into(),
        };
        let table = [
            ("", Empty),
            ("  ", Empty),
            ("linux/amd64/v1/x", TooManyParts),
            ("linux/", Malformed("".into())),
            ("/amd64", Malformed("".into())),
            ("linux/amd64/", Malformed("".into())),
            ("linux/*", Malformed("*".into())),
            ("linux amd64", Malformed("linux amd64".into())),
            ("windows(10.0/amd64", Malformed("windows(10.0".into())),
            ("windows(10+)/amd64", Malformed("".into())),
            ("plan10", UnknownName("plan10".into())),
            ("linus/amd64", UnknownOs("linus".into())),
            ("linux/amd46", UnknownArchitecture("amd46".into())),
            ("linux/amd64/v5", unknown_variant("amd64", "v5")),
            ("linux/x86_64/2", unknown_variant("amd64", "2")),
            ("linux/arm/v9", unknown_variant("arm", "v9")),
            ("linux/arm64/v7", unknown_variant("arm64", "v7")),
            ("linux/386/v2", unknown_variant("386", "v2")),
        ];
        for (text, expected) in table {
            assert_eq!(Platform::parse(text).unwrap_err().problem, expected, "{text:?}");
        }
    }

    #[test]
    fn lists_keep_their_order_and_name_a_platform_once() {
        let list = parse_list(&["linux/arm64, linux/amd64", "linux/aarch64/v8", "x86_64,linux/arm"]).unwrap();
        let names: Vec<String> = list.iter().map(Platform::to_string).collect();
        assert_eq!(names, ["linux/arm64", "linux/amd64", "linux/arm/v7"]);
        assert_eq!(parse_list(&["local"]).unwrap(), [Platform::host()]);
        assert_eq!(parse_list::<&str>(&[]).unwrap(), []);
    }

    #[test]
    fn a_list_with_a_hole_is_refused() {
        let error = parse_list(&["linux/amd64,,linux/arm64"]).unwrap_err();
        assert_eq!(error.problem, PlatformProblem::Empty);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ -~]{0,40}") {
            if let Ok(platform) = Platform::parse(&text) {
                prop_assert_eq!(Platform::parse(&platform.specifier()), Ok(platform));
            }
        }

        #[test]
        fn what_is_printed_is_read_back(
            os in proptest::sample::select(&OPERATING_SYSTEMS[..]),
            architecture in proptest::sample::select(&ARCHITECTURES[..]),
            pick in 0usize..20,
        ) {
            let variants = known_variants(architecture).unwrap_or_default();
            let platform = Platform::new(os, architecture, variants.get(pick).copied());
            prop_assert_eq!(Platform::parse(&platform.to_string()), Ok(platform));
        }
    }
}
