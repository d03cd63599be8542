//! The sender's side of BuildKit's file transfer (`fsutil`).
//!
//! The sender says what there is (`STAT`, ended by an empty one), and meanwhile the receiver asks (`REQ`) for the content
//! of files, by their position, that it does not have. It comes in pieces (`DATA`), ended by an empty one; pieces of
//! several files are mixed. When the receiver has all, it says `FIN`, and the sender says it, too. Either side may
//! say `ERR` instead.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Arc, Mutex, atomic::Ordering},
};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    Sent,
    tree::{Stats, Tree},
};
use crate::{
    proto::fsutil::{Packet, packet::PacketType},
    session::problem::Problems,
};

/// Files that are read at the same time.
const READERS: usize = 4;
/// Packets that are read and not yet sent.
const QUEUED: usize = 16;

/// Sends a tree as far as it is asked for.
pub(super) fn send(
    tree: Tree,
    requests: Streaming<Packet>,
    sent: Arc<Sent>,
    problems: Problems,
) -> BoxStream<'static, Result<Packet, Status>> {
    let tree = Arc::new(tree);
    let (answers, mut queue) = mpsc::channel(QUEUED);
    let readers = Arc::new(Readers {
        state: Mutex::new(State { asked: vec![false; tree.len()], waiting: VecDeque::new(), running: 0 }),
        tree: tree.clone(),
        sent,
        problems,
    });
    tokio::spawn(answer(requests, readers, answers));
    let stats = Stats::of(tree)
        .map(|stat| packet(PacketType::PacketStat, Packet { stat: Some(stat), ..Packet::default() }));
    let end = packet(PacketType::PacketStat, Packet::default());
    let stats = stream::iter(stats.chain([end]).map(Ok));
    let answers = stream::poll_fn(move |cx| queue.poll_recv(cx));
    stream::select(stats, answers).boxed()
}

fn packet(kind: PacketType, content: Packet) -> Packet {
    Packet { r#type: kind.into(), ..content }
}

type Answers = mpsc::Sender<Result<Packet, Status>>;

/// Reads what the receiver says, to the end.
async fn answer(mut requests: Streaming<Packet>, readers: Arc<Readers>, answers: Answers) {
    loop {
        let request = tokio::select! {
            // Nobody takes the answers any more.
            () = answers.closed() => return readers.stop(),
            request = requests.message() => request,
        };
        let Ok(Some(request)) = request else { return readers.stop() };
        match request.r#type() {
            PacketType::PacketReq => {
                if let Err(status) = readers.ask(request.id, &answers) {
                    readers.stop();
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            }
            PacketType::PacketFin => {
                let fin = packet(PacketType::PacketFin, Packet::default());
                let _ = answers.send(Ok(fin)).await;
                break;
            }
            // Its side tells why.
            PacketType::PacketErr => {
                readers.stop();
                let told = String::from_utf8_lossy(&request.data).into_owned();
                let _ = answers.send(Err(Status::aborted(told))).await;
                return;
            }
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
    // The stream of answers ends now, that of requests when the receiver has noticed.
    drop(answers);
    while let Ok(Some(_)) = requests.message().await {}
}

/// Reads files that were asked for, a few at a time.
struct Readers {
    state: Mutex<State>,
    tree: Arc<Tree>,
    sent: Arc<Sent>,
    problems: Problems,
}

struct State {
    /// By position, whether it was asked for.
    asked: Vec<bool>,
    /// Positions of files to be read.
    waiting: VecDeque<usize>,
    /// How many threads read.
    running: usize,
}

impl Readers {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Reads a file as soon as it is its turn.
    fn ask(self: &Arc<Self>, id: u32, answers: &Answers) -> Result<(), Status> {
        let wrong = || Status::invalid_argument(format!("there is no file {id} to be asked for"));
        let index = usize::try_from(id).map_err(|_| wrong())?;
        let mut state = self.state();
        let asked = state.asked.get_mut(index).filter(|asked| !**asked && self.tree.is_file(index));
        *asked.ok_or_else(wrong)? = true;
        state.waiting.push_back(index);
        if state.running < READERS {
            state.running += 1;
            let (readers, answers) = (self.clone(), answers.clone());
            tokio::task::spawn_blocking(move || readers.run(&answers));
        }
        Ok(())
    }

    /// Lets the readers end after what they are reading.
    fn stop(&self) {
        self.state().waiting.clear();
    }

    /// Reads until nothing waits.
    fn run(&self, answers: &Answers) {
        loop {
            let index = {
                let mut state = self.state();
                let Some(index) = state.waiting.pop_front() else {
                    state.running -= 1;
                    return;
                };
                index
            };
            if self.read(index, answers).is_break() {
                self.stop();
            }
        }
    }

    fn read(&self, index: usize, answers: &Answers) -> ControlFlow<()> {
        let id = u32::try_from(index).unwrap_or(u32::MAX);
        let send = |answer| match answers.blocking_send(answer) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let data = |data| packet(PacketType::PacketData, Packet { id, data, ..Packet::default() });
        let result = self.tree.read(index, |piece| {
            self.sent.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            send(Ok(data(piece)))
        });
        match result {
            Ok(ControlFlow::Break(())) => ControlFlow::Break(()),
            Ok(ControlFlow::Continue(())) => {
                self.sent.files.fetch_add(1, Ordering::Relaxed);
                send(Ok(data(Vec::new())))
            }
            Err(error) => {
                let status = self.problems.refuse(error);
                let told = Packet { data: status.message().as_bytes().to_vec(), ..Packet::default() };
                send(Ok(packet(PacketType::PacketErr, told)))?;
                send(Err(status))?;
                ControlFlow::Break(())
            }
        }
    }
}
