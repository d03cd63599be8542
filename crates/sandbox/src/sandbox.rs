//! The native runtime.

use std::{
    fs, io,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::OnceLock,
};

use rustix::{
    fs::{MemfdFlags, Mode, OFlags},
    io::Errno,
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
        sendmsg, socketpair,
    },
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use crate::{
    Emulation, Running, SandboxError, Spec, Stdio, Step,
    fault::Fault,
    helper::{self, REQUEST_FDS},
    plan::Plan,
    running::Replies,
    runtime::Runtime,
    sys::{self, Fork},
    wire::Wire as _,
};

/// Starts processes through a helper process that was forked while the program was small.
///
/// Dropping it kills whatever still runs.
#[derive(Debug)]
pub struct Sandbox {
    /// Closed before the helper is waited for.
    control: Option<OwnedFd>,
    helper: Pid,
    emulation: OnceLock<Emulation>,
}

impl Sandbox {
    /// Forks the helper process. Best called before any thread is started, and after
    /// [`rootless::enter`](crate::rootless::enter).
    ///
    /// # Errors
    /// [`SandboxError::Start`].
    pub fn start() -> Result<Self, SandboxError> {
        let start = || {
            let (ours, theirs) = packet_sockets(SocketFlags::empty())?;
            // SAFETY: the helper allocates and makes system calls, and takes no lock besides.
            match unsafe { sys::fork() }? {
                // SAFETY: we are in the new process.
                Fork::Child => unsafe { helper::serve(theirs) },
                Fork::Parent(helper) => Ok(Self { control: Some(ours), helper, emulation: OnceLock::new() }),
            }
        };
        start().map_err(|errno: Errno| SandboxError::Start(errno.into()))
    }

    /// What this machine can run; looked at once, on first use.
    pub fn emulation(&self) -> &Emulation {
        self.emulation.get_or_init(Emulation::detect)
    }

    /// Starts a process. Returns when the program is executing. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub async fn run(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SandboxError> {
        let plan = Plan::new(spec, resolv_conf())?;
        let (ours, theirs) = packet_sockets(SocketFlags::NONBLOCK).map_err(talk)?;
        let replies = Replies::new(ours)?;
        self.request(&plan, &theirs, stdio).map_err(talk)?;
        // Only the helper's copy may remain, so that its end is noticed.
        drop(theirs);
        match replies.started().await? {
            Ok(()) => Ok(Running::native(replies)),
            Err(fault) => Err(explain(fault, spec, &plan)),
        }
    }

    fn request(&self, plan: &Plan, replies: &OwnedFd, stdio: Stdio) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        plan.put(&mut bytes);
        let file = rustix::fs::memfd_create(c"archway-plan", MemfdFlags::CLOEXEC)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        let [input, output, error] = [or_null(stdio.stdin)?, or_null(stdio.stdout)?, or_null(stdio.stderr)?];
        let fds: [_; REQUEST_FDS] =
            [file.as_fd(), replies.as_fd(), input.as_fd(), output.as_fd(), error.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REQUEST_FDS))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        buffer.push(SendAncillaryMessage::ScmRights(&fds));
        let control = self.control.as_ref().ok_or(Errno::BADF)?;
        sendmsg(control, &[IoSlice::new(&[0])], &mut buffer, SendFlags::NOSIGNAL).map(drop)
    }
}

impl Runtime for Sandbox {
    async fn run(&self, spec: &Spec, stdio: Stdio) -> Result<Running, SandboxError> {
        Self::run(self, spec, stdio).await
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.control = None;
        // It kills its children and waits for them, so that all mounts are gone when we return.
        let _ = waitid(WaitId::Pid(self.helper), WaitIdOptions::EXITED);
    }
}

fn talk(errno: Errno) -> SandboxError {
    match errno {
        Errno::PIPE | Errno::CONNRESET => SandboxError::HelperGone,
        errno => SandboxError::Talk(errno.into()),
    }
}

fn packet_sockets(flags: SocketFlags) -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)
}

fn or_null(stream: Option<OwnedFd>) -> Result<OwnedFd, Errno> {
    let null = || rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    stream.map_or_else(null, Ok)
}

/// This machine's name servers. A machine without the file asks itself, and so do its processes.
pub(crate) fn resolv_conf() -> Vec<u8> {
    fs::read("/etc/resolv.conf").unwrap_or_default()
}

/// What a fault means for `spec`.
fn explain(fault: Fault, spec: &Spec, plan: &Plan) -> SandboxError {
    let program = || spec.argv.first().cloned().unwrap_or_default();
    let index = fault.index as usize;
    let text = |path: Option<&std::ffi::CString>| path.map(|path| path.to_string_lossy().into_owned());
    let detail = match (fault.step, fault.errno) {
        (Step::Execute, Errno::NOENT) if fault.index == Fault::LOADER => {
            return SandboxError::LoaderMissing { program: program() };
        }
        (Step::Execute, Errno::NOENT | Errno::NOTDIR) => {
            return SandboxError::ProgramNotFound { program: program() };
        }
        (Step::Execute, Errno::ACCESS) => return SandboxError::ProgramNotExecutable { program: program() },
        (Step::Execute, Errno::NOEXEC) => return SandboxError::WrongFormat { program: program() },
        (Step::Execute, _) => Some(program()),
        (Step::WorkingDirectory, _) => Some(spec.cwd.clone()),
        (Step::Mount, _) => text(plan.mounts.get(index).map(|mount| &mount.target)),
        (Step::Limits, _) => spec.limits.get(index).map(|limit| limit.resource.name().to_owned()),
        (Step::Files, _) => text(plan.files.get(index).map(|file| &file.target)),
        _ => None,
    };
    SandboxError::Setup { step: fault.step, detail, source: io::Error::from(fault.errno) }
}
