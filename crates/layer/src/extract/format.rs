//! Which compression an archive has, told by its first bytes.

use std::io::{self, BufRead, BufReader, Read};

use archway_oci::media_type::LayerCompression;
use bzip2::bufread::MultiBzDecoder;
use lzma_rust2::XzReader;

use crate::{
    archive::{Limits, TarReader},
    compress::Decoder,
};

/// How an archive is compressed: the formats that Docker's `ADD` unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveFormat {
    /// Not at all.
    Tar,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Most memory an xz stream may ask for, in KiB: four times what `xz -9` makes.
const XZ_MEMORY_KIB: u32 = 256 * 1024;
/// Bytes asked of the reader below at a time; holds every magic number.
const BUFFER: usize = 64 * 1024;

impl ArchiveFormat {
    /// The format whose magic number `prefix` begins with, [`ArchiveFormat::Tar`] if none: a tar has
    /// its magic, if any, elsewhere.
    pub fn detect(prefix: &[u8]) -> Self {
        match prefix {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or a skippable frame before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Tar,
        }
    }
}

/// Whether `reader` gives an archive that [`super::unpack_archive`] unpacks: a tar header is what comes
/// first after decompression. Reads no more than that takes. For a prefix of a file that is enough
/// when it holds a whole compressed block (900 kB for bzip2); a damaged or short stream is no archive.
pub fn is_archive(reader: impl Read) -> bool {
    let Ok((_, decoder)) = decoder(reader) else { return false };
    matches!(TarReader::new(decoder, Limits::default()).next_entry(), Ok(Some(_)))
}

/// Decompresses `reader`, whatever it is.
pub(super) enum ArchiveDecoder<R: Read> {
    Layer(Decoder<BufReader<R>>),
    Bzip2(MultiBzDecoder<BufReader<R>>),
    Xz(Box<XzReader<BufReader<R>>>),
}

pub(super) fn decoder<R: Read>(reader: R) -> io::Result<(ArchiveFormat, ArchiveDecoder<R>)> {
    let mut buffered = BufReader::with_capacity(BUFFER, reader);
    // One read may give less than a magic number only if the reader is odd or the stream that short.
    let format = ArchiveFormat::detect(buffered.fill_buf()?);
    let decoder = match format {
        ArchiveFormat::Tar => ArchiveDecoder::Layer(Decoder::new(buffered, LayerCompression::None)?),
        ArchiveFormat::Gzip => ArchiveDecoder::Layer(Decoder::new(buffered, LayerCompression::Gzip)?),
        ArchiveFormat::Zstd => ArchiveDecoder::Layer(Decoder::new(buffered, LayerCompression::Zstd)?),
        ArchiveFormat::Bzip2 => ArchiveDecoder::Bzip2(MultiBzDecoder::new(buffered)),
        ArchiveFormat::Xz => {
            ArchiveDecoder::Xz(Box::new(XzReader::new_mem_limit(buffered, true, XZ_MEMORY_KIB)))
        }
    };
    Ok((format, decoder))
}

impl<R: Read> Read for ArchiveDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Layer(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }
}
