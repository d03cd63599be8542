//! What Kubernetes takes as a name, a label, a size: checked here, so that a mistake is found before
//! the first object is applied.

/// A DNS label that begins with a letter, as names of Services do.
pub(super) fn is_name(text: &str, longest: usize) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && is_dns_label(text) && text.len() <= longest
}

/// RFC 1123: at most 63 lower case letters, digits and inner hyphens.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123: DNS labels with dots between them, at most 253 characters.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Key of a label or an annotation: `[PREFIX/]NAME`.
pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_word(name),
        None => is_label_word(text),
    }
}

/// Value of a label; may be empty.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_word(text)
}

fn is_label_word(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| outer(c) || matches!(c, '-' | '_' | '.'))
        && text.starts_with(outer)
        && text.ends_with(outer)
}

/// A registry as BuildKit names one, `HOST[:PORT][/PATH]`. Nothing that TOML would have to escape.
pub(super) fn is_registry(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:/[]".contains(c))
}

/// A quantity of Kubernetes without a sign or an exponent: `500m`, `1.5`, `4Gi`.
pub(super) fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let suffixes = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.matches('.').count() <= 1;
    is_number && suffixes.contains(&unit)
}

/// The MiB of a volume's size, whole `Gi` or `Ti`; at least 1 Gi and below 10 Pi.
pub(super) fn volume_mebibytes(text: &str) -> Option<u64> {
    let (number, factor) = match (text.strip_suffix("Gi"), text.strip_suffix("Ti")) {
        (Some(number), _) => (number, 1024),
        (_, Some(number)) => (number, 1024 * 1024),
        _ => return None,
    };
    let is_plain =
        number.len() <= 4 && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| is_plain).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_name("buildkitd-2", 11) && is_dns_label("2a") && is_dns_subdomain("a.b-c.2d"));
        for text in ["", "-a", "a-", "A", "a.b", "2a", "a_b", "abcdefghijkl"] {
            assert!(!is_name(text, 11), "{text}");
        }
        assert!(!is_dns_subdomain("a..b") && !is_dns_label(&"a".repeat(64)));
    }

    #[test]
    fn labels() {
        for text in ["team", "example.com/Team_1", "a.b-c"] {
            assert!(is_label_key(text), "{text}");
        }
        for text in ["", "/a", "a/", "a/b/c", "-a", "a b", "Example.com/a"] {
            assert!(!is_label_key(text), "{text}");
        }
        assert!(is_label_value("") && is_label_value("v1.2") && !is_label_value("a b"));
    }

    #[test]
    fn registries() {
        for text in ["docker.io", "localhost:5000", "core.example/proxy.docker.io", "[::1]:5000"] {
            assert!(is_registry(text), "{text}");
        }
        for text in ["", "/a", "a\"b", "a b", "a\n"] {
            assert!(!is_registry(text), "{text}");
        }
    }

    #[test]
    fn quantities() {
        for text in ["1", "500m", "1.5", "4Gi", "128974848"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "Gi", "4GB", "-1", "1.", ".5", "1.2.3", "4 Gi", "1e3"] {
            assert!(!is_quantity(text), "{text}");
        }
    }

    #[test]
    fn volumes_have_whole_gibibytes() {
        assert_eq!(volume_mebibytes("100Gi"), Some(102_400));
        assert_eq!(volume_mebibytes("2Ti"), Some(2_097_152));
        for text in ["", "Gi", "0Gi", "012Gi", "100", "100G", "1.5Gi", "500Mi", "10000Gi", "+1Gi"] {
            assert_eq!(volume_mebibytes(text), None, "{text}");
        }
    }
}
