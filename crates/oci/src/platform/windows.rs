//! Which Windows versions run the containers of which others, with process isolation
//! (learn.microsoft.com, "Windows container version compatibility").

/// The first three numbers of `10.0.20348.1726`; the revision does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    major: u8,
    minor: u8,
    build: u16,
}

const SERVER_2022: u16 = 20348;
const SERVER_2025: u16 = 26100;

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
            build: numbers.next()?.parse().ok()?,
        })
    }

    /// Before Server 2022 a host runs its own build only; since then every build from the
    /// long-term release before it up to its own.
    pub(super) fn runs(self, container: Self) -> bool {
        if (self.major, self.minor) != (container.major, container.minor) {
            return false;
        }
        if self.build < SERVER_2022 {
            return container.build == self.build;
        }
        let oldest = if self.build > SERVER_2025 { SERVER_2025 } else { SERVER_2022 };
        (oldest..=self.build).contains(&container.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatibility_follows_the_long_term_releases() {
        let table = [
            ("10.0.17763", "10.0.17763.3", true),
            ("10.0.17763", "10.0.14393", false),
            ("10.0.20348", "10.0.20348", true),
            ("10.0.20348", "10.0.17763", false),
            ("10.0.22621", "10.0.20348", true),
            ("10.0.26100", "10.0.20348", true),
            ("10.0.26100", "10.0.25398", true),
            ("10.0.27000", "10.0.25398", false),
            ("10.0.27000", "10.0.26100", true),
            ("10.0.20348", "11.0.20348", false),
        ];
        for (host, container, expected) in table {
            let (host, container) = (Version::parse(host).unwrap(), Version::parse(container).unwrap());
            assert_eq!(host.runs(container), expected, "{host:?} runs {container:?}");
        }
    }

    #[test]
    fn a_version_needs_three_numbers() {
        for text in ["", "10", "10.0", "10.0.x", "10.0.99999", "300.0.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
