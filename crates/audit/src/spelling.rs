//! How architectures are spelled in names of files.

/// Words that name an architecture: Debian's, GNU's, Go's, the kernel's, Python's.
const WORDS: [&str; 33] = [
    "386",
    "aarch64",
    "amd64",
    "arm",
    "arm64",
    "armel",
    "armhf",
    "armv5",
    "armv6",
    "armv6l",
    "armv7",
    "armv7l",
    "armv8",
    "i386",
    "i486",
    "i586",
    "i686",
    "loong64",
    "loongarch64",
    "mips64el",
    "mips64le",
    "mipsel",
    "mipsle",
    "powerpc64le",
    "ppc64",
    "ppc64el",
    "ppc64le",
    "riscv64",
    "s390x",
    "x64",
    "x86",
    "mips",
    "mips64",
];
/// Ends of GNU triplets that go with an architecture.
const ENDS: [(&str, &str); 5] = [
    ("gnueabihf", "gnu"),
    ("gnueabi", "gnu"),
    ("gnuabi64", "gnu"),
    ("musleabihf", "musl"),
    ("musleabi", "musl"),
];

/// `path` with `{arch}` wherever an architecture stands, so that equal files of several platforms have
/// equal names.
pub(crate) fn without_architecture(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    for component in path.split('/') {
        if !plain.is_empty() {
            plain.push('/');
        }
        match component {
            "lib64" | "lib32" | "libx32" => plain.push_str("lib"),
            // The loader's name and version are part of the ABI.
            _ if ["ld-linux", "ld-musl", "ld64.so", "ld.so.1"]
                .iter()
                .any(|loader| component.starts_with(loader)) =>
            {
                plain.push_str("{loader}");
            }
            _ => append(&mut plain, component),
        }
    }
    plain
}

fn append(plain: &mut String, component: &str) {
    let mut rest = component;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        // `x86_64` and `x86-64`.
        let after_64 = ["_64", "-64"].iter().find_map(|tail| after.strip_prefix(tail));
        let after_64 = after_64.filter(|tail| !tail.starts_with(|c: char| c.is_ascii_alphanumeric()));
        rest = match (word, after_64) {
            ("x86", Some(after)) => {
                plain.push_str("{arch}");
                after
            }
            _ => {
                let end = ENDS.iter().find(|(end, _)| *end == word).map(|(_, plain)| *plain);
                plain.push_str(if WORDS.contains(&word) { "{arch}" } else { end.unwrap_or(word) });
                after
            }
        };
        // What is between words, up to the next.
        let next = rest.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        plain.push_str(&rest[..next]);
        rest = &rest[next..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_platforms_become_equal() {
        for (names, plain) in [
            (
                &["usr/lib/x86_64-linux-gnu/libz.so", "usr/lib/arm-linux-gnueabihf/libz.so"][..],
                "usr/lib/{arch}-linux-gnu/libz.so",
            ),
            (&["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1", "lib/ld64.so.1"], "lib/{loader}"),
            (&["a/libc6:amd64.list", "a/libc6:s390x.list"], "a/libc6:{arch}.list"),
            (
                &["m.cpython-311-x86_64-linux-gnu.so", "m.cpython-311-aarch64-linux-gnu.so"],
                "m.cpython-311-{arch}-linux-gnu.so",
            ),
            (&["w-linux_x86_64", "w-linux_aarch64"], "w-linux_{arch}"),
        ] {
            for name in names {
                assert_eq!(without_architecture(name), plain);
            }
        }
    }

    #[test]
    fn other_words_stay() {
        for name in ["usr/share/armour", "x86ish/charm", "etc/ld.so.conf.d/x.conf", "élan/naïve", "a--b"] {
            assert_eq!(without_architecture(name), name);
        }
    }
}
