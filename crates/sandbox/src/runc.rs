//! `runc` as a runtime: the conformance oracle, and a fallback for root.
//!
//! The root file system is mounted in a temporary bundle directory, and everything goes away with the
//! container. `runc` does not tell signals from codes: a process killed by signal *n* ends with code
//! 128 + *n*.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio as ProcessStdio,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::mount::{UnmountFlags, unmount};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    Exit, Resource, Running, Runtime, SandboxError, Spec, Stdio, devices, kernel_files, mounts, overlay,
    plan::{self, Changes, Emulator, Limit, Plan, Source},
    privileges, sandbox,
};

/// Runs processes with `runc`, as root.
#[derive(Debug, Clone)]
pub struct Runc {
    program: PathBuf,
}

impl Runc {
    /// Uses this `runc`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }
}

impl Runtime for Runc {
    async fn run(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SandboxError> {
        let plan = Plan::new(spec, sandbox::resolv_conf())?;
        let bundle = Bundle::create(&plan)?;
        let stream = |fd: Option<_>| fd.map_or_else(ProcessStdio::null, ProcessStdio::from);
        let child = Command::new(&self.program)
            .arg("--root")
            .arg(bundle.directory.join("state"))
            .args(["run", "--bundle"])
            .arg(&bundle.directory)
            .arg(bundle.name())
            .stdin(stream(stdio.stdin))
            .stdout(stream(stdio.stdout))
            .stderr(stream(stdio.stderr))
            .spawn()
            .map_err(bundle.error())?;
        Ok(Running::runc(Container { runc: self.program.clone(), child, bundle }))
    }
}

/// A container of `runc`.
#[derive(Debug)]
pub(crate) struct Container {
    runc: PathBuf,
    child: Child,
    bundle: Bundle,
}

impl Container {
    pub(crate) async fn wait(&mut self) -> Result<Exit, SandboxError> {
        let status = self.child.wait().await.map_err(self.bundle.error())?;
        // `runc` itself may have been killed.
        Ok(status.code().map_or(Exit::Signal(libc::SIGKILL), Exit::Code))
    }

    /// Waits until it is done, because the bundle cannot be removed before.
    pub(crate) fn kill(&mut self) {
        let mut command = std::process::Command::new(&self.runc);
        command.arg("--root").arg(self.bundle.directory.join("state")).args(["delete", "--force"]);
        command.arg(self.bundle.name()).stdout(ProcessStdio::null()).stderr(ProcessStdio::null());
        // Fails if it has ended by itself.
        let _ = command.status();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// A directory with `config.json`, the mounted root file system and generated files.
#[derive(Debug)]
struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    fn create(plan: &Plan) -> Result<Self, SandboxError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("archway-{}-{number}", std::process::id());
        let bundle = Self { directory: std::env::temp_dir().join(name) };
        bundle.fill(plan).map_err(bundle.error())?;
        Ok(bundle)
    }

    fn name(&self) -> &std::ffi::OsStr {
        self.directory.file_name().unwrap_or_default()
    }

    fn error(&self) -> impl Fn(io::Error) -> SandboxError + use<> {
        let bundle = self.directory.clone();
        move |source| SandboxError::Runc { bundle: bundle.clone(), source }
    }

    fn fill(&self, plan: &Plan) -> io::Result<()> {
        for name in ["rootfs", "lower", "files", "empty", "sources"] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        for stub in &plan.stubs {
            let path = self.directory.join("lower").join(text(&stub.path));
            if stub.directory { fs::create_dir(path)? } else { fs::write(path, "")? }
        }
        for (index, file) in plan.files.iter().enumerate() {
            let path = self.file(index);
            fs::write(&path, &file.content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        for (index, mount) in plan.mounts.iter().enumerate() {
            match &mount.source {
                Source::Layers(layers) => {
                    fs::create_dir(self.source(index))?;
                    self.overlay("empty", &layers.lowers, layers.changes.as_ref(), &self.source(index))?;
                }
                Source::File(file) => {
                    fs::write(self.source(index), file.content.bytes())?;
                    std::os::unix::fs::chown(self.source(index), Some(file.uid), Some(file.gid))?;
                    fs::set_permissions(self.source(index), fs::Permissions::from_mode(file.mode))?;
                }
                Source::Bind { .. } | Source::Tmpfs(_) => {}
            }
        }
        self.overlay("lower", &plan.lowers, plan.changes.as_ref(), &self.directory.join("rootfs"))?;
        fs::write(self.directory.join("config.json"), serde_json::to_vec(&self.config(plan))?)
    }

    /// Mounts an overlay with the bundle's directory `bottom` below its lowest layer.
    fn overlay(
        &self,
        bottom: &str,
        lowers: &[CString],
        changes: Option<&Changes>,
        target: &Path,
    ) -> io::Result<()> {
        let bottom = CString::new(self.directory.join(bottom).into_os_string().into_encoded_bytes())?;
        let lowers: Vec<&CStr> = lowers.iter().map(|dir| dir.as_c_str()).chain([bottom.as_c_str()]).collect();
        let changes = changes.map(|changes| (changes.upper.as_c_str(), changes.work.as_c_str()));
        let mount = match (lowers.as_slice(), changes) {
            ([only], None) => mounts::copy_path(only, false)?,
            _ => overlay::one_by_one(&lowers, changes)?,
        };
        let target = rustix::fs::open(
            target,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        Ok(mounts::attach_on(&mount, target.as_fd())?)
    }

    /// Where the source of a mount is, if it is not on this machine already.
    fn source(&self, index: usize) -> PathBuf {
        self.directory.join("sources").join(index.to_string())
    }

    fn file(&self, index: usize) -> PathBuf {
        self.directory.join("files").join(index.to_string())
    }

    /// The plan in the terms of the OCI runtime specification.
    fn config(&self, plan: &Plan) -> Value {
        let texts = |strings: &[CString]| strings.iter().map(|string| text(string)).collect::<Vec<_>>();
        let process = json!({
            "user": {"uid": plan.uid, "gid": plan.gid, "additionalGids": plan.groups},
            "args": texts(&plan.argv),
            "env": texts(&plan.env),
            "cwd": text(&plan.cwd),
            "capabilities": capabilities(plan),
            "rlimits": plan.limits.iter().map(limit).collect::<Vec<_>>(),
            "noNewPrivileges": false,
        });
        let protected = |paths: &[&CStr]| match plan.insecure {
            true => Vec::new(),
            false => paths.iter().map(|path| text(path)).collect(),
        };
        json!({
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": plan.changes.is_none()},
            "hostname": text(&plan.hostname),
            "mounts": self.mounts(plan),
            "linux": {
                "namespaces": namespaces(plan),
                "maskedPaths": protected(&kernel_files::MASKED),
                "readonlyPaths": protected(&kernel_files::READ_ONLY_PATHS),
                "devices": devices(plan),
                "resources": {"devices": device_rules(plan)},
            },
        })
    }

    fn mounts(&self, plan: &Plan) -> Vec<Value> {
        let mut mounts = standard_mounts(plan);
        for (index, file) in plan.files.iter().enumerate() {
            mounts.push(bind(self.file(index).to_string_lossy().into_owned(), text(&file.target), true));
        }
        for (index, mount) in plan.mounts.iter().enumerate() {
            mounts.push(match &mount.source {
                Source::Bind { path, .. } => bind(text(path), text(&mount.target), mount.read_only),
                Source::Layers(layers) => {
                    let source = format!("{}{}", self.source(index).display(), text(&layers.path));
                    bind(source, text(&mount.target), mount.read_only)
                }
                Source::File(file) => {
                    let mut options = vec!["rbind", "ro", "nodev", "nosuid"];
                    if file.mode & 0o111 == 0 {
                        options.push("noexec");
                    }
                    json!({"destination": text(&mount.target), "type": "bind",
                        "source": self.source(index), "options": options})
                }
                Source::Tmpfs(size) => {
                    let size = size.as_deref().map(|size| format!("size={}", text(size)));
                    let options: Vec<String> = ["nosuid".into(), "mode=1777".into()].into_iter().chain(size).collect();
                    json!({"destination": text(&mount.target), "type": "tmpfs", "source": "tmpfs", "options": options})
                }
            });
        }
        if let Some(Emulator::Show(path)) = &plan.emulator {
            mounts.push(bind(text(path), text(path), true));
        }
        mounts
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = unmount(self.directory.join("rootfs"), UnmountFlags::DETACH);
        for entry in fs::read_dir(self.directory.join("sources")).into_iter().flatten().flatten() {
            // Files are no mounts.
            let _ = unmount(entry.path(), UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn capabilities(plan: &Plan) -> Value {
    if plan.insecure {
        let all = privileges::own_names();
        return json!({"bounding": all, "effective": all, "permitted": all, "inheritable": all, "ambient": all});
    }
    let capabilities = privileges::default_names();
    let held = if plan.uid == 0 { capabilities.clone() } else { Vec::new() };
    json!({"bounding": capabilities, "effective": held, "permitted": held})
}

fn limit(limit: &Limit) -> Value {
    let names = Resource::NAMES.iter();
    let mut named = names.filter(|(_, resource)| plan::resource(*resource) as u32 == limit.resource);
    let name = named.next().map_or_else(String::new, |(name, _)| name.to_uppercase());
    json!({"type": format!("RLIMIT_{name}"), "soft": limit.soft, "hard": limit.hard})
}

/// Beyond those that every container has.
fn devices(plan: &Plan) -> Vec<Value> {
    if !plan.insecure {
        return Vec::new();
    }
    let device = |name: String, kind: &str, major: u32, minor: u32| json!({"path": format!("/dev/{name}"), "type": kind, "major": major, "minor": minor, "fileMode": 0o666});
    let characters = devices::INSECURE_DEVICES.iter();
    let characters = characters.map(|(name, major, minor)| device(text(name), "c", *major, *minor));
    let loops = devices::loop_devices().map(|number| device(format!("loop{number}"), "b", 7, number));
    characters.chain(loops).collect()
}

/// An insecure step may use any device; others those that every container has, without a rule.
fn device_rules(plan: &Plan) -> Vec<Value> {
    if plan.insecure { vec![json!({"allow": true, "access": "rwm"})] } else { Vec::new() }
}

fn standard_mounts(plan: &Plan) -> Vec<Value> {
    let access = if plan.insecure { "rw" } else { "ro" };
    let shm = format!("size={}", text(&plan.shm_size));
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ]
}

fn bind(source: String, destination: String, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", access]})
}

fn namespaces(plan: &Plan) -> Vec<Value> {
    let network = plan.isolated_network.then_some("network");
    let kinds = ["mount", "pid", "ipc", "uts", "cgroup"].into_iter().chain(network);
    kinds.map(|kind| json!({"type": kind})).collect()
}

fn text(string: &CStr) -> String {
    string.to_string_lossy().into_owned()
}
