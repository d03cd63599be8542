//! `RUN --mount`

use archway_dockerfile::{
    ast::{Run, Span},
    glob::literal,
    mount::{self as ast, MountKey},
};

use crate::{
    error::{LowerError, LowerProblem},
    mount::{Access, CacheMount, Mount, MountProblem, MountSource, NodePath, SecretVariable, Sharing},
    nearest::nearest,
    op::{ContextName, CopyOp, CopySource, NodeId, Op},
    path,
    selection::{Origin, Step},
    size,
    stage::StageBuilder,
};

/// Where the files of the build context that are mounted lie in a root file system of their own. It is no
/// `/`, so that a single file has a place, too.
const CONTEXT_COPY: &str = "/source";

/// Cache mounts whose id begins so are one for all platforms.
const SHARED_BY_PLATFORMS: &str = "shared:";

/// The build argument that keeps the cache mounts of projects apart, as in BuildKit.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// What all mounts of a RUN come to.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    /// Parents before what is in them, each target once.
    pub(super) mounts: Vec<Mount>,
    /// Secrets for the environment.
    pub(super) secret_env: Vec<SecretVariable>,
    /// The first ssh agent's socket.
    pub(super) ssh_socket: Option<String>,
}

/// Lowers the mounts of a RUN.
pub(super) fn lower(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    run: &Run,
) -> Result<Lowered, LowerError> {
    let mut lowered = Lowered::default();
    let (mut secrets, mut sockets) = (Vec::new(), Vec::new());
    for (mount, origin) in run.mounts.iter().zip(&step.mounts) {
        let options = Options::expand(builder, mount)?;
        let workdir = builder.state.workdir.clone();
        match options.kind {
            Kind::Bind | Kind::Cache | Kind::Tmpfs => {
                let mount = directory(builder, step, &options, origin.as_ref(), &workdir)?;
                lowered.mounts.push(mount);
            }
            Kind::Secret => {
                let (file, variable) = secret(&options, &workdir)?;
                secrets.extend(file);
                lowered.secret_env.extend(variable);
            }
            Kind::Ssh => sockets.push(ssh(&options, &workdir, sockets.len())?),
        }
    }
    lowered.ssh_socket = sockets.first().map(|mount| mount.target.clone());
    lowered.mounts.extend(secrets);
    lowered.mounts.extend(sockets);
    lowered.mounts = ordered(lowered.mounts);
    Ok(lowered)
}

/// Sorted, so that a mount is not hidden by one above it; the last one counts where several have a target.
fn ordered(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.sort_by(|left, right| left.target.cmp(&right.target));
    let mut ordered: Vec<Mount> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        if ordered.last().is_some_and(|last| last.target == mount.target) {
            ordered.pop();
        }
        ordered.push(mount);
    }
    ordered
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    const NAMES: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The options that mean something.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["type", "target", "source", "from", "readonly", "readwrite"],
            Self::Cache => &[
                "type",
                "id",
                "target",
                "sharing",
                "from",
                "source",
                "mode",
                "uid",
                "gid",
                "readonly",
                "readwrite",
            ],
            Self::Tmpfs => &["type", "target", "size", "readonly", "readwrite"],
            // They are read-only anyway; saying so is common.
            Self::Secret => {
                &["type", "id", "source", "target", "env", "required", "mode", "uid", "gid", "readonly"]
            }
            Self::Ssh => &["type", "id", "target", "required", "mode", "uid", "gid", "readonly"],
        }
    }
}

/// The options of one mount, expanded.
struct Options {
    kind: Kind,
    values: Vec<Value>,
    span: Span,
}

struct Value {
    key: MountKey,
    /// `None` for a key alone.
    text: Option<String>,
    span: Span,
}

impl Options {
    fn expand(builder: &StageBuilder<'_>, mount: &ast::Mount) -> Result<Self, LowerError> {
        let mut values = Vec::with_capacity(mount.options.len());
        for option in &mount.options {
            // `from` has been looked at when stages were selected: there are no variables in it.
            let text = match &option.value {
                Some(word) if option.key.value != MountKey::From => Some(builder.expander().word(word)?),
                word => word.as_ref().map(|word| word.value.clone()),
            };
            values.push(Value { key: option.key.value, text, span: option.value_span() });
        }
        let mut options = Self { kind: Kind::Bind, values, span: mount.span };
        options.kind = options.read_kind()?;
        for option in &mount.options {
            let (key, known) = (option.key.value.name(), options.kind.options());
            if !known.contains(&key) {
                let problem = MountProblem::NotForType { key, kind: options.kind.name(), known };
                return Err(error(problem, option.key.span));
            }
        }
        Ok(options)
    }

    fn read_kind(&self) -> Result<Kind, LowerError> {
        let Some((value, span)) = self.text(MountKey::Type) else { return Ok(Kind::Bind) };
        let found = Kind::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let nearest = nearest(value, Kind::NAMES.map(|(name, _)| name));
            error(MountProblem::UnknownType { value: value.to_owned(), nearest }, span)
        })
    }

    fn value(&self, key: MountKey) -> Option<&Value> {
        self.values.iter().find(|value| value.key == key)
    }

    /// The text of an option; one that is empty is not there.
    fn text(&self, key: MountKey) -> Option<(&str, Span)> {
        let value = self.value(key)?;
        let text = value.text.as_deref().filter(|text| !text.is_empty())?;
        Some((text, value.span))
    }

    fn switch(&self, key: MountKey) -> Result<Option<bool>, LowerError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.text.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(_) => Err(self.bad(value, "true or false")),
        }
    }

    fn is_read_only(&self, default: bool) -> Result<bool, LowerError> {
        let writable = self.switch(MountKey::ReadWrite)?.map(|writable| !writable);
        Ok(self.switch(MountKey::ReadOnly)?.or(writable).unwrap_or(default))
    }

    fn number(&self, key: MountKey, radix: u32, expected: &'static str) -> Result<Option<u32>, LowerError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = value.text.as_deref().unwrap_or_default();
        // `from_str_radix` takes a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = u32::from_str_radix(text, radix).ok().filter(|_| digits);
        number.map(Some).ok_or_else(|| self.bad(value, expected))
    }

    /// Owner and mode; `None` if nothing of it is given.
    fn access(&self, mode: u32) -> Result<Option<Access>, LowerError> {
        let given = (
            self.number(MountKey::Uid, 10, "a user id, as a number")?,
            self.number(MountKey::Gid, 10, "a group id, as a number")?,
            self.number(MountKey::Mode, 8, "an octal mode, such as 0400")?,
        );
        Ok(match given {
            (None, None, None) => None,
            (uid, gid, own) => {
                let mode = own.unwrap_or(mode) & 0o7777;
                Some(Access { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0), mode })
            }
        })
    }

    /// The target, seen from the working directory.
    fn target(&self, workdir: &str) -> Result<String, LowerError> {
        let (target, span) = self.text(MountKey::Target).unwrap_or(("", self.span));
        match path::absolute(workdir, target) {
            root if root == "/" => Err(error(MountProblem::RootTarget, span)),
            target => Ok(target),
        }
    }

    fn bad(&self, value: &Value, expected: &'static str) -> LowerError {
        let text = value.text.clone().unwrap_or_default();
        error(MountProblem::BadValue { key: value.key.name(), value: text, expected }, value.span)
    }
}

fn error(problem: MountProblem, span: Span) -> LowerError {
    LowerError { problem: LowerProblem::BadMount(problem), span }
}

fn directory(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    options: &Options,
    origin: Option<&Origin>,
    workdir: &str,
) -> Result<Mount, LowerError> {
    let target = options.target(workdir)?;
    let read_only = options.is_read_only(options.kind == Kind::Bind)?;
    let source = match options.kind {
        Kind::Cache => MountSource::Cache(cache(builder, step, options, origin)?),
        Kind::Tmpfs => MountSource::Tmpfs { size: tmpfs_size(options)? },
        _ => MountSource::Bind(bind(builder, step, options, origin)),
    };
    Ok(Mount { target, source, read_only })
}

fn tmpfs_size(options: &Options) -> Result<Option<u64>, LowerError> {
    let Some(value) = options.value(MountKey::Size) else { return Ok(None) };
    let bytes = size::bytes(value.text.as_deref().unwrap_or_default());
    let bytes = bytes.ok_or_else(|| options.bad(value, "a size, such as 64m or 1g"))?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

/// The part of a node that `from` and `source` mean.
fn bind(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    options: &Options,
    origin: Option<&Origin>,
) -> NodePath {
    let (source, span) = options.text(MountKey::Source).unwrap_or(("", options.span));
    let path = path::absolute("/", source);
    match origin {
        Some(origin) => {
            let span = options.value(MountKey::From).map_or(span, |value| value.span);
            NodePath { node: builder.origin(origin, span), path }
        }
        None => NodePath { node: context(builder, step, &path, span), path: CONTEXT_COPY.to_owned() },
    }
}

/// A root file system that holds a path of the build context and nothing else.
fn context(builder: &mut StageBuilder<'_>, step: &Step<'_>, path: &str, span: Span) -> NodeId {
    let paths = vec![literal(&path::relative(path))];
    let source = CopySource::Context { context: ContextName::Main, paths };
    let op = CopyOp::plain(builder.scratch(), vec![source], CONTEXT_COPY);
    builder.aside(step, Op::Copy(op), span, format!("RUN --mount of {path} from the context"))
}

fn cache(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    options: &Options,
    origin: Option<&Origin>,
) -> Result<CacheMount, LowerError> {
    let sharing = match options.text(MountKey::Sharing) {
        None => Sharing::Shared,
        Some((value, span)) => sharing(value, span)?,
    };
    let initial = match origin {
        // What is not there needs no copying.
        None | Some(Origin::Scratch) => None,
        Some(_) => Some(bind(builder, step, options, origin)),
    };
    if initial.is_none()
        && let Some((_, span)) = options.text(MountKey::Source)
    {
        return Err(error(MountProblem::CacheSourceWithoutFrom, span));
    }
    let id = match options.text(MountKey::Id) {
        Some((id, _)) => id.to_owned(),
        None => options.target(&builder.state.workdir)?,
    };
    let platform = (!id.starts_with(SHARED_BY_PLATFORMS)).then(|| builder.state.platform.clone());
    let namespace = builder.inputs.build_args.get(CACHE_NAMESPACE).filter(|name| !name.is_empty());
    let id = namespace.map_or(id.clone(), |namespace| format!("{namespace}/{id}"));
    Ok(CacheMount { id, platform, sharing, initial, access: options.access(0o755)? })
}

fn sharing(value: &str, span: Span) -> Result<Sharing, LowerError> {
    const MODES: [(&str, Sharing); 3] =
        [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];
    let found = MODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, sharing)| *sharing).ok_or_else(|| {
        let nearest = nearest(value, MODES.map(|(name, _)| name));
        error(MountProblem::UnknownSharing { value: value.to_owned(), nearest }, span)
    })
}

/// The file and the variable that a secret becomes.
fn secret(options: &Options, workdir: &str) -> Result<(Option<Mount>, Option<SecretVariable>), LowerError> {
    let target = options.text(MountKey::Target).map(|(target, _)| target);
    let id = match (options.text(MountKey::Source), options.text(MountKey::Id)) {
        (Some((_, span)), Some(_)) => return Err(error(MountProblem::SecretNamedTwice, span)),
        (Some((id, _)), None) | (None, Some((id, _))) => id,
        (None, None) => {
            let name = target.map(base_name).filter(|name| !name.is_empty());
            name.ok_or_else(|| error(MountProblem::UnnamedSecret, options.span))?
        }
    };
    let required = options.switch(MountKey::Required)?.unwrap_or(false);
    let variable = match options.value(MountKey::Env) {
        None => None,
        Some(value) => {
            let name = value.text.as_deref().unwrap_or_default();
            if name.is_empty() || name.contains('=') {
                return Err(options.bad(value, "the name of an environment variable"));
            }
            Some(SecretVariable { name: name.to_owned(), id: id.to_owned(), required })
        }
    };
    let default = Access { uid: 0, gid: 0, mode: 0o400 };
    let access = options.access(0o400)?.unwrap_or(default);
    let target = match (target, &variable) {
        (Some(_), _) => Some(options.target(workdir)?),
        (None, None) => Some(path::absolute("/run/secrets", base_name(id))),
        (None, Some(_)) => None,
    };
    let file = target.map(|target| Mount {
        target,
        source: MountSource::Secret { id: id.to_owned(), required, access },
        read_only: true,
    });
    Ok((file, variable))
}

fn ssh(options: &Options, workdir: &str, number: usize) -> Result<Mount, LowerError> {
    let target = match options.text(MountKey::Target) {
        Some(_) => options.target(workdir)?,
        None => format!("/run/buildkit/ssh_agent.{number}"),
    };
    let id = options.text(MountKey::Id).map_or("default", |(id, _)| id).to_owned();
    let required = options.switch(MountKey::Required)?.unwrap_or(false);
    let access = options.access(0o600)?.unwrap_or(Access { uid: 0, gid: 0, mode: 0o600 });
    Ok(Mount { target, source: MountSource::Ssh { id, required, access }, read_only: false })
}

/// What stands behind the last slash.
fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
