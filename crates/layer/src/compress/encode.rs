//! One member: bytes in, a complete gzip member or Zstandard frame out.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::Compression;

/// RFC 1952 §2.3: deflate, no flags, no time, no hint about the level, OS unknown. Written here and not
/// by the library so that a new version of it cannot change a layer's digest through its header.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// CRC-32 and length of the content.
const GZIP_TRAILER: usize = 8;

/// Compresses members one after another; each member's bytes depend on its content alone.
pub(super) enum Encoder {
    None,
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    /// An encoder for a compression whose level was checked.
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip { level } => {
                let level = CompressionLvl::new(i32::from(level))
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such gzip level"))?;
                Self::Gzip(Compressor::new(level))
            }
            Compression::Zstd { level } => Self::Zstd(zstd::bulk::Compressor::new(i32::from(level))?),
        })
    }

    pub(super) fn member(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(content.to_vec()),
            Self::Gzip(compressor) => gzip_member(compressor, content),
            Self::Zstd(compressor) => compressor.compress(content),
        }
    }
}

fn gzip_member(compressor: &mut Compressor, content: &[u8]) -> io::Result<Vec<u8>> {
    let start = GZIP_HEADER.len();
    let mut member = vec![0; start + compressor.deflate_compress_bound(content.len()) + GZIP_TRAILER];
    member[..start].copy_from_slice(&GZIP_HEADER);
    let length = compressor
        .deflate_compress(content, &mut member[start..])
        .map_err(|error| io::Error::other(error.to_string()))?;
    member.truncate(start + length);
    member.extend_from_slice(&libdeflater::crc32(content).to_le_bytes());
    // RFC 1952: the length modulo 2^32; a member is far below that.
    member.extend_from_slice(&(content.len() as u32).to_le_bytes());
    Ok(member)
}
