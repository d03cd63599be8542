//! The threads that compress members, for all layers that a process makes.
//!
//! However many layers are made at the same time, there are only so many threads, and only so many
//! members on their way through them: that bounds the memory.

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender, sync_channel},
    },
    thread::{self, available_parallelism},
};

use super::{Compression, Member, encode::Encoder, known::KnownMembers};

/// More threads than this compress faster than one layer can be read and hashed.
const MOST_SHARED: usize = 16;

/// Threads that compress. Clones share them; they start with the first member and end with the last clone.
#[derive(Clone)]
pub struct Workers(Arc<Pool>);

struct Pool {
    count: NonZeroUsize,
    /// To the threads, once there are any.
    jobs: OnceLock<Sender<Job>>,
    places: Arc<Places>,
}

impl Workers {
    /// That many threads of their own.
    pub fn new(count: NonZeroUsize) -> Self {
        let places = Arc::new(Places { free: Mutex::new(2 * count.get() + 2), freed: Condvar::new() });
        Self(Arc::new(Pool { count, jobs: OnceLock::new(), places }))
    }

    /// The threads that all layers of this process share: one for each processor.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Workers> = OnceLock::new();
        let start = || {
            let most = NonZeroUsize::new(MOST_SHARED).unwrap_or(NonZeroUsize::MIN);
            Self::new(available_parallelism().unwrap_or(NonZeroUsize::MIN).min(most))
        };
        SHARED.get_or_init(start).clone()
    }

    /// A place for a member, if one is free.
    pub(super) fn try_place(&self) -> Option<Place> {
        let mut free = self.0.places.lock();
        *free = free.checked_sub(1)?;
        Some(Place(Arc::clone(&self.0.places)))
    }

    /// Waits for a place. Only for who has none: who waits while he holds one may wait for himself.
    pub(super) fn place(&self) -> Place {
        let places = &self.0.places;
        let mut free = places.lock();
        while *free == 0 {
            free = places.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Place(Arc::clone(places))
    }

    /// Has a member compressed, or found.
    pub(super) fn compress(
        &self,
        place: Place,
        content: Arc<Vec<u8>>,
        compression: Compression,
        known: Option<Arc<dyn KnownMembers>>,
    ) -> io::Result<Pending> {
        let (done, compressed) = sync_channel(1);
        let jobs = match self.0.jobs.get() {
            Some(jobs) => jobs,
            None => {
                let started = self.start()?;
                self.0.jobs.get_or_init(|| started)
            }
        };
        let job = Job { content, compression, known, done };
        jobs.send(job).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Pending { compressed, _place: place })
    }

    fn start(&self) -> io::Result<Sender<Job>> {
        let (to_workers, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..self.0.count.get() {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name("compress".to_owned()).spawn(move || work(&jobs))?;
        }
        Ok(to_workers)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.0.count)
    }
}

/// Members that may be on their way at the same time.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have one member on its way.
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.freed.notify_one();
    }
}

/// A member on its way.
pub(super) struct Pending {
    compressed: Receiver<io::Result<Compressed>>,
    _place: Place,
}

impl Pending {
    pub(super) fn wait(self) -> io::Result<Compressed> {
        self.compressed.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }
}

/// A member that has arrived.
pub(super) struct Compressed {
    pub(super) bytes: Vec<u8>,
    /// Its description, where members are to be known again.
    pub(super) member: Option<Member>,
}

struct Job {
    content: Arc<Vec<u8>>,
    compression: Compression,
    known: Option<Arc<dyn KnownMembers>>,
    done: SyncSender<io::Result<Compressed>>,
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    let mut encoder: Option<(Compression, Encoder)> = None;
    while let Some(job) = next(jobs) {
        // Nobody waits for the result once another member of the layer has failed.
        let _ = job.done.send(job.run(&mut encoder));
    }
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Job {
    /// `encoder` is the thread's, made anew where layers of different compressions alternate.
    fn run(&self, encoder: &mut Option<(Compression, Encoder)>) -> io::Result<Compressed> {
        let Some(known) = &self.known else {
            return Ok(Compressed { bytes: self.encode(encoder)?, member: None });
        };
        let content = blake3::hash(&self.content);
        let bytes = match known.find(&content) {
            Some(bytes) => bytes,
            None => self.encode(encoder)?,
        };
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let member = Some(Member { content, compressed: blake3::hash(&bytes), length });
        Ok(Compressed { bytes, member })
    }

    fn encode(&self, encoder: &mut Option<(Compression, Encoder)>) -> io::Result<Vec<u8>> {
        let encoder = match encoder {
            Some((compression, encoder)) if *compression == self.compression => encoder,
            other => &mut other.insert((self.compression, Encoder::new(self.compression)?)).1,
        };
        encoder.member(&self.content)
    }
}
