//! Compression in independent members: a layer is a concatenation of gzip members (RFC 1952 §2.2) or
//! Zstandard frames (RFC 8878 §3.1), cut where the *content* says (see [`member`]), so that several
//! threads can make them, and an unchanged stretch of files gives unchanged bytes, which need not be made
//! again (see [`KnownMembers`]).

mod decode;
mod encode;
mod gunzip;
mod known;
pub mod member;
mod pipeline;
mod workers;

use archway_oci::media_type::{self, LayerCompression};

pub use decode::Decoder;
pub use known::{KnownMembers, Member};
pub use pipeline::Members;
pub(crate) use pipeline::{Making, run};
pub use workers::Workers;

/// Level of gzip where none is asked for. Measured (see `docs/formats/layer.md`): libdeflate's level 4
/// makes less than zlib-rs at level 6, which other builders use, in two thirds of the time; each level
/// up to 7 costs 13-30 % more time for 0.3-2 % less.
pub const GZIP_LEVEL: u8 = 4;

/// Level of Zstandard where none is asked for: its own default.
pub const ZSTD_LEVEL: u8 = 3;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip by libdeflate.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u8,
    },
    /// Zstandard.
    Zstd {
        /// 1 (fast) to 22 (small).
        level: u8,
    },
}

impl Default for Compression {
    fn default() -> Self {
        Self::gzip()
    }
}

impl Compression {
    /// gzip at [`GZIP_LEVEL`].
    pub fn gzip() -> Self {
        Self::Gzip { level: GZIP_LEVEL }
    }

    /// Zstandard at [`ZSTD_LEVEL`].
    pub fn zstd() -> Self {
        Self::Zstd { level: ZSTD_LEVEL }
    }

    /// The format without its level.
    pub fn format(self) -> LayerCompression {
        match self {
            Self::None => LayerCompression::None,
            Self::Gzip { .. } => LayerCompression::Gzip,
            Self::Zstd { .. } => LayerCompression::Zstd,
        }
    }

    /// The OCI media type of a layer made this way.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip { .. } => media_type::OCI_LAYER_GZIP,
            Self::Zstd { .. } => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// A name for everything that decides about the bytes of a member besides its content: `gzip-4`. A
    /// version of an encoder that gives other bytes, which the golden digests tell, needs other names.
    pub fn id(self) -> String {
        match self {
            Self::None => "tar".to_owned(),
            Self::Gzip { level } => format!("gzip-{level}"),
            Self::Zstd { level } => format!("zstd-{level}"),
        }
    }

    /// Refuses a level the format does not have.
    pub fn check(self) -> Result<(), InvalidLevel> {
        let (format, level, most) = match self {
            Self::None => return Ok(()),
            Self::Gzip { level } => ("gzip", level, 9),
            Self::Zstd { level } => ("zstd", level, 22),
        };
        if (1..=most).contains(&level) { Ok(()) } else { Err(InvalidLevel { format, level, most }) }
    }
}

/// A compression level the format does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format} has no level {level}; choose 1 to {most}")]
pub struct InvalidLevel {
    /// `gzip` or `zstd`.
    pub format: &'static str,
    /// What was asked for.
    pub level: u8,
    /// The highest level there is.
    pub most: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_format() {
        for (compression, valid) in [
            (Compression::None, true),
            (Compression::default(), true),
            (Compression::Gzip { level: 0 }, false),
            (Compression::Gzip { level: 9 }, true),
            (Compression::Gzip { level: 10 }, false),
            (Compression::Zstd { level: 0 }, false),
            (Compression::Zstd { level: 22 }, true),
            (Compression::Zstd { level: 23 }, false),
        ] {
            assert_eq!(compression.check().is_ok(), valid, "{compression:?}");
        }
    }

    #[test]
    fn media_types_state_the_compression() {
        for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
            assert_eq!(media_type::layer_compression(compression.media_type()), Some(compression.format()));
        }
    }
}
