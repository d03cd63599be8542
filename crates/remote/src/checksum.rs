//! The digest that a download has to have.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// As it is written before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Hexadecimal digits of a digest.
    pub fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// `sha256:` and 64 digits, or the same with `sha384` or `sha512`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Checksum {
    /// The hash function.
    pub algorithm: Algorithm,
    /// The digest: lower-case hexadecimal digits.
    pub hex: String,
}

/// A text is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// No `ALGORITHM:` in front.
    #[error("`{0}` is no checksum: it has no algorithm in front, as in `sha256:…`")]
    NoAlgorithm(String),
    /// A hash function that is not supported.
    #[error("the checksum algorithm `{0}` is not one of sha256, sha384, sha512")]
    Algorithm(String),
    /// Not the right number of lower-case hexadecimal digits.
    #[error("a {} checksum has {} lower-case hexadecimal digits, and not {found}", .algorithm.name(), .algorithm.digits())]
    Digits {
        /// The hash function.
        algorithm: Algorithm,
        /// What is there.
        found: String,
    },
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(ChecksumError::NoAlgorithm(text.to_owned()));
        };
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let algorithm = algorithm.ok_or_else(|| ChecksumError::Algorithm(name.to_owned()))?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != algorithm.digits() {
            let found = format!("{} characters", hex.chars().count());
            return Err(ChecksumError::Digits { algorithm, found });
        }
        match hex.chars().find(|c| !u8::try_from(*c).is_ok_and(is_digit)) {
            Some(wrong) => Err(ChecksumError::Digits { algorithm, found: format!("`{wrong}`") }),
            None => Ok(Self { algorithm, hex: hex.to_owned() }),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_an_algorithm_and_its_digits() {
        for algorithm in Algorithm::ALL {
            let text = format!("{}:{}", algorithm.name(), "0a".repeat(algorithm.digits() / 2));
            assert_eq!(text.parse::<Checksum>().unwrap().to_string(), text);
        }
        let table = [
            ("abc".to_owned(), "has no algorithm in front"),
            ("md5:abc".to_owned(), "`md5` is not one of"),
            ("sha256:abc".to_owned(), "and not 3 characters"),
            (format!("sha256:{}", "A".repeat(64)), "and not `A`"),
            (format!("sha256:{}é", "a".repeat(62)), "and not `é`"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Checksum>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
