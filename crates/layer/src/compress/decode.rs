//! Reading compressed streams of any origin.

use std::io::{self, BufReader, Read};

use archway_oci::media_type::LayerCompression;

use super::gunzip::Gunzip;

/// Bytes asked of the reader below at a time.
const BUFFER: usize = 64 * 1024;

/// Decompresses a layer: any number of gzip members or Zstandard frames, whoever made them.
///
/// Memory is bounded: about 6 MiB for each of at most four threads for gzip, 128 MiB for Zstandard (a
/// frame that wants more is an error).
pub struct Decoder<R: Read>(Inner<R>);

enum Inner<R: Read> {
    None(R),
    Gzip(Box<Gunzip<R>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Decoder<R> {
    /// Reads `reader` as the compression its media type states.
    pub fn new(reader: R, compression: LayerCompression) -> io::Result<Self> {
        Ok(Self(match compression {
            LayerCompression::None => Inner::None(reader),
            LayerCompression::Gzip => Inner::Gzip(Box::new(Gunzip::new(reader))),
            LayerCompression::Zstd => {
                let buffered = BufReader::with_capacity(BUFFER, reader);
                Inner::Zstd(zstd::stream::read::Decoder::with_buffer(buffered)?)
            }
        }))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(reader) => reader.read(buffer),
            Inner::Gzip(reader) => reader.read(buffer),
            Inner::Zstd(reader) => reader.read(buffer),
        }
    }
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::None(_) => "Decoder(none)",
            Inner::Gzip(_) => "Decoder(gzip)",
            Inner::Zstd(_) => "Decoder(zstd)",
        })
    }
}
