//! Keys: blake3 hashes, written as 64 lower-case hexadecimal digits.

use std::{fmt, str::FromStr};

/// The text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid key `{0}`: want 64 hexadecimal digits")]
pub struct InvalidKey(pub String);

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The raw hash.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// A key from its raw hash.
            pub fn from_bytes(raw: [u8; 32]) -> Self {
                Self(raw)
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(hash.into())
            }
        }

        impl FromStr for $name {
            type Err = InvalidKey;

            fn from_str(text: &str) -> Result<Self, InvalidKey> {
                match blake3::Hash::from_hex(text) {
                    // Only one spelling, since keys are file names.
                    Ok(hash) if hash.to_hex().as_str() == text => Ok(Self(hash.into())),
                    _ => Err(InvalidKey(text.to_owned())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                <[u8; 32]>::column_result(value).map(Self)
            }
        }
    };
}

key! {
    /// What the result of a build step depends on.
    CacheKey
}

key! {
    /// Names a snapshot: the delta of one layer.
    SnapshotKey
}

key! {
    /// Names a cache mount: its id, its platform and what it held at first.
    MountKey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() {
        let key = SnapshotKey::from(blake3::hash(b"x"));
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "00", &key.to_string().to_uppercase(), &format!("{key}0"), "../../etc/passwd"] {
            assert_eq!(text.parse::<SnapshotKey>(), Err(InvalidKey(text.to_owned())), "{text}");
        }
    }
}
