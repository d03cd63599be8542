//! Compares compressors on what layers are made of: how fast one core is, and how much is left.
//!
//! `cargo run --release -p archway-layer --example compressors -- NAME=TAR-OR-DIRECTORY…`
//!
//! Each input is cut into pieces of 1 MiB, which is the most that a member of a layer has, and each piece is compressed on
//! its own, by one thread, in memory. Time is processor time of that thread, so that other work on
//! the machine counts little. `docs/formats/layer.md` has a table of this.

use std::{
    env,
    error::Error,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use libdeflater::{CompressionLvl, Compressor};

/// The most tar a member has.
const PIECE: usize = 1 << 20;
/// Of larger inputs, pieces at equal distances are taken.
const MOST: usize = 64 << 20;
/// The fastest of these is told.
const PASSES: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let inputs: Vec<(String, Vec<u8>)> =
        env::args().skip(1).map(|argument| read(&argument)).collect::<Result<_, _>>()?;
    if inputs.is_empty() {
        return Err("give an input: NAME=TAR-OR-DIRECTORY".into());
    }
    let names: Vec<String> = inputs
        .iter()
        .map(|(name, tar)| format!("{name}, {} MB", (tar.len() + 500_000) / 1_000_000))
        .collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(inputs.len()));
    for mut method in methods()? {
        let cells: Vec<String> = inputs
            .iter()
            .map(|(_, tar)| measure(&mut method, tar).map(|figure| figure.to_string()))
            .collect::<Result<_, _>>()?;
        println!("| {} | {} |", method.name, cells.join(" | "));
    }
    Ok(())
}

/// A tar as it is, or a directory as one.
fn read(argument: &str) -> Result<(String, Vec<u8>), Box<dyn Error>> {
    let (name, path) = argument.split_once('=').ok_or("an input is NAME=TAR-OR-DIRECTORY")?;
    let path = PathBuf::from(path);
    let tar = if path.is_dir() { archive(&path)? } else { fs::read(&path)? };
    Ok((name.to_owned(), tar))
}

fn archive(directory: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all("", directory)?;
    Ok(archive.into_inner()?)
}

/// Compresses a piece, and says how many bytes are left.
type Compress = Box<dyn FnMut(&[u8]) -> Result<usize, Box<dyn Error>>>;

/// A compressor at a level.
struct Method {
    name: String,
    compress: Compress,
}

fn methods() -> Result<Vec<Method>, Box<dyn Error>> {
    let mut methods = Vec::new();
    for level in 1..=9 {
        let mut compressor =
            Compressor::new(CompressionLvl::new(level).map_err(|_| "libdeflate has no such level")?);
        let mut output = vec![0; compressor.deflate_compress_bound(PIECE)];
        methods.push(Method {
            name: format!("libdeflate {level}"),
            compress: Box::new(move |piece| Ok(compressor.deflate_compress(piece, &mut output)?)),
        });
    }
    for level in [1, 2, 3, 4, 6, 9] {
        methods.push(Method {
            name: format!("zlib-rs {level}"),
            compress: Box::new(move |piece| {
                let output = Vec::with_capacity(PIECE);
                let mut encoder = flate2::write::DeflateEncoder::new(output, flate2::Compression::new(level));
                encoder.write_all(piece)?;
                Ok(encoder.finish()?.len())
            }),
        });
    }
    for level in [1, 2, 3, 5, 7, 9, 12] {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        methods.push(Method {
            name: format!("zstd {level}"),
            compress: Box::new(move |piece| Ok(compressor.compress(piece)?.len())),
        });
    }
    Ok(methods)
}

/// How fast, and how small.
struct Figure {
    megabytes_per_second: f64,
    percent: f64,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} MB/s, {:.1} %", self.megabytes_per_second, self.percent)
    }
}

fn measure(method: &mut Method, tar: &[u8]) -> Result<Figure, Box<dyn Error>> {
    let pieces: Vec<&[u8]> = tar.chunks(PIECE).step_by(tar.len().div_ceil(MOST)).collect();
    let taken: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut fastest = Duration::MAX;
    let mut left = 0;
    for _ in 0..PASSES {
        let started = processor_time()?;
        left =
            pieces.iter().try_fold(0, |left, piece| (method.compress)(piece).map(|length| left + length))?;
        fastest = fastest.min(processor_time()? - started);
    }
    Ok(Figure {
        megabytes_per_second: taken as f64 / 1e6 / fastest.as_secs_f64(),
        percent: left as f64 / taken as f64 * 100.0,
    })
}

/// Of this thread, so far: the first number of its `schedstat`, in nanoseconds.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
