//! The sender against a receiver that is made of the rules: random trees, random questions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    sync::Arc,
};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_source::{Snapshot, SourceError};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use super::{Files, Sent};
use crate::{
    proto::{
        files::{file_sync_client::FileSyncClient, file_sync_server::FileSyncServer},
        fsutil::{Packet, Stat, packet::PacketType},
    },
    session::{Directory, SessionError, problem::Problems},
};

/// A service, and what it counts and keeps.
struct Served {
    client: FileSyncClient<tonic::transport::Channel>,
    sent: Arc<Sent>,
    problems: Problems,
}

/// Lends a directory as `context` to a client on the other end of a pipe.
async fn serve(directory: Directory) -> Served {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (sent, problems) = (Arc::new(Sent::default()), Problems::default());
    let directories = BTreeMap::from([("context".to_owned(), directory)]);
    let files = Files::new(directories, sent.clone(), problems.clone());
    let incoming = futures_util::stream::once(std::future::ready(Ok::<_, std::io::Error>(ours)));
    let server = tonic::transport::Server::builder().add_service(FileSyncServer::new(files));
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut theirs = Some(TokioIo::new(theirs));
    let once = tower::service_fn(move |_| {
        std::future::ready(theirs.take().ok_or(std::io::ErrorKind::NotFound.into()) as std::io::Result<_>)
    });
    let channel =
        tonic::transport::Endpoint::from_static("http://model").connect_with_connector(once).await.unwrap();
    Served { client: FileSyncClient::new(channel), sent, problems }
}

fn ask(kind: PacketType, id: u32) -> Packet {
    Packet { r#type: kind.into(), id, ..Packet::default() }
}

/// What a receiver got.
#[derive(Default)]
struct Received {
    stats: Vec<Stat>,
    /// By position.
    content: HashMap<u32, Vec<u8>>,
}

/// Receives a directory; asks for the files that `wants` says as soon as it hears of them.
async fn receive(served: &mut Served, wants: impl Fn(&Stat) -> bool) -> Result<Received, Status> {
    let (questions, mut asked) = mpsc::unbounded_channel();
    let mut request = Request::new(futures_util::stream::poll_fn(move |cx| asked.poll_recv(cx)));
    request.metadata_mut().insert("dir-name", "context".parse().unwrap());
    let mut answers = served.client.diff_copy(request).await?.into_inner();
    let mut received = Received::default();
    let mut open = HashSet::new();
    let (mut all_told, mut said_fin, mut heard_fin) = (false, false, false);
    while let Some(packet) = answers.message().await? {
        assert!(!heard_fin, "nothing comes after the end");
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => {
                    let id = u32::try_from(received.stats.len()).unwrap();
                    // Nobody may be there to hear it: the sender ends when a file is not what it was.
                    if stat.mode & (1 << 31 | 1 << 27 | 1 << 25) == 0
                        && stat.linkname.is_empty()
                        && wants(&stat)
                    {
                        let _ = questions.send(ask(PacketType::PacketReq, id));
                        open.insert(id);
                    }
                    received.stats.push(stat);
                }
                None => all_told = true,
            },
            PacketType::PacketData if packet.data.is_empty() => {
                assert!(open.remove(&packet.id), "a file ends once");
                received.content.entry(packet.id).or_default();
            }
            PacketType::PacketData => {
                assert!(open.contains(&packet.id), "only what was asked for");
                received.content.entry(packet.id).or_default().extend(packet.data);
            }
            PacketType::PacketFin => heard_fin = true,
            PacketType::PacketErr => {
                return Err(Status::aborted(String::from_utf8(packet.data).unwrap()));
            }
            PacketType::PacketReq => panic!("a sender asks for nothing"),
        }
        if all_told && open.is_empty() && !said_fin {
            let _ = questions.send(ask(PacketType::PacketFin, 0));
            said_fin = true;
        }
    }
    assert!(heard_fin && all_told, "it ended early");
    Ok(received)
}

/// The rules for the order: names ascend in their directory, which is open at that time; nothing else is.
fn check_order(stats: &[Stat]) {
    let mut open: Vec<(&str, &str)> = vec![("", "")];
    let mut files = HashSet::new();
    for stat in stats {
        let (parent, name) = stat.path.rsplit_once('/').unwrap_or(("", &stat.path));
        while open.last().is_some_and(|(directory, _)| *directory != parent) {
            open.pop();
        }
        let (_, last) =
            open.last_mut().unwrap_or_else(|| panic!("{} comes when its directory is closed", stat.path));
        assert!(*last < name, "{} comes after {last}", stat.path);
        *last = name;
        let is_link = stat.mode & 1 << 27 != 0;
        if stat.mode & 1 << 31 != 0 {
            open.push((&stat.path, ""));
        } else if !is_link && stat.linkname.is_empty() {
            files.insert(stat.path.as_str());
        } else if !is_link {
            assert!(files.contains(stat.linkname.as_str()), "{} is another name of nothing", stat.path);
        }
    }
}

#[derive(Debug, Clone)]
enum Made {
    Directory,
    File(usize),
    Link(String),
    /// Another name of an earlier file.
    Name(usize),
}

fn trees() -> impl Strategy<Value = Vec<(Vec<usize>, Made)>> {
    let made = prop_oneof![
        3 => Just(Made::Directory),
        4 => (0_usize..300_000).prop_map(Made::File),
        4 => (0_usize..20).prop_map(Made::File),
        1 => "[a-c/.]{1,6}".prop_map(Made::Link),
        2 => (0_usize..20).prop_map(Made::Name),
    ];
    prop::collection::vec((prop::collection::vec(0_usize..NAMES.len(), 1..5), made), 0..24)
}

/// Names around the slash in the order of bytes.
const NAMES: [&str; 8] = ["a", "a-b", "a.b", "a0", "b", "!", "é", "a b"];

/// Makes what can be made of a list.
fn make(root: &Path, tree: &[(Vec<usize>, Made)]) {
    let mut files = Vec::new();
    for (number, (path, made)) in tree.iter().enumerate() {
        let path = path.iter().fold(root.to_owned(), |path, name| path.join(NAMES[*name]));
        if fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        let _ = match made {
            Made::Directory => fs::create_dir(&path),
            _ if path.symlink_metadata().is_ok() => Ok(()),
            Made::File(size) => {
                let bytes: Vec<u8> = (0..*size).map(|at| (at + number) as u8).collect();
                files.push(path.clone());
                fs::write(&path, bytes)
            }
            Made::Link(target) => symlink(target, &path),
            Made::Name(index) if files.is_empty() => fs::write(&path, index.to_string()),
            Made::Name(index) => fs::hard_link(&files[index % files.len()], &path),
        };
    }
}

fn snapshot(root: &Path) -> Directory {
    Directory::Snapshot(Arc::new(Snapshot::scan(root, &IgnorePatterns::default()).unwrap()))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_is_received_as_it_is(tree in trees(), every in 1_usize..4) {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), &tree);
        run(async {
            let mut served = serve(snapshot(directory.path())).await;
            let wants = |stat: &Stat| stat.path.len().is_multiple_of(every);
            let received = receive(&mut served, wants).await.unwrap();
            check_order(&received.stats);
            let mut bytes = 0;
            for (id, stat) in received.stats.iter().enumerate() {
                let real = directory.path().join(&stat.path);
                let metadata = real.symlink_metadata().unwrap();
                assert_eq!(stat.mode & 1 << 31 != 0, metadata.is_dir());
                assert_eq!(stat.mod_time, metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec());
                assert_eq!(stat.size, if metadata.is_dir() { 0 } else { metadata.len().cast_signed() });
                if metadata.is_symlink() {
                    assert_eq!(real.read_link().unwrap().to_str(), Some(&*stat.linkname));
                } else if !stat.linkname.is_empty() {
                    let first = directory.path().join(&stat.linkname).metadata().unwrap();
                    assert_eq!((first.dev(), first.ino()), (metadata.dev(), metadata.ino()));
                }
                let content = received.content.get(&u32::try_from(id).unwrap());
                let is_asked = metadata.is_file() && stat.linkname.is_empty() && wants(stat);
                assert_eq!(content.is_some(), is_asked, "{}", stat.path);
                if let Some(content) = content {
                    assert!(*content == fs::read(&real).unwrap(), "{}", stat.path);
                    bytes += content.len() as u64;
                }
            }
            let on_disk = fs::read_dir(directory.path()).unwrap().count();
            let told = received.stats.iter().filter(|stat| !stat.path.contains('/')).count();
            assert_eq!(told, on_disk);
            assert_eq!((served.sent.files(), served.sent.bytes()), (received.content.len() as u64, bytes));
        });
    }
}

#[test]
fn a_file_that_changed_since_the_scan_is_an_error_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "first").unwrap();
    fs::write(directory.path().join("b"), "fine").unwrap();
    let snapshot = snapshot(directory.path());
    fs::write(directory.path().join("a"), "another").unwrap();
    run(async {
        let mut served = serve(snapshot).await;
        let told = receive(&mut served, |_| true).await.err().unwrap();
        assert!(told.message().contains("`a` changed"), "{told}");
        let cause = served.problems.cause_of(&format!("error from sender: {}", told.message())).unwrap();
        assert!(
            matches!(&cause, SessionError::Source(SourceError::SourceChanged { path }) if path == "a"),
            "{cause}"
        );
    });
}

#[test]
fn only_what_is_there_can_be_asked_for_and_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("a")).unwrap();
    fs::write(directory.path().join("b"), "b").unwrap();
    for questions in [&[0][..], &[1, 1], &[2], &[u32::MAX]] {
        let snapshot = snapshot(directory.path());
        let status = run(async {
            let mut served = serve(snapshot).await;
            let mut packets: Vec<Packet> =
                questions.iter().map(|id| ask(PacketType::PacketReq, *id)).collect();
            packets.push(ask(PacketType::PacketFin, 0));
            let more = futures_util::stream::pending();
            let mut request =
                Request::new(futures_util::StreamExt::chain(futures_util::stream::iter(packets), more));
            request.metadata_mut().insert("dir-name", "context".parse().unwrap());
            let mut answers = served.client.diff_copy(request).await.unwrap().into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{questions:?} is wrong"),
                    Err(status) => break status,
                }
            }
        });
        assert_eq!(status.code(), Code::InvalidArgument, "{questions:?}");
    }
}

#[test]
fn what_was_not_lent_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = snapshot(directory.path());
    let status = run(async {
        let mut served = serve(snapshot).await;
        let mut request = Request::new(futures_util::stream::empty());
        request.metadata_mut().insert("dir-name", "/etc".parse().unwrap());
        served.client.diff_copy(request).await.err().unwrap()
    });
    assert!(status.code() == Code::NotFound && status.message().contains("`/etc`"), "{status}");
}
