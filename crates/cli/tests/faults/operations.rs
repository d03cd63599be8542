//! What Archway is doing when a registry fails.

use std::sync::OnceLock;

use archway_testkit::{Cli, FaultProxy, cli::Run};

use crate::place::{Repository, archway, registry};

/// What all caches of this program hold.
const CACHED: &str = "RUN echo made > /made\n";

/// One column of the table. Only what it is about goes through the failing registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `build --push` of two platforms.
    Push,
    /// A build whose base must be downloaded.
    Pull,
    /// A build with `--cache-to`.
    CacheExport,
    /// A build with `--cache-from`, whose step reads what the cache has.
    CacheImport,
    /// `index create` of an image of another repository.
    IndexCreate,
    /// `copy` of an index, between two names of the failing registry: it looks like two, so bytes move.
    Copy,
}

impl Operation {
    pub(crate) const ALL: [Self; 6] =
        [Self::Push, Self::Pull, Self::CacheExport, Self::CacheImport, Self::IndexCreate, Self::Copy];

    /// How the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Push => "`build --push`",
            Self::Pull => "pull of a base",
            Self::CacheExport => "`--cache-to`",
            Self::CacheImport => "`--cache-from`",
            Self::IndexCreate => "`index create`",
            Self::Copy => "`copy`",
        }
    }

    /// Does it with an empty store. `1` in `repository` is the tag that moves when it succeeds.
    pub(crate) fn run(self, proxy: &FaultProxy, repository: &Repository) -> (Cli, Run) {
        let cli = archway();
        let image = repository.image("1");
        let failing = |name: &str| format!("{}/{name}", proxy.host());
        let (base, far_base) = (registry().reference("busybox"), failing("busybox"));
        let run = match self {
            Self::Push => {
                let tag = failing(&format!("{}:1", repository.name));
                let dockerfile = format!("FROM {base}\nCOPY noise /noise\n");
                cli.write("noise", noise()).expect("the test's directory");
                build(&cli, &dockerfile, &["-t", &tag, "--platform=linux/amd64,linux/arm64"])
            }
            Self::Pull => {
                let dockerfile = format!("FROM {far_base}\nRUN echo made > /made\n");
                build(&cli, &dockerfile, &["-t", &image])
            }
            Self::CacheExport => {
                let cache = format!("type=registry,mode=max,ref={}:cache", failing(&repository.name));
                build(&cli, &format!("FROM {base}\n{CACHED}"), &["-t", &image, "--cache-to", &cache])
            }
            Self::CacheImport => {
                let cache = format!("type=registry,ref={}:cache", failing(cache()));
                let dockerfile = format!("FROM {base}\n{CACHED}RUN cat /made > /read\n");
                build(&cli, &dockerfile, &["-t", &image, "--cache-from", &cache])
            }
            Self::IndexCreate => {
                let tag = failing(&format!("{}:1", repository.name));
                cli.run(["index", "create", "-t", &tag, &far_base, "--platform=linux/amd64"])
                    .expect("archway starts")
            }
            Self::Copy => {
                let source = failing(&format!("{}:1", cache()));
                let destination = format!("{}/{}:1", other_name(proxy), repository.name);
                cli.run(["copy", &source, &destination]).expect("archway starts")
            }
        };
        (cli, run)
    }
}

/// The same proxy as another registry.
pub(crate) fn other_name(proxy: &FaultProxy) -> String {
    proxy.address().to_string()
}

/// `archway build --push ARGUMENTS .`
pub(crate) fn build(cli: &Cli, dockerfile: &str, arguments: &[&str]) -> Run {
    cli.write("Dockerfile", dockerfile).expect("the test's directory");
    let all = [&["build", "--progress=plain", "--push"], arguments, &["."]].concat();
    cli.run(all).expect("archway starts")
}

/// What does not get smaller: an upload of it is longer than what a socket buffers.
fn noise() -> Vec<u8> {
    let mut random = archway_testkit::Random::new(1);
    (0..2 << 20).map(|_| random.below(256) as u8).collect()
}

/// A repository in the registry that does not fail: an image of one platform as `1`, and a build cache.
pub(crate) fn cache() -> &'static str {
    static CACHE: OnceLock<Repository> = OnceLock::new();
    let repository = CACHE.get_or_init(|| {
        let repository = Repository::new();
        let dockerfile = format!("FROM {}\n{CACHED}", registry().reference("busybox"));
        let cache = format!("type=registry,mode=max,ref={}", repository.image("cache"));
        build(&archway(), &dockerfile, &["-t", &repository.image("1"), "--cache-to", &cache]).succeeded();
        repository
    });
    &repository.name
}
