//! Opening a context: from what was asked for to a Dockerfile and a snapshot of files.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use archway_dockerfile::{ast::SourceText, ignore::IgnorePatterns};
use archway_engine::StepError;
use archway_graph::{BuildArgs, Warning};
use archway_oci::{Digest, reference::ImageLocation};
use archway_remote::{Credentials, GitSource, GitUrl, HttpSource, Times, git::Revision, redacted};
use archway_report::Event;
use archway_source::{Kind, Snapshot, SourceError};
use archway_store::PendingSnapshot;

use super::{
    ContextSpec, DockerfileSpec,
    archive::{self, StreamError, Streamed},
    bundle,
};
use crate::{Context, Error, error::DockerfileConflict, plan, request::BuildRequest};

/// The name of the Dockerfile where none is given.
const DOCKERFILE: &str = "Dockerfile";
/// What a file is called that is all of a context.
pub(super) const WHOLE: &str = "context";
/// The build argument that sets the time of files.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Its value if it is to be the time of the context.
const OF_CONTEXT: &str = "context";
/// The build argument that keeps `.git` of a context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// A context that can be read. What was made for it is removed when it is dropped.
pub(crate) struct Opened {
    /// The Dockerfile.
    pub(crate) dockerfile: SourceText,
    files: Files,
    /// When it was made, in seconds since 1970, where it tells: the commit of a repository, what a server says
    /// of a file, the newest file of an archive.
    time: Option<i64>,
    /// Where it was found.
    pub(crate) origin: ContextOrigin,
    _made: Vec<PendingSnapshot>,
}

/// Where a context was found, and what was there.
pub(crate) enum ContextOrigin {
    /// On this machine, or on standard input.
    Here,
    /// In a repository.
    Repository { source: GitSource, revision: Revision },
    /// Behind a URL; the file is what was there.
    Download { url: String, file: PathBuf },
    /// In a source bundle, whose manifest has this digest.
    Bundle { location: ImageLocation, digest: Digest },
}

/// The files of a context.
enum Files {
    /// The user's own, looked at when they are needed.
    Directory {
        path: PathBuf,
        /// The Dockerfile, whose own `.dockerignore` wins.
        dockerfile: Option<PathBuf>,
    },
    /// Fetched: `.dockerignore` does not apply, as in BuildKit.
    Snapshot(Arc<Snapshot>),
}

impl Opened {
    /// The build arguments, with the time of the context as `SOURCE_DATE_EPOCH` if that is asked for. A context
    /// without one leaves the argument empty, and something to tell the user.
    pub(crate) fn dated(&self, build_args: &BuildArgs) -> (BuildArgs, Option<Warning>) {
        let mut build_args = build_args.clone();
        if build_args.get(SOURCE_DATE_EPOCH) != Some(OF_CONTEXT) {
            return (build_args, None);
        }
        build_args.set(SOURCE_DATE_EPOCH, self.time.map(|time| time.to_string()).unwrap_or_default());
        let warning = self.time.is_none().then(|| Warning {
            message: "SOURCE_DATE_EPOCH=context has no effect: the context does not tell when it was made"
                .to_owned(),
            span: None,
            hint: Some("repositories, downloads and archives do".to_owned()),
        });
        (build_args, warning)
    }

    /// The files, as they are at this moment and from now on.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        match &self.files {
            Files::Directory { path, dockerfile } => {
                let snapshot = plan::scan(path.clone(), dockerfile.clone()).await?;
                Ok(Arc::new(snapshot))
            }
            Files::Snapshot(snapshot) => Ok(snapshot.clone()),
        }
    }
}

/// Which source is wanted, and what is needed to get it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The build context.
    pub context: &'a ContextSpec,
    /// The Dockerfile.
    pub dockerfile: &'a DockerfileSpec,
    /// Build arguments, some of which are for the context.
    pub build_args: &'a BuildArgs,
    /// Secrets for git repositories and downloads.
    pub credentials: &'a Credentials,
}

impl<'a> From<&'a BuildRequest> for Wanted<'a> {
    fn from(request: &'a BuildRequest) -> Self {
        let BuildRequest { context, dockerfile, build_args, credentials, .. } = request;
        Self { context, dockerfile, build_args, credentials }
    }
}

/// Opens the context of a request, and reads its Dockerfile.
pub(crate) async fn open(context: &Context, request: &BuildRequest) -> Result<Opened, Error> {
    open_wanted(context, request.into()).await
}

/// The same for a source that nothing is built from yet.
pub(super) async fn open_wanted(context: &Context, request: Wanted<'_>) -> Result<Opened, Error> {
    let opening = Opening { context, request };
    let what = match request.context {
        // There is nothing to wait for.
        ContextSpec::Directory(_) => return opening.open().await,
        ContextSpec::Git(url) => format!("fetch {}", GitSource::from(url.clone()).describe()),
        ContextSpec::Url(url) => format!("download {}", redacted(url)),
        ContextSpec::Stdin => "read standard input".to_owned(),
        ContextSpec::Bundle(location) => format!("fetch {}", bundle::describe(location)),
    };
    context.events.send(Event::ContextStarted { what });
    let since = Instant::now();
    let opened = opening.open().await;
    context.events.send(Event::ContextFinished { succeeded: opened.is_ok(), duration: since.elapsed() });
    opened
}

fn fetching(what: String, error: StepError) -> Error {
    Error::Fetch { what, source: Box::new(error) }
}

/// Whose the files of a context are in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owners {
    Root,
    /// The archive's.
    Kept,
}

/// The Dockerfile that a context comes with.
enum Own {
    /// None, but for its files.
    None,
    /// One beside the files.
    Beside(SourceText),
    /// The context is one.
    Whole(SourceText),
}

struct Opening<'a> {
    context: &'a Context,
    request: Wanted<'a>,
}

impl Opening<'_> {
    async fn open(&self) -> Result<Opened, Error> {
        match self.request.context {
            ContextSpec::Directory(path) => self.directory(path).await,
            ContextSpec::Git(url) => self.git(url).await,
            ContextSpec::Url(url) => self.url(url).await,
            ContextSpec::Stdin => self.stdin().await,
            ContextSpec::Bundle(location) => {
                let bundle::Unpacked { made, dockerfile, digest } =
                    bundle::read(self.context, location).await?;
                let snapshot = scan(made.delta().to_owned(), Owners::Kept).await?;
                let own = dockerfile.map_or(Own::None, Own::Beside);
                let origin = ContextOrigin::Bundle { location: location.clone(), digest };
                Ok(Opened { origin, ..self.fetched(snapshot, own, vec![made]).await? })
            }
        }
    }

    async fn git(&self, url: &GitUrl) -> Result<Opened, Error> {
        let mut source = GitSource::from(url.clone());
        self.adjust(&mut source, url.times.is_some());
        let fetched = self.context.engine.checkout(self.request.credentials, &source).await;
        let (fetched, revision) = fetched.map_err(|error| fetching(source.describe(), error))?;
        // Then all of it has that time.
        let time = (source.times == Times::Commit).then(|| modified(&fetched.directory)).flatten();
        let snapshot = scan(fetched.directory, Owners::Root).await?;
        let origin = ContextOrigin::Repository { source, revision };
        Ok(Opened { time, origin, ..self.fetched(snapshot, Own::None, Vec::new()).await? })
    }

    /// Build arguments that are for the context.
    fn adjust(&self, source: &mut GitSource, has_times: bool) {
        let argument = |name: &str| self.request.build_args.get(name);
        if !has_times && argument(SOURCE_DATE_EPOCH).is_some_and(|value| !value.is_empty()) {
            source.times = Times::Commit;
        }
        let keeps = matches!(argument(KEEP_GIT_DIR), Some("1" | "t" | "T" | "true" | "True" | "TRUE"));
        source.keep_git_dir |= keeps;
    }

    async fn directory(&self, path: &Path) -> Result<Opened, Error> {
        if !path.is_dir() {
            return Err(Error::ContextMissing { path: path.to_owned() });
        }
        let (text, dockerfile) = match self.request.dockerfile {
            DockerfileSpec::Default => self.local(path.join(DOCKERFILE))?,
            DockerfileSpec::File(file) => self.local(file.clone())?,
            DockerfileSpec::Stdin => (self.text_of_stdin().await?, None),
            DockerfileSpec::Url(url) => (self.text_of_url(url).await?, None),
        };
        let files = Files::Directory { path: path.to_owned(), dockerfile };
        Ok(Opened { dockerfile: text, files, time: None, origin: ContextOrigin::Here, _made: Vec::new() })
    }

    fn local(&self, path: PathBuf) -> Result<(SourceText, Option<PathBuf>), Error> {
        Ok((plan::read_dockerfile(&path)?, Some(path)))
    }

    async fn url(&self, url: &str) -> Result<Opened, Error> {
        let source = HttpSource { url: url.to_owned(), name: WHOLE.to_owned(), checksum: None };
        let engine = &self.context.engine;
        let fetched = engine.download(self.request.credentials, &self.context.events, &source).await;
        let directory = fetched.map_err(|error| fetching(redacted(url), error))?.directory;
        let file = directory.join(WHOLE);
        let opened = File::open(&file).map_err(Error::read(&file))?;
        // A server that does not say leaves 1970.
        let told = modified(&file).filter(|time| *time > 0);
        let (streamed, made) = self.take(opened, redacted(url), false).await?;
        let origin = ContextOrigin::Download { url: url.to_owned(), file };
        match streamed {
            Streamed::Archive => {
                let snapshot = scan(made.delta().to_owned(), Owners::Kept).await?;
                let time = told.or_else(|| newest(&snapshot));
                Ok(Opened { time, origin, ..self.fetched(snapshot, Own::None, vec![made]).await? })
            }
            Streamed::Nothing => Err(Error::EmptyContext { what: redacted(url) }),
            // A page of the repository's host is no Dockerfile, and easily taken for its repository.
            Streamed::Text(text) if text.trim_ascii_start().starts_with(b"<") => {
                Err(Error::ContextIsPage { url: redacted(url) })
            }
            Streamed::Text(text) => {
                let snapshot = scan(directory, Owners::Root).await?;
                let whole = Own::Whole(plan::text(&redacted(url), &text)?);
                Ok(Opened { time: told, origin, ..self.fetched(snapshot, whole, Vec::new()).await? })
            }
        }
    }

    async fn stdin(&self) -> Result<Opened, Error> {
        if *self.request.dockerfile == DockerfileSpec::Stdin {
            return Err(DockerfileConflict::BothStdin.into());
        }
        let (streamed, made) = self.take(io::stdin(), "standard input".to_owned(), true).await?;
        let own = match streamed {
            Streamed::Archive => Own::None,
            Streamed::Nothing => return Err(Error::EmptyContext { what: "standard input".to_owned() }),
            Streamed::Text(text) => Own::Whole(plan::text(DOCKERFILE, &text)?),
        };
        let snapshot = scan(made.delta().to_owned(), Owners::Kept).await?;
        let time = newest(&snapshot);
        Ok(Opened { time, ..self.fetched(snapshot, own, vec![made]).await? })
    }

    /// A context that is not the user's own, with the Dockerfile that was asked for.
    async fn fetched(
        &self,
        snapshot: Snapshot,
        own: Own,
        made: Vec<PendingSnapshot>,
    ) -> Result<Opened, Error> {
        let text = match (self.request.dockerfile, own) {
            (DockerfileSpec::Default, Own::Whole(text) | Own::Beside(text)) => text,
            (_, Own::Whole(_)) => return Err(DockerfileConflict::ContextIsDockerfile.into()),
            (DockerfileSpec::Default, Own::None) => inside(&snapshot, Path::new(DOCKERFILE))?,
            (DockerfileSpec::File(path), _) if path.is_absolute() => plan::read_dockerfile(path)?,
            (DockerfileSpec::File(path), _) => inside(&snapshot, path)?,
            (DockerfileSpec::Stdin, _) => self.text_of_stdin().await?,
            (DockerfileSpec::Url(url), _) => self.text_of_url(url).await?,
        };
        let files = Files::Snapshot(Arc::new(snapshot));
        Ok(Opened { dockerfile: text, files, time: None, origin: ContextOrigin::Here, _made: made })
    }

    async fn text_of_stdin(&self) -> Result<SourceText, Error> {
        match self.take(io::stdin(), "standard input".to_owned(), true).await?.0 {
            Streamed::Text(text) => plan::text(DOCKERFILE, &text),
            Streamed::Nothing => plan::text(DOCKERFILE, b""),
            Streamed::Archive => Err(DockerfileConflict::StdinIsArchive.into()),
        }
    }

    async fn text_of_url(&self, url: &str) -> Result<SourceText, Error> {
        let source = HttpSource::new(url, None);
        let engine = &self.context.engine;
        let fetched = engine.download(self.request.credentials, &self.context.events, &source).await;
        let path = fetched.map_err(|error| fetching(redacted(url), error))?.directory.join(&source.name);
        plan::text(&redacted(url), &plan::read_bounded(&path).map_err(Error::read(&path))?)
    }

    /// Takes a stream as an archive or a text. Waiting for a person who types cannot be cancelled, so
    /// that is done by a thread that nobody waits for at the end.
    async fn take(
        &self,
        stream: impl io::Read + Send + 'static,
        what: String,
        may_wait: bool,
    ) -> Result<(Streamed, PendingSnapshot), Error> {
        let made = self.context.store().snapshots().begin()?;
        let ownership = self.context.engine.ownership;
        let failed = move |error| match error {
            StreamError::Read(source) => Error::Read { path: what.clone().into(), source },
            StreamError::Unpack(source) => {
                Error::UnpackContext { what: what.clone(), source: Box::new(source) }
            }
        };
        let work = move || match archive::take(stream, made.delta(), ownership) {
            Ok(streamed) => Ok((streamed, made)),
            Err(error) => Err(failed(error)),
        };
        if !may_wait {
            return tokio::task::spawn_blocking(work).await.expect("unpacking does not panic");
        }
        let (done, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || done.send(work()));
        end.await.expect("unpacking does not panic")
    }
}

/// Seconds since 1970.
fn modified(path: &Path) -> Option<i64> {
    Some(std::fs::symlink_metadata(path).ok()?.mtime())
}

/// The time of the newest file, in seconds since 1970.
fn newest(snapshot: &Snapshot) -> Option<i64> {
    let files = snapshot.entries().iter().filter(|entry| entry.kind == Kind::File);
    files.map(|entry| entry.stat.mtime_ns.div_euclid(1_000_000_000)).max()
}

async fn scan(directory: PathBuf, owners: Owners) -> Result<Snapshot, Error> {
    let scanned = tokio::task::spawn_blocking(move || match owners {
        Owners::Root => Snapshot::scan(&directory, &IgnorePatterns::default()),
        Owners::Kept => Snapshot::scan_with_owners(&directory),
    });
    Ok(scanned.await.expect("scanning does not panic")?)
}

/// A Dockerfile in a context. Links do not lead out of it.
fn inside(snapshot: &Snapshot, path: &Path) -> Result<SourceText, Error> {
    let name = path.to_string_lossy();
    let found = match snapshot.select(&[&name]) {
        Err(SourceError::SourceMissing { .. }) if path.ends_with(DOCKERFILE) => {
            // So is a file on this machine found.
            let lower = path.with_file_name(DOCKERFILE.to_lowercase());
            snapshot.select(&[lower.to_string_lossy()])
        }
        found => found,
    };
    let missing = |kind: io::ErrorKind| Error::ReadDockerfile { path: path.to_owned(), source: kind.into() };
    let selection = found.map_err(|error| match error {
        SourceError::SourceMissing { .. } => missing(io::ErrorKind::NotFound),
        error => error.into(),
    })?;
    let [found] = selection.matches.as_slice() else { return Err(missing(io::ErrorKind::NotFound)) };
    let entry = snapshot.matched(found);
    if entry.is_directory() {
        return Err(missing(io::ErrorKind::IsADirectory));
    }
    if entry.stat.size > archway_dockerfile::MAX_TEXT_BYTES as u64 {
        return Err(missing(io::ErrorKind::FileTooLarge));
    }
    plan::text(&name, &snapshot.read_verified(entry)?)
}
