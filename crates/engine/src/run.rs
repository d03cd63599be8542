//! RUN: one process in the sandbox, its changes kept as a delta.

use std::{os::fd::OwnedFd, sync::Mutex};

use archway_graph::{ExtraHost, Network, ResourceLimit, RunOp, Security};
use archway_report::{Event, Stream};
use archway_sandbox::{
    Cgroup, Exit, HostEntry, Interpreter, Limit, Resource, Rootfs as SandboxRootfs, ScriptFile, Spec, Stdio,
    User as SandboxUser, emulation::Activation,
};
use archway_store::{Lock, PendingSnapshot};
use jiff::Timestamp;
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

use crate::{
    StepError, image,
    key::{self, Key},
    log::LogTail,
    mount::{Identity, Mounted},
    slots::{Class, Slot},
    step::{Delta, Step, StepFailure},
    step_id, stubs,
    user::User,
};

/// Size of one read from a process' output, and so of one log event.
const LOG_CHUNK: usize = 16 << 10;
/// How much emulated processes stand back: together with a native one on one processor they get a quarter of it.
const EMULATED_NICENESS: u8 = 5;
/// Name that processes see for the machine: BuildKit's, as it can end up in files.
const HOSTNAME: &str = "buildkitsandbox";

/// A RUN whose result is known, or everything that it takes to run it.
enum Prepared {
    Known(Delta),
    Process(Box<Process>),
}

/// Fields are dropped in this order: the lock goes last.
struct Process {
    spec: Spec,
    pending: PendingSnapshot,
    cgroup: Option<Cgroup>,
    _mounted: Mounted,
    _slot: Slot,
    _lock: Lock,
}

impl Process {
    /// The same failure, with its cause if that is a limit of ours.
    fn explain(&self, failure: StepFailure) -> StepFailure {
        let is_its_end = matches!(failure.error, StepError::Exit(_) | StepError::Signal(_));
        if is_its_end && self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory) {
            return StepFailure { error: StepError::OutOfMemory, ..failure };
        }
        failure
    }
}

impl Step<'_> {
    pub(crate) async fn run(&self, op: &RunOp) -> Result<Delta, StepFailure> {
        let identities = self.until_cancelled(async { Ok(self.identities(op).await?) }).await?;
        let key = key::run(self.input(op.base).rootfs.identity, op, &identities);
        let process = match self.until_cancelled(self.prepare(op, key, &identities)).await? {
            Prepared::Known(delta) => return Ok(delta),
            Prepared::Process(process) => *process,
        };
        self.process(&process.spec).await.map_err(|failure| process.explain(failure))?;
        stubs::leave_standard(process.pending.delta(), &process.spec.rootfs.lowers)
            .map_err(StepError::io("/"))?;
        if stubs::are_possible(process.pending.delta(), &op.mounts) {
            let base = self.input(op.base).rootfs.view(&self.build.engine.store).await?;
            stubs::remove(process.pending.delta(), &base, &op.mounts).map_err(StepError::io("/"))?;
        }

        let delta = Delta::made(key::execution(key, nonce()));
        self.build.engine.store.snapshots().commit(process.pending, &delta.key)?;
        self.remember(key, &delta)?;
        Ok(delta)
    }

    async fn prepare(
        &self,
        op: &RunOp,
        key: Key,
        identities: &[Identity<'_>],
    ) -> Result<Prepared, StepFailure> {
        let base = &self.input(op.base).rootfs;
        let reuse = !op.no_cache;
        if reuse && let Some(delta) = self.cached(key)? {
            return Ok(Prepared::Known(delta));
        }
        let store = &self.build.engine.store;
        // Two builds of the same thing at the same time: the second waits and finds the result.
        let lock = image::lock(store, key.to_string()).await?;
        if reuse && let Some(delta) = self.cached(key)? {
            return Ok(Prepared::Known(delta));
        }
        let lowers = base.materialize(store).await?;
        let mounted = self.mount(op, identities).await?;
        let slot = self.build.slots.take(self.node.id).await;
        self.begin();
        let user = match op.user.as_str() {
            "" => User::root(),
            user => base.process_user(store, user).await?,
        };
        let pending = store.snapshots().begin()?;
        let mut env = environment(&op.env, &self.build.job.graph.proxy_env, &user);
        self.add_secrets(&mut env, &op.secret_env)?;
        let settings = &op.settings;
        let cgroup = self.build.job.cgroups.as_ref().map(|cgroups| cgroups.create()).transpose()?;
        let spec = Spec {
            rootfs: SandboxRootfs {
                lowers: lowers.iter().rev().cloned().collect(),
                upper: Some(pending.delta().to_owned()),
                work: Some(pending.work().to_owned()),
            },
            argv: op.argv.clone(),
            env,
            cwd: op.cwd.clone(),
            user: SandboxUser { uid: user.uid, gid: user.gid, additional_gids: user.groups },
            hostname: settings.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
            network: match op.network {
                Network::Host => archway_sandbox::Network::Host,
                Network::None => archway_sandbox::Network::None,
            },
            security: match op.security {
                Security::Sandbox => archway_sandbox::Security::Sandboxed,
                Security::Insecure => archway_sandbox::Security::Insecure,
            },
            shm_size: settings.shm_size,
            limits: settings.limits.iter().filter_map(limit).collect(),
            cgroups: cgroup.as_ref().map(|cgroup| cgroup.directories().to_vec()).unwrap_or_default(),
            niceness: match self.build.slots.class(self.node.id) {
                Class::Native => 0,
                Class::Emulated => EMULATED_NICENESS,
            },
            extra_hosts: settings.hosts.iter().map(host).collect(),
            mounts: mounted.mounts.clone(),
            files: op
                .files
                .iter()
                .map(|file| ScriptFile { path: file.name.clone(), content: file.content.clone() })
                .collect(),
            interpreter: self.interpreter(op)?,
        };
        let process = Process { spec, pending, cgroup, _mounted: mounted, _slot: slot, _lock: lock };
        Ok(Prepared::Process(Box::new(process)))
    }

    /// The emulator for the step's platform; `None` where this machine runs it natively.
    fn interpreter(&self, op: &RunOp) -> Result<Option<Interpreter>, StepError> {
        let emulation = self.build.engine.sandbox.emulation();
        let interpreter = emulation.for_platform(&op.platform).map_err(StepError::Emulation)?;
        if interpreter.as_ref().is_some_and(|found| found.activation == Activation::FirstProcess) {
            self.build.job.events.send(Event::Warning {
                message: format!(
                    "only the first process of a {} step can be emulated here: programs that it starts fail; \
                     register QEMU with binfmt_misc, or use Linux 6.7 or newer",
                    op.platform
                ),
            });
        }
        Ok(interpreter)
    }

    /// Runs the process to its end. On cancellation that is the end of a killed process, so that nothing
    /// is mounted or written any more when this returns.
    async fn process(&self, spec: &Spec) -> Result<(), StepFailure> {
        let tail = Mutex::new(LogTail::default());
        let (stdout, out) = pipe().map_err(StepError::io("pipe"))?;
        let (stderr, err) = pipe().map_err(StepError::io("pipe"))?;
        let stdio = Stdio { stdin: None, stdout: Some(stdout), stderr: Some(stderr) };
        let mut running = self.build.engine.sandbox.run(spec, stdio).await.map_err(StepError::Sandbox)?;
        let end = async {
            let stopped = tokio::select! {
                biased;
                () = self.cancel.cancelled() => true,
                _ = running.wait() => false,
            };
            if stopped {
                running.kill();
            }
            (stopped, running.wait().await)
        };
        // All in one task: a thread that has to be woken costs a short process a good part of its time. The
        // output ends with the pid namespace, when nobody holds the other end any more.
        let ((stopped, exit), (), ()) = tokio::join!(
            end,
            self.forward(out, Stream::Stdout, &tail),
            self.forward(err, Stream::Stderr, &tail)
        );
        let error = match exit.map_err(StepError::Sandbox)? {
            _ if stopped => StepError::Cancelled,
            Exit::Code(0) => return Ok(()),
            Exit::Code(code) => StepError::Exit(code),
            Exit::Signal(signal) => StepError::Signal(signal),
        };
        let tail = tail.into_inner().expect("no holder panics");
        Err(StepFailure { error, log_tail: tail.finish() })
    }

    /// Passes a process' output on, as text.
    async fn forward(&self, from: OwnedFd, stream: Stream, tail: &Mutex<LogTail>) {
        let (events, step) = (&self.build.job.events, step_id(self.node.id));
        let tell = |text: String| {
            tail.lock().expect("no holder panics").push(&text);
            events.send(Event::StepLog { step, stream, text });
        };
        let Ok(mut reader) = pipe::Receiver::from_owned_fd(from) else { return };
        let mut buffer = vec![0; LOG_CHUNK];
        let mut pending = Vec::new();
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            pending.extend_from_slice(&buffer[..count]);
            tell(take_text(&mut pending));
        }
        if !pending.is_empty() {
            tell(String::from_utf8_lossy(&pending).into_owned());
        }
    }
}

/// Takes all text but a character cut at the end.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let keep = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let rest = bytes.split_off(keep);
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

fn host(host: &ExtraHost) -> HostEntry {
    HostEntry { name: host.name.clone(), address: host.address }
}

/// The command line takes no resource that does not exist.
fn limit(limit: &ResourceLimit) -> Option<Limit> {
    let resource = Resource::parse(&limit.resource)?;
    Some(Limit { resource, soft: limit.soft, hard: limit.hard })
}

/// The step's environment, over which this machine's proxy settings go, and the account's HOME where the
/// step does not set it, as in BuildKit.
fn environment(env: &[String], proxy: &[String], user: &User) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let is_kept = |own: &&String| !proxy.iter().any(|variable| name(own) == name(variable));
    let mut env: Vec<String> = env.iter().filter(is_kept).chain(proxy).cloned().collect();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        let home = user.home.as_deref().filter(|home| !home.is_empty());
        env.push(format!("HOME={}", home.unwrap_or(if user.uid == 0 { "/root" } else { "/" })));
    }
    env
}

/// The write end for the process, and the read end.
fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((write, read))
}

/// A number that no other execution has.
fn nonce() -> u128 {
    let time = Timestamp::now().as_nanosecond().unsigned_abs();
    time << 32 | u128::from(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_never_cut() {
        let mut pending = "caf".as_bytes().to_vec();
        let accent = "é".as_bytes();
        pending.push(accent[0]);
        assert_eq!(take_text(&mut pending), "caf");
        pending.push(accent[1]);
        assert_eq!(take_text(&mut pending), "é");
        pending.extend([0xff, b'x']);
        assert_eq!(take_text(&mut pending), "\u{fffd}x");
        assert!(pending.is_empty());
    }

    #[test]
    fn home_is_the_accounts_unless_it_is_set() {
        let app = User { uid: 7, home: Some("/home/app".into()), ..User::default() };
        assert_eq!(environment(&[], &[], &app), ["HOME=/home/app"]);
        assert_eq!(environment(&["HOME=/x".into()], &[], &app), ["HOME=/x"]);
        assert_eq!(environment(&[], &[], &User::default()), ["HOME=/root"]);
        assert_eq!(environment(&[], &[], &User { uid: 7, ..User::default() }), ["HOME=/"]);
    }

    #[test]
    fn proxies_of_this_machine_replace_the_steps_own() {
        let own = ["HTTP_PROXY=own".to_owned(), "HOME=/".to_owned()];
        let proxy = ["HTTP_PROXY=ours".to_owned(), "NO_PROXY=x".to_owned()];
        let env = environment(&own, &proxy, &User::default());
        assert_eq!(env, ["HOME=/", "HTTP_PROXY=ours", "NO_PROXY=x"]);
    }
}
