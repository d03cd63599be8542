//! A process in namespaces of its own, with everything around it that does not depend on what it is to run.
//!
//! The helper makes the next cell while the last program runs: a step that follows another one, as most do, finds it
//! ready. Whether ahead or on demand, it is made in the same way, and then gets its [`Task`].

use std::{
    ffi::CString,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountPropagationFlags, mount_change},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    pipe::{PipeFlags, pipe_with},
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use crate::{
    Step, cgroup, child, devices,
    fault::{At as _, Fault},
    kernel_files,
    mounts::Root,
    plan::Plan,
    scratch::Scratch,
    sys::{self, Clone},
    wire::Wire as _,
};

/// Namespaces of every process. One that enters control groups makes its control group namespace then.
const NAMESPACES: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Most file descriptors of a task: plan, standard streams, user namespace of the emulator.
const TASK_FDS: usize = 5;

/// What has to be known to make a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    insecure: bool,
    isolated_network: bool,
    /// Control groups to enter.
    pub(crate) cgroups: Vec<CString>,
}

impl Setting {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            insecure: plan.insecure,
            isolated_network: plan.isolated_network,
            cgroups: plan.cgroups.clone(),
        }
    }

    /// Whether another process may have the same: control groups are made for one.
    pub(crate) fn is_common(&self) -> bool {
        self.cgroups.is_empty()
    }

    fn namespaces(&self) -> i32 {
        let network = if self.isolated_network { libc::CLONE_NEWNET } else { 0 };
        let groups = if self.cgroups.is_empty() { libc::CLONE_NEWCGROUP } else { 0 };
        NAMESPACES | network | groups
    }
}

/// A cell, seen from the helper.
pub(crate) struct Cell {
    pub(crate) setting: Setting,
    pub(crate) process: OwnedFd,
    /// Carries a [`Fault`], or ends when the program executes.
    pub(crate) report: OwnedFd,
    /// Takes one task; when it is closed without, the process ends.
    tasks: OwnedFd,
}

impl Cell {
    /// Makes a cell. `filter` is for the system calls of its program.
    ///
    /// # Safety
    /// The caller must have one thread only.
    pub(crate) unsafe fn make(setting: Setting, filter: Option<&[libc::sock_filter]>) -> Result<Self, Fault> {
        let (report, writer) = pipe_with(PipeFlags::CLOEXEC).at(Step::Namespaces)?;
        let (tasks, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .at(Step::Namespaces)?;
        // SAFETY: the caller has one thread.
        match unsafe { sys::clone3(setting.namespaces()) }.at(Step::Namespaces)? {
            Clone::Child => {
                // SAFETY: this process was made for it, and owns nothing that is dropped later.
                unsafe { child::live(&setting, filter, theirs.as_fd(), writer.as_fd()) }
            }
            Clone::Parent { pidfd, .. } => Ok(Self { setting, process: pidfd, report, tasks }),
        }
    }

    /// Tells it what to run.
    ///
    /// # Errors
    /// When the process has ended; its report may say why.
    pub(crate) fn hand_over(&self, task: &Task) -> Result<(), Errno> {
        let [input, output, error] = &task.streams;
        let always = [&task.plan, input, output, error].map(OwnedFd::as_fd);
        let fds: Vec<BorrowedFd<'_>> =
            always.into_iter().chain(task.emulation.as_ref().map(OwnedFd::as_fd)).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TASK_FDS))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        buffer.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.tasks, &[IoSlice::new(&[0])], &mut buffer, SendFlags::NOSIGNAL).map(drop)
    }

    /// Ends a cell that got no task, with all its mounts.
    pub(crate) fn end(self) {
        // Fails if it has ended already.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

/// What a cell is to do.
pub(crate) struct Task {
    /// A file with an encoded [`Plan`].
    pub(crate) plan: OwnedFd,
    /// Standard input, output, error.
    pub(crate) streams: [OwnedFd; 3],
    /// User namespace in which the emulator is registered.
    pub(crate) emulation: Option<OwnedFd>,
}

impl Task {
    /// Waits for the task; `None` if there will be none.
    pub(crate) fn receive(tasks: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let mut fds = match receive_fds::<TASK_FDS>(tasks)? {
            Some(fds) => fds.into_iter(),
            None => return Ok(None),
        };
        let mut next = || fds.next().ok_or(Errno::BADMSG);
        let (plan, streams) = (next()?, [next()?, next()?, next()?]);
        Ok(Some(Self { plan, streams, emulation: fds.next() }))
    }

    pub(crate) fn plan(&self) -> Result<Plan, Errno> {
        let bytes = read_all(&self.plan)?;
        Plan::take(&mut bytes.as_slice()).ok_or(Errno::BADMSG)
    }
}

/// Waits for a message of one byte and file descriptors; `None` if the other end is closed.
pub(crate) fn receive_fds<const MOST: usize>(socket: BorrowedFd<'_>) -> Result<Option<Vec<OwnedFd>>, Errno> {
    let mut byte = [0];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut buffer, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let fds = buffer.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    Ok(Some(fds.collect()))
}

fn read_all(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let size = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| Errno::INVAL)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64)? {
            0 => return Err(Errno::BADMSG),
            count => filled += count,
        }
    }
    Ok(bytes)
}

/// Gives the calling process, which has just been made, what its setting asks for: what every root file system
/// has, in a scratch directory, masked already.
pub(crate) fn furnish(setting: &Setting) -> Result<Scratch, Fault> {
    die_with_parent().at(Step::Namespaces)?;
    rustix::process::setsid().at(Step::Namespaces)?;
    if !setting.cgroups.is_empty() {
        cgroup::enter(setting.cgroups.iter().map(CString::as_c_str)).at(Step::Cgroups)?;
    }
    // Refused where keys are not configured or a quota is used up; nothing depends on it.
    let _ = sys::join_new_session_keyring();
    rustix::process::umask(Mode::empty());
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).at(Step::Propagation)?;
    if setting.isolated_network {
        bring_up_loopback().at(Step::Loopback)?;
    }
    let scratch = Scratch::new().at(Step::Scratch)?;
    let root = Root(scratch.0.as_fd());
    kernel_files::mount_proc(root).at(Step::Proc)?;
    kernel_files::mount_sys(root, setting.insecure).at(Step::Sys)?;
    let dev = devices::mount(root).at(Step::Dev)?;
    if setting.insecure {
        devices::add_insecure(&dev).at(Step::Dev)?;
    } else {
        kernel_files::mask(root, dev.as_fd()).at(Step::Mask)?;
    }
    Ok(scratch)
}

pub(crate) fn die_with_parent() -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

fn bring_up_loopback() -> Result<(), Errno> {
    use rustix::net::socket_with;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::bring_up_loopback(socket.as_fd())
}
