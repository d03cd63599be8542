//! Gzip of many members, decompressed by several threads.
//!
//! Where a member ends is known only after it was decompressed; where one *may* begin can be seen, as
//! each begins with the same bytes. So the stream is cut wherever a member may begin, and the pieces are
//! decompressed at the same time, as guesses. A guess was right if the piece is one whole member by its
//! length and checksum; it counts only if all before it were right, too. After a wrong one, and where no
//! other member begins for long (most layers are a single member), the rest is decompressed as usual. So
//! the result is that of any other decoder.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Cursor, Read},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use flate2::bufread::MultiGzDecoder;
use libdeflater::Decompressor;

/// Bytes asked of the reader below at a time.
const BUFFER: usize = 64 * 1024;
/// A piece has at most this many bytes. Our own members have 1 MiB before they are compressed.
const MOST_COMPRESSED: usize = 2 << 20;
/// A member that holds more is decompressed as usual.
const MOST_CONTENT: usize = 4 << 20;
/// More threads would be faster than files can be written.
const MOST_THREADS: usize = 4;

/// How every member begins: magic number, and deflate (RFC 1952 §2.3.1).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Flags that no member has.
const RESERVED_FLAGS: u8 = 0xe0;
/// Header without optional fields.
const HEADER: usize = 10;
/// CRC-32 and length of the content.
const TRAILER: usize = 8;

/// Decompresses any gzip stream; one of many members on several threads.
pub(super) struct Gunzip<R> {
    /// `None` once the rest is left to `serial`.
    pieces: Option<Pieces<R>>,
    guesses: VecDeque<Guess>,
    workers: Option<Workers>,
    current: Vec<u8>,
    at: usize,
    serial: Option<Serial<R>>,
}

/// Bytes that were read ahead, and what follows them.
type Serial<R> = Box<MultiGzDecoder<io::Chain<Cursor<Vec<u8>>, BufReader<R>>>>;

/// A piece that may be a member, and what it holds if it is one.
struct Guess {
    piece: Arc<Vec<u8>>,
    content: Receiver<Option<Vec<u8>>>,
}

impl<R: Read> Gunzip<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            pieces: Some(Pieces::new(reader)),
            guesses: VecDeque::new(),
            workers: None,
            current: Vec::new(),
            at: 0,
            serial: None,
        }
    }

    /// Reads ahead and keeps all threads busy.
    fn guess(&mut self) -> io::Result<()> {
        let Some(pieces) = &mut self.pieces else { return Ok(()) };
        let workers = self.workers.as_ref().map_or(1, Workers::count);
        while self.guesses.len() < 2 * workers {
            let Some(piece) = pieces.next()? else { break };
            let piece = Arc::new(piece);
            let content = self.workers.get_or_insert_with(Workers::start).decompress(Arc::clone(&piece));
            self.guesses.push_back(Guess { piece, content });
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.pieces.as_ref().is_some_and(Pieces::is_at_end)
    }

    /// Decompresses `first` and all after it as usual.
    fn give_up(&mut self, first: Vec<u8>) {
        let Some(pieces) = self.pieces.take() else { return };
        let mut ahead = first;
        for guess in self.guesses.drain(..) {
            ahead.extend_from_slice(&guess.piece);
        }
        ahead.extend_from_slice(pieces.unread());
        let rest = Cursor::new(ahead).chain(pieces.reader);
        self.serial = Some(Box::new(MultiGzDecoder::new(rest)));
        self.workers = None;
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.current.len() {
                let count = buffer.len().min(self.current.len() - self.at);
                buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
                self.at += count;
                return Ok(count);
            }
            if let Some(serial) = &mut self.serial {
                return serial.read(buffer);
            }
            self.guess()?;
            match self.guesses.pop_front() {
                Some(guess) => match guess.content.recv() {
                    Ok(Some(content)) => (self.current, self.at) = (content, 0),
                    // The thread may also have died of a panic.
                    Ok(None) | Err(_) => self.give_up(Arc::unwrap_or_clone(guess.piece)),
                },
                // A stream without any member is not whole, which the usual decoder says.
                None if self.workers.is_some() && self.is_at_end() => return Ok(0),
                None => self.give_up(Vec::new()),
            }
        }
    }
}

/// A stream, cut wherever a member may begin.
struct Pieces<R> {
    reader: BufReader<R>,
    /// Read, and not given out. A member begins here if all before were members.
    ahead: Vec<u8>,
    /// How far `ahead` was searched.
    searched: usize,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(BUFFER, reader);
        Self { reader, ahead: Vec::new(), searched: 1, ended: false }
    }

    /// The bytes up to where the next member may begin, or to the end; `None` if there are none, or if
    /// they are too many.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(cut) = begins(&self.ahead, self.searched) {
                let rest = self.ahead.split_off(cut);
                self.searched = 1;
                return Ok(Some(mem::replace(&mut self.ahead, rest)));
            }
            // A beginning may be cut in two.
            self.searched = self.ahead.len().saturating_sub(MAGIC.len()).max(1);
            if self.ended {
                let last = mem::take(&mut self.ahead);
                return Ok(Some(last).filter(|last| !last.is_empty()));
            }
            if self.ahead.len() >= MOST_COMPRESSED {
                return Ok(None);
            }
            let before = self.ahead.len();
            (&mut self.reader).take(BUFFER as u64).read_to_end(&mut self.ahead)?;
            self.ended = self.ahead.len() - before < BUFFER;
        }
    }

    fn unread(&self) -> &[u8] {
        &self.ahead
    }

    fn is_at_end(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }
}

/// Where, from `from` on, a member may begin.
fn begins(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let found = from + bytes.get(from..)?.iter().position(|byte| *byte == MAGIC[0])?;
        match bytes.get(found..found + MAGIC.len() + 1)? {
            [a, b, c, flags] if [*a, *b, *c] == MAGIC && flags & RESERVED_FLAGS == 0 => return Some(found),
            _ => from = found + 1,
        }
    }
}

/// Threads that decompress pieces.
struct Workers {
    jobs: Sender<Job>,
    count: usize,
}

struct Job {
    piece: Arc<Vec<u8>>,
    content: Sender<Option<Vec<u8>>>,
}

impl Workers {
    /// They end when this is dropped.
    fn start() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut decompressor = Decompressor::new();
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(job) = next() {
                    // Whoever gave up does not wait for it any more.
                    let _ = job.content.send(member(&mut decompressor, &job.piece));
                }
            });
        }
        Self { jobs, count }
    }

    fn count(&self) -> usize {
        self.count
    }

    fn decompress(&self, piece: Arc<Vec<u8>>) -> Receiver<Option<Vec<u8>>> {
        let (content, receiver) = channel();
        // If all threads have died, the receiver says so.
        let _ = self.jobs.send(Job { piece, content });
        receiver
    }
}

/// The content of `piece` if that is one whole member, and not too large.
fn member(decompressor: &mut Decompressor, piece: &[u8]) -> Option<Vec<u8>> {
    let body = header_length(piece)?;
    let end = piece.len().checked_sub(TRAILER).filter(|end| *end >= body)?;
    let (checksum, length) = piece[end..].split_at(4);
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    if length > MOST_CONTENT {
        return None;
    }
    let mut content = vec![0; length];
    let written = decompressor.deflate_decompress(&piece[body..end], &mut content).ok()?;
    let is_whole = written == length && libdeflater::crc32(&content).to_le_bytes() == checksum;
    is_whole.then_some(content)
}

/// Length of the header, with its optional fields (RFC 1952 §2.3).
fn header_length(member: &[u8]) -> Option<usize> {
    const HEADER_CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;

    let flags = *member.get(3)?;
    if !member.starts_with(&MAGIC) || flags & RESERVED_FLAGS != 0 {
        return None;
    }
    let mut length = HEADER;
    if flags & EXTRA != 0 {
        let extra = member.get(length..length + 2)?;
        length += 2 + usize::from(u16::from_le_bytes(extra.try_into().ok()?));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            length += member.get(length..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & HEADER_CRC != 0 {
        length += 2;
    }
    Some(length).filter(|length| *length <= member.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Stored blocks only: what is in `content` is in the stream, too.
    fn stored(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn text(number: usize, length: usize) -> Vec<u8> {
        format!("line {number}\n").into_bytes().into_iter().cycle().take(length).collect()
    }

    fn read(decoder: &mut impl Read) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut bytes = Vec::new();
        let error = decoder.read_to_end(&mut bytes).err();
        (bytes, error.map(|error| error.kind()))
    }

    /// What we read is what another decoder reads; whether threads did it all.
    #[track_caller]
    fn agrees(stream: &[u8]) -> bool {
        let mut ours = Gunzip::new(stream);
        let (bytes, error) = read(&mut ours);
        let (expected, expected_error) = read(&mut MultiGzDecoder::new(stream));
        assert!(bytes == expected, "{} bytes instead of {}", bytes.len(), expected.len());
        assert_eq!(error, expected_error);
        ours.serial.is_none()
    }

    #[test]
    fn members_are_decompressed_by_threads() {
        let members: Vec<u8> = (0..40).flat_map(|n| gzip(&text(n, 100_000 + n))).collect();
        assert!(agrees(&members));
        assert!(agrees(&gzip(b"")));
        assert!(agrees(&[gzip(b""), gzip(b"x"), gzip(b"")].concat()));
        assert!(!agrees(&[]), "nothing is no gzip");
    }

    #[test]
    fn headers_may_have_all_their_fields() {
        let mut builder = GzBuilder::new().filename("name").comment("comment").extra(b"extra".to_vec());
        builder = builder.mtime(7);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        let member = encoder.finish().unwrap();
        assert!(agrees(&[member.clone(), gzip(b"more"), member].concat()));
    }

    #[test]
    fn a_single_large_member_is_decompressed_as_usual() {
        let mut noise = 1u32;
        let mut content = text(0, 8 << 20);
        for byte in &mut content {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (noise >> 24) as u8;
        }
        assert!(!agrees(&gzip(&content)));
        assert!(!agrees(&gzip(&text(0, MOST_CONTENT + 1))), "it is small, but holds much");
    }

    #[test]
    fn a_member_inside_a_member_is_content() {
        let inner = gzip(&text(1, 5000));
        let outer = stored(&[inner.clone(), text(2, 1000), inner].concat());
        assert!(!agrees(&[gzip(b"before"), outer.clone(), gzip(b"after")].concat()));
        assert!(!agrees(&outer));
    }

    #[test]
    fn damage_is_found_as_by_others() {
        let whole: Vec<u8> = (0..5).flat_map(|n| gzip(&text(n, 10_000))).collect();
        let member = whole.len() / 5;
        for length in [1, 5, 17, member - 1, member, member + 9, whole.len() - 1] {
            agrees(&whole[..length]);
        }
        for (at, bits) in [(0, 1), (3, 0x40), (12, 0xff), (member - 1, 1), (2 * member + 20, 4)] {
            let mut damaged = whole.clone();
            damaged[at] ^= bits;
            agrees(&damaged);
        }
        agrees(&[whole.as_slice(), b"garbage"].concat());
        agrees(&[whole.as_slice(), &[0; 100]].concat());
    }

    #[test]
    fn who_stops_reading_stops_the_threads() {
        let members: Vec<u8> = (0..40).flat_map(|n| gzip(&text(n, 100_000))).collect();
        let mut decoder = Gunzip::new(members.as_slice());
        assert_eq!(decoder.read(&mut [0; 10]).unwrap(), 10);
    }

    proptest! {
        #[test]
        fn any_stream_reads_as_with_another_decoder(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..3000)), 0..8),
            cut in any::<prop::sample::Index>(),
            flip in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let compressed = |(store, content): &(bool, Vec<u8>)| match store {
                true => stored(&[MAGIC.as_slice(), &[0], content, &MAGIC].concat()),
                false => gzip(content),
            };
            let mut stream: Vec<u8> = parts.iter().flat_map(compressed).collect();
            agrees(&stream);
            if !stream.is_empty() {
                if let Some(flip) = flip {
                    let at = flip.index(stream.len());
                    stream[at] ^= 1;
                }
                agrees(&stream[..cut.index(stream.len())]);
            }
        }
    }
}
