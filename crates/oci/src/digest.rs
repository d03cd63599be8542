//! Content digests: `sha256:<64 lower-case hex>` (image-spec `descriptor.md#digests`).

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A validated content digest. Only `sha256` and `sha512` are registered algorithms; both parse,
/// and Archway itself only makes `sha256`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: String,
}

/// The text is not `algorithm:hex` with a registered algorithm and the right length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest `{0}`: want sha256:<64 hex digits> or sha512:<128 hex digits>")]
pub struct InvalidDigest(pub String);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(bytes).into())
    }

    /// A digest from the 32 raw bytes of a finished SHA-256.
    pub fn from_sha256(raw: [u8; 32]) -> Self {
        Self { text: format!("sha256:{}", hex::encode(raw)) }
    }

    /// The algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.split().0
    }

    /// The lower-case hexadecimal part.
    pub fn hex(&self) -> &str {
        self.split().1
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is the digest of `bytes`.
    pub fn verifies(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::for_digest(self);
        hasher.update(bytes);
        hasher.finish() == *self
    }

    fn split(&self) -> (&str, &str) {
        self.text.split_once(':').expect("a Digest is validated when made")
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let valid = text.split_once(':').is_some_and(|(algorithm, hex)| {
            let length = match algorithm {
                "sha256" => 64,
                "sha512" => 128,
                _ => return false,
            };
            hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if valid { Ok(Self { text: text.to_owned() }) } else { Err(InvalidDigest(text.to_owned())) }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Hashes bytes with the algorithm of a digest they are going to be compared with.
#[derive(Debug, Clone)]
pub struct Hasher(Algorithm);

#[derive(Debug, Clone)]
enum Algorithm {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher whose result can be compared with `expected`.
    pub fn for_digest(expected: &Digest) -> Self {
        Self(match expected.algorithm() {
            "sha512" => Algorithm::Sha512(Sha512::new()),
            _ => Algorithm::Sha256(Sha256::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Algorithm::Sha256(hasher) => hasher.update(bytes),
            Algorithm::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Algorithm::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Algorithm::Sha512(hasher) => {
                Digest { text: format!("sha512:{}", hex::encode(hasher.finalize())) }
            }
        }
    }
}

/// Passes bytes on to `inner` while hashing and counting them.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    inner: W,
    hasher: Sha256,
    written: u64,
}

impl<W: io::Write> Sha256Writer<W> {
    /// Hashes everything written to `inner` from now on.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), written: 0 }
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of everything written, its length, and the writer below.
    pub fn finish(self) -> (Digest, u64, W) {
        (Digest::from_sha256(self.hasher.finalize().into()), self.written, self.inner)
    }
}

impl<W: io::Write> io::Write for Sha256Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// FIPS 180-2, appendix B.1 and C.1.
    const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                           2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn both_algorithms_verify() {
        for text in [ABC_256, ABC_512] {
            let digest: Digest = text.parse().unwrap();
            assert!(digest.verifies(b"abc"), "{text}");
            assert!(!digest.verifies(b"abd"), "{text}");
        }
        assert_eq!(Digest::sha256(b"abc").as_str(), ABC_256);
        assert_eq!(Digest::sha256(b"abc").short(), "ba7816bf8f01");
    }

    #[test]
    fn a_digest_is_an_algorithm_and_its_number_of_lower_case_digits() {
        let upper = format!("sha256:{}", ABC_256[7..].to_uppercase());
        let invalid = [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:ba78",
            "md5:900150983cd24fb0d6963f7d28e17f72",
            &ABC_256[7..],
            &ABC_256.replace("sha256", "sha512"),
            &upper,
            &format!("{ABC_256}0"),
            "sha256:../../etc/passwd",
        ];
        for text in invalid {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest(text.to_owned())));
        }
    }

    #[test]
    fn a_writer_counts_and_hashes_what_it_passes_on() {
        let mut writer = Sha256Writer::new(Vec::new());
        writer.write_all(b"a").unwrap();
        writer.write_all(b"bc").unwrap();
        assert_eq!(writer.written(), 3);
        let (digest, size, inner) = writer.finish();
        assert_eq!((digest.as_str(), size, inner.as_slice()), (ABC_256, 3, &b"abc"[..]));
    }
}
