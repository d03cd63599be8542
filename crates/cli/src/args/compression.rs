//! How new layers are compressed: `--compression`, and the keys that buildx's outputs have for it.

use archway_layer::Compression;
use clap::ValueEnum;

use super::value;
use crate::error::CliError;

const KINDS: [&str; 3] = ["gzip", "zstd", "uncompressed"];

/// A format of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Gzip,
    Zstd,
    Uncompressed,
}

/// What is said of it in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    kind: Option<Kind>,
    level: Option<u8>,
}

impl From<Option<Kind>> for Wanted {
    fn from(kind: Option<Kind>) -> Self {
        Self { kind, level: None }
    }
}

impl Wanted {
    /// The keys `compression`, `compression-level` and `force-compression` of an output.
    pub(super) fn of_keys(
        flag: &'static str,
        kind: Option<&str>,
        level: Option<&str>,
        force: Option<bool>,
    ) -> Result<Self, CliError> {
        if force == Some(true) {
            return Err(CliError::Usage {
                flag,
                message: "force-compression=true is not supported: layers of base images stay as they are"
                    .to_owned(),
                hint: Some("leave it out: new layers are compressed as asked".to_owned()),
            });
        }
        let kind = kind.map(|word| match word {
            "gzip" => Ok(Kind::Gzip),
            "zstd" => Ok(Kind::Zstd),
            "uncompressed" => Ok(Kind::Uncompressed),
            other => Err(value::unknown(flag, "compression", other, &KINDS)),
        });
        let level = level.map(|text| {
            let no_level = |_| CliError::usage(flag, format!("compression-level={text} is no level"));
            text.parse::<u8>().map_err(no_level)
        });
        Ok(Self { kind: kind.transpose()?, level: level.transpose()? })
    }

    /// What both say together; `None` if that is no one compression.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        fn both<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
            match (one, other) {
                (Some(one), Some(other)) if one != other => None,
                (one, other) => Some(one.or(other)),
            }
        }
        Some(Self { kind: both(self.kind, other.kind)?, level: both(self.level, other.level)? })
    }

    /// gzip, if nothing else is said; the format's own level, if none is.
    pub(crate) fn compression(self, flag: &'static str) -> Result<Compression, CliError> {
        let compression = match (self.kind.unwrap_or(Kind::Gzip), self.level) {
            (Kind::Gzip, None) => Compression::gzip(),
            (Kind::Gzip, Some(level)) => Compression::Gzip { level },
            (Kind::Zstd, None) => Compression::zstd(),
            (Kind::Zstd, Some(level)) => Compression::Zstd { level },
            (Kind::Uncompressed, None) => Compression::None,
            (Kind::Uncompressed, Some(_)) => {
                return Err(CliError::usage(flag, "what is not compressed has no compression-level"));
            }
        };
        compression.check().map_err(|error| CliError::usage(flag, error))?;
        Ok(compression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(flag: Option<Kind>, kind: Option<&str>, level: Option<&str>) -> Option<Compression> {
        let keys = Wanted::of_keys("--output", kind, level, None).ok()?;
        Wanted::from(flag).and(keys)?.compression("--output").ok()
    }

    #[test]
    fn flag_and_keys_say_it_together() {
        let gzip = |level| Some(Compression::Gzip { level });
        for (flag, kind, level, want) in [
            (None, None, None, Some(Compression::gzip())),
            (None, None, Some("9"), gzip(9)),
            (None, Some("zstd"), None, Some(Compression::zstd())),
            (Some(Kind::Zstd), None, Some("19"), Some(Compression::Zstd { level: 19 })),
            (Some(Kind::Gzip), Some("gzip"), Some("1"), gzip(1)),
            (Some(Kind::Uncompressed), None, None, Some(Compression::None)),
            (Some(Kind::Gzip), Some("zstd"), None, None),
            (None, Some("gzip"), Some("10"), None),
            (None, Some("gzip"), Some("-1"), None),
            (None, Some("uncompressed"), Some("1"), None),
            (None, Some("estargz"), None, None),
        ] {
            assert_eq!(decide(flag, kind, level), want, "{flag:?} {kind:?} {level:?}");
        }
    }
}
