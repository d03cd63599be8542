//! A [`Spec`] turned into what the helper does, with every decision taken that needs no file system.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{self, Path},
};

use crate::{
    MountSource, Network, Private, Resource, Rootfs, SandboxError, Security, Spec, SpecProblem,
    emulation::{Activation, Interpreter, magic},
    overlay::MAX_LOWERS,
    wire::{Wire, wire_struct},
};

/// Where programs are looked up if the environment has no `PATH`, as in runc.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of `/dev/shm` where nobody says otherwise, as in Docker.
const SHM_SIZE: u64 = 64 << 20;

/// Directories that every root file system has, as mount points.
const STANDARD_DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];

/// What the helper does.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// Read-only directories, top first.
    pub(crate) lowers: Vec<CString>,
    /// The directory for changes.
    pub(crate) changes: Option<Changes>,
    /// Mount points below the lowest layer, parents first.
    pub(crate) stubs: Vec<Stub>,
    /// Generated files.
    pub(crate) files: Vec<File>,
    /// The caller's mounts.
    pub(crate) mounts: Vec<Mount>,
    /// Candidates for the program, best first.
    pub(crate) programs: Vec<CString>,
    /// Arguments, the program's name first.
    pub(crate) argv: Vec<CString>,
    /// Environment.
    pub(crate) env: Vec<CString>,
    /// Working directory.
    pub(crate) cwd: CString,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Host name.
    pub(crate) hostname: CString,
    /// Whether it gets a network namespace of its own.
    pub(crate) isolated_network: bool,
    /// Whether it may do everything that its caller may do.
    pub(crate) insecure: bool,
    /// Bytes of `/dev/shm`, as the kernel takes them.
    pub(crate) shm_size: CString,
    /// Limits other than the caller's.
    pub(crate) limits: Vec<Limit>,
    /// Control groups to enter.
    pub(crate) cgroups: Vec<CString>,
    /// What is added to the caller's niceness.
    pub(crate) niceness: u8,
    /// What runs its machine code.
    pub(crate) emulator: Option<Emulator>,
}
wire_struct!(Plan {
    lowers,
    changes,
    stubs,
    files,
    mounts,
    programs,
    argv,
    env,
    cwd,
    uid,
    gid,
    groups,
    hostname,
    isolated_network,
    insecure,
    shm_size,
    limits,
    cgroups,
    niceness,
    emulator,
});

/// An overlay's directory for changes.
#[derive(Debug, PartialEq)]
pub(crate) struct Changes {
    pub(crate) upper: CString,
    pub(crate) work: CString,
}
wire_struct!(Changes { upper, work });

/// A mount point.
#[derive(Debug, PartialEq)]
pub(crate) struct Stub {
    /// Relative path.
    pub(crate) path: CString,
    pub(crate) directory: bool,
}
wire_struct!(Stub { path, directory });

/// A file shown read-only.
#[derive(Debug, PartialEq)]
pub(crate) struct File {
    pub(crate) target: CString,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}
wire_struct!(File { target, content, mode });

/// A mount of the caller.
#[derive(Debug, PartialEq)]
pub(crate) struct Mount {
    pub(crate) target: CString,
    pub(crate) source: Source,
    pub(crate) read_only: bool,
}
wire_struct!(Mount { target, source, read_only });

/// What is mounted.
#[derive(Debug, PartialEq)]
pub(crate) enum Source {
    Bind {
        path: CString,
        directory: bool,
    },
    /// With its size as the kernel takes it.
    Tmpfs(Option<CString>),
    Layers(Layers),
    File(MemoryFile),
}

/// A part of another root file system.
#[derive(Debug, PartialEq)]
pub(crate) struct Layers {
    pub(crate) lowers: Vec<CString>,
    pub(crate) changes: Option<Changes>,
    pub(crate) path: CString,
    pub(crate) directory: bool,
}
wire_struct!(Layers { lowers, changes, path, directory });

/// A file that is in memory only.
#[derive(Debug, PartialEq)]
pub(crate) struct MemoryFile {
    pub(crate) content: Private,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}
wire_struct!(MemoryFile { content, mode, uid, gid });

impl Wire for Private {
    fn put(&self, to: &mut Vec<u8>) {
        self.bytes().to_vec().put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Vec::<u8>::take(from).map(Self::from)
    }
}

/// A resource limit in the kernel's numbers.
#[derive(Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}
wire_struct!(Limit { resource, soft, hard });

impl Source {
    pub(crate) fn is_directory(&self) -> bool {
        match self {
            Self::Bind { directory, .. } | Self::Layers(Layers { directory, .. }) => *directory,
            Self::Tmpfs(_) => true,
            Self::File(_) => false,
        }
    }
}

impl Wire for Source {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Bind { path, directory } => {
                0_u8.put(to);
                path.put(to);
                directory.put(to);
            }
            Self::Tmpfs(size) => {
                1_u8.put(to);
                size.put(to);
            }
            Self::Layers(layers) => {
                2_u8.put(to);
                layers.put(to);
            }
            Self::File(file) => {
                3_u8.put(to);
                file.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(Self::Bind { path: Wire::take(from)?, directory: Wire::take(from)? }),
            1 => Wire::take(from).map(Self::Tmpfs),
            2 => Wire::take(from).map(Self::Layers),
            3 => Wire::take(from).map(Self::File),
            _ => None,
        }
    }
}

/// What has to be done so that foreign programs run.
#[derive(Debug, PartialEq)]
pub(crate) enum Emulator {
    /// Show it at its own path.
    Show(CString),
    /// Register it in a user namespace: its name and the line that registers it.
    Register { name: CString, line: Vec<u8> },
    /// Start the program with it.
    Start(CString),
}

impl Wire for Emulator {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Self::Show(path) => {
                0_u8.put(to);
                path.put(to);
            }
            Self::Register { name, line } => {
                1_u8.put(to);
                name.put(to);
                line.put(to);
            }
            Self::Start(path) => {
                2_u8.put(to);
                path.put(to);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Wire::take(from).map(Self::Show),
            1 => Some(Self::Register { name: Wire::take(from)?, line: Wire::take(from)? }),
            2 => Wire::take(from).map(Self::Start),
            _ => None,
        }
    }
}

impl Plan {
    /// The plan for `spec`; `resolv_conf` is this machine's.
    pub(crate) fn new(spec: &Spec, resolv_conf: Vec<u8>) -> Result<Self, SandboxError> {
        let program = spec.argv.first().filter(|name| !name.is_empty());
        let program = program.ok_or(invalid("the command", SpecProblem::Empty))?;
        if spec.hostname.len() > 64 {
            return Err(invalid("the host name", SpecProblem::TooLong { limit: 64 }));
        }
        let cwd = if spec.cwd.is_empty() { "/" } else { &spec.cwd };
        let files = files(spec, resolv_conf)?;
        let mounts: Vec<Mount> = spec.mounts.iter().map(mount).collect::<Result<_, _>>()?;
        let emulator = spec.interpreter.as_ref().map(emulator).transpose()?.flatten();
        Ok(Self {
            lowers: lowers(&spec.rootfs)?,
            changes: changes(&spec.rootfs)?,
            stubs: stubs(&files, &mounts, emulator.as_ref()),
            files,
            mounts,
            programs: candidates(program, &spec.env)
                .into_iter()
                .map(|path| c_string("the command", path))
                .collect::<Result<_, _>>()?,
            argv: c_strings("the command", &spec.argv)?,
            env: c_strings("the environment", &spec.env)?,
            cwd: absolute("the working directory", cwd)?,
            uid: spec.user.uid,
            gid: spec.user.gid,
            groups: spec.user.additional_gids.clone(),
            hostname: c_string("the host name", spec.hostname.as_str())?,
            isolated_network: spec.network == Network::None,
            insecure: spec.security == Security::Insecure,
            shm_size: c_string("a size", spec.shm_size.unwrap_or(SHM_SIZE).to_string())?,
            limits: spec.limits.iter().map(limit).collect(),
            cgroups: spec.cgroups.iter().map(|group| host_path(group)).collect::<Result<_, _>>()?,
            niceness: spec.niceness,
            emulator,
        })
    }
}

fn invalid(field: &'static str, problem: SpecProblem) -> SandboxError {
    SandboxError::InvalidSpec { field, problem }
}

fn c_string(field: &'static str, text: impl Into<Vec<u8>>) -> Result<CString, SandboxError> {
    CString::new(text).map_err(|_| invalid(field, SpecProblem::Nul))
}

fn c_strings(field: &'static str, texts: &[String]) -> Result<Vec<CString>, SandboxError> {
    texts.iter().map(|text| c_string(field, text.as_str())).collect()
}

fn absolute(field: &'static str, path: &str) -> Result<CString, SandboxError> {
    if !path.starts_with('/') {
        return Err(invalid(field, SpecProblem::NotAbsolute));
    }
    c_string(field, path)
}

/// A path of this machine, made absolute: the helper has another working directory.
fn host_path(path: &Path) -> Result<CString, SandboxError> {
    let path = path::absolute(path).map_err(|_| invalid("a path of this machine", SpecProblem::Empty))?;
    c_string("a path of this machine", path.as_os_str().as_bytes())
}

fn lowers(rootfs: &Rootfs) -> Result<Vec<CString>, SandboxError> {
    if rootfs.lowers.len() > MAX_LOWERS {
        let problem = SpecProblem::TooLong { limit: MAX_LOWERS };
        return Err(invalid("the list of root file system layers", problem));
    }
    rootfs.lowers.iter().map(|dir| host_path(dir)).collect()
}

fn changes(rootfs: &Rootfs) -> Result<Option<Changes>, SandboxError> {
    match (&rootfs.upper, &rootfs.work) {
        (None, None) => Ok(None),
        (Some(upper), Some(work)) => Ok(Some(Changes { upper: host_path(upper)?, work: host_path(work)? })),
        _ => Err(invalid("the root file system", SpecProblem::Unpaired)),
    }
}

fn files(spec: &Spec, resolv_conf: Vec<u8>) -> Result<Vec<File>, SandboxError> {
    let standard = [("/etc/resolv.conf", resolv_conf), ("/etc/hosts", hosts(spec).into_bytes())];
    let standard = standard.into_iter().map(|(path, content)| (path, content, 0o644));
    let scripts = spec.files.iter();
    let scripts = scripts.map(|file| (file.path.as_str(), file.content.clone().into_bytes(), 0o755));
    let file = |(path, content, mode)| Ok(File { target: absolute("a file's path", path)?, content, mode });
    standard.chain(scripts).map(file).collect()
}

fn hosts(spec: &Spec) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {}\n", spec.hostname);
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    for entry in &spec.extra_hosts {
        writeln!(text, "{}\t{}", entry.address, entry.name).expect("a string takes everything");
    }
    text
}

fn mount(mount: &crate::Mount) -> Result<Mount, SandboxError> {
    let source = match &mount.source {
        MountSource::Bind(path) => Source::Bind { path: host_path(path)?, directory: path.is_dir() },
        MountSource::Tmpfs { size } => {
            Source::Tmpfs(size.map(|size| c_string("a size", size.to_string())).transpose()?)
        }
        MountSource::Layers { rootfs, path, directory } => Source::Layers(Layers {
            lowers: lowers(rootfs)?,
            changes: changes(rootfs)?,
            path: absolute("a mount's source", path)?,
            directory: *directory,
        }),
        MountSource::File { content, mode, uid, gid } => {
            Source::File(MemoryFile { content: content.clone(), mode: mode & 0o777, uid: *uid, gid: *gid })
        }
    };
    Ok(Mount { target: absolute("a mount's target", &mount.target)?, source, read_only: mount.read_only })
}

fn limit(limit: &crate::Limit) -> Limit {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    Limit { resource: resource(limit.resource) as u32, soft: number(limit.soft), hard: number(limit.hard) }
}

pub(crate) fn resource(resource: Resource) -> rustix::process::Resource {
    use rustix::process::Resource as Kernel;
    match resource {
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Locks => Kernel::Locks,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nice => Kernel::Nice,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Rss => Kernel::Rss,
        Resource::Rtprio => Kernel::Rtprio,
        Resource::Rttime => Kernel::Rttime,
        Resource::Sigpending => Kernel::Sigpending,
        Resource::Stack => Kernel::Stack,
    }
}

fn emulator(interpreter: &Interpreter) -> Result<Option<Emulator>, SandboxError> {
    let path = host_path(&interpreter.path)?;
    Ok(match interpreter.activation {
        Activation::Registered => None,
        Activation::RegisteredByPath => Some(Emulator::Show(path)),
        Activation::FirstProcess => Some(Emulator::Start(path)),
        Activation::Namespace => {
            let name = c_string("an architecture", interpreter.architecture.as_str())?;
            let line = magic::registration(&interpreter.architecture, &interpreter.path);
            let line = line.ok_or(invalid("the emulated architecture", SpecProblem::Empty))?;
            Some(Emulator::Register { name, line })
        }
    })
}

/// Everything that is mounted on, so that the mount points exist.
fn stubs(files: &[File], mounts: &[Mount], emulator: Option<&Emulator>) -> Vec<Stub> {
    let mut stubs = BTreeMap::new();
    for directory in STANDARD_DIRECTORIES {
        stubs.insert(directory.as_bytes().to_vec(), true);
    }
    for file in files {
        add_stub(&mut stubs, file.target.as_bytes(), false);
    }
    for mount in mounts {
        let directory = mount.source.is_directory();
        add_stub(&mut stubs, mount.target.as_bytes(), directory);
    }
    if let Some(Emulator::Show(path)) = emulator {
        add_stub(&mut stubs, path.as_bytes(), false);
    }
    // A parent sorts before what is in it.
    let stub =
        |(path, directory)| Stub { path: CString::new(path).expect("comes from a C string"), directory };
    stubs.into_iter().map(stub).collect()
}

/// Adds a path and its parents. A path that is both file and directory is the caller's mistake; the
/// mount then fails with a message of its own.
fn add_stub(stubs: &mut BTreeMap<Vec<u8>, bool>, path: &[u8], directory: bool) {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    for end in 1..=parts.len() {
        let directory = directory || end < parts.len();
        stubs.entry(parts[..end].join(&b'/')).and_modify(|is| *is |= directory).or_insert(directory);
    }
}

/// Where a program may be: itself if it has a slash, else in every directory of `PATH`.
fn candidates(program: &str, env: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
    let directories = path.unwrap_or(DEFAULT_PATH).split(':');
    directories
        .map(|dir| if dir.is_empty() { program.to_owned() } else { format!("{dir}/{program}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostEntry, Rootfs, ScriptFile};

    fn spec() -> Spec {
        Spec {
            rootfs: Rootfs { lowers: vec!["/layers/1".into()], ..Rootfs::default() },
            argv: vec!["sh".into(), "-c".into(), "true".into()],
            env: vec!["PATH=/a:/b".into()],
            hostname: "box".into(),
            ..Spec::default()
        }
    }

    fn plan(spec: &Spec) -> Plan {
        Plan::new(spec, b"nameserver 192.0.2.1\n".to_vec()).unwrap()
    }

    #[test]
    fn a_plan_survives_its_encoding() {
        let mut spec = spec();
        spec.mounts = vec![
            crate::Mount {
                target: "/cache".into(),
                source: MountSource::Tmpfs { size: Some(5) },
                read_only: false,
            },
            crate::Mount { target: "/in".into(), source: MountSource::Bind("/etc".into()), read_only: true },
            crate::Mount {
                target: "/stage".into(),
                source: MountSource::Layers {
                    rootfs: spec.rootfs.clone(),
                    path: "/src".into(),
                    directory: true,
                },
                read_only: true,
            },
            crate::Mount {
                target: "/run/secrets/key".into(),
                source: MountSource::File { content: (*b"value").into(), mode: 0o400, uid: 7, gid: 8 },
                read_only: true,
            },
        ];
        spec.limits = vec![crate::Limit { resource: Resource::Nofile, soft: Some(10), hard: None }];
        spec.cgroups = vec!["/sys/fs/cgroup/x".into()];
        spec.niceness = 5;
        spec.security = Security::Insecure;
        spec.interpreter = Some(Interpreter {
            architecture: "arm64".into(),
            path: "/usr/bin/qemu".into(),
            activation: Activation::Namespace,
        });
        let plan = plan(&spec);
        let mut bytes = Vec::new();
        plan.put(&mut bytes);
        assert_eq!(Plan::take(&mut bytes.as_slice()), Some(plan));
    }

    #[test]
    fn a_private_file_is_not_shown() {
        let mut spec = spec();
        let source = MountSource::File { content: (*b"hunter2").into(), mode: 0o400, uid: 0, gid: 0 };
        spec.mounts = vec![crate::Mount { target: "/s".into(), source, read_only: true }];
        let bytes = format!("{:?}", b"hunter2");
        for text in [format!("{spec:?}"), format!("{:?}", plan(&spec))] {
            assert!(!text.contains("hunter2") && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
        }
    }

    #[test]
    fn programs_are_looked_up_in_the_steps_path() {
        let env = |path: &str| vec!["X=1".to_owned(), format!("PATH={path}")];
        let table = [
            ("sh", env("/a:/b"), vec!["/a/sh", "/b/sh"]),
            ("sh", env("/a::/b"), vec!["/a/sh", "sh", "/b/sh"]),
            ("/bin/sh", env("/a"), vec!["/bin/sh"]),
            ("./run", env("/a"), vec!["./run"]),
        ];
        for (program, env, expected) in table {
            assert_eq!(candidates(program, &env), expected, "{program}");
        }
        assert_eq!(candidates("sh", &[]).last().unwrap(), "/bin/sh");
    }

    #[test]
    fn every_mount_point_exists_with_its_parents() {
        let mut spec = spec();
        spec.files = vec![ScriptFile { path: "/run//scripts/../one".into(), content: String::new() }];
        let plan = plan(&spec);
        let stubs: Vec<_> =
            plan.stubs.iter().map(|stub| (stub.path.to_str().unwrap(), stub.directory)).collect();
        let expected = [
            ("dev", true),
            ("etc", true),
            ("etc/hosts", false),
            ("etc/resolv.conf", false),
            ("proc", true),
            ("run", true),
            ("run/one", false),
            ("sys", true),
        ];
        assert_eq!(stubs, expected);
    }

    #[test]
    fn hosts_has_the_host_itself_and_the_extra_entries() {
        let mut spec = spec();
        spec.extra_hosts = vec![HostEntry { name: "db".into(), address: "192.0.2.7".parse().unwrap() }];
        let hosts = hosts(&spec);
        assert!(hosts.starts_with("127.0.0.1\tlocalhost box\n"), "{hosts}");
        assert!(hosts.ends_with("192.0.2.7\tdb\n"), "{hosts}");
    }

    #[test]
    fn what_no_machine_can_do_is_refused() {
        let long = "h".repeat(65);
        type Change = fn(&mut Spec, &str);
        let table: [(&str, Change, &str); 6] = [
            ("", |spec, _| spec.argv.clear(), "the command is empty"),
            ("a\0b", |spec, text| spec.argv[1] = text.into(), "the command contains a NUL byte"),
            ("rel", |spec, text| spec.cwd = text.into(), "the working directory is not an absolute path"),
            (&long, |spec, text| spec.hostname = text.into(), "the host name is longer than 64"),
            (
                "/up",
                |spec, text| spec.rootfs.upper = Some(text.into()),
                "the root file system needs both a directory for changes and a work directory",
            ),
            (
                "/l",
                |spec, text| spec.rootfs.lowers = vec![text.into(); 500],
                "the list of root file system layers is longer than 499",
            ),
        ];
        for (text, change, message) in table {
            let mut spec = spec();
            change(&mut spec, text);
            assert_eq!(Plan::new(&spec, Vec::new()).unwrap_err().to_string(), message);
        }
    }
}
