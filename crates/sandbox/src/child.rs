//! The new process, from its birth to its program.
//!
//! It was cloned from the helper, which has one thread, so allocating is safe; little is allocated all
//! the same, because every page that is written has to be copied.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Access, CWD, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
    mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount},
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    Step, cgroup, devices,
    fault::{At, Fault},
    kernel_files,
    mounts::{self, INERT, Kind, READ_ONLY, Root},
    overlay,
    plan::{Changes, Emulator, Layers, MemoryFile, Plan, Source},
    privileges, sys,
};

/// What a new process is given.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) plan: &'a Plan,
    /// Standard input, output, error.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    /// System call filter, if there is one for this machine.
    pub(crate) filter: Option<&'a [libc::sock_filter]>,
    /// User namespace in which the emulator is registered.
    pub(crate) emulation: Option<BorrowedFd<'a>>,
}

impl Birth<'_> {
    /// Becomes the program, or reports why not and ends.
    pub(crate) fn live(&self, report: BorrowedFd<'_>) -> ! {
        let Err(fault) = self.become_program();
        // If nobody reads it, nobody wants to know.
        let _ = rustix::io::write(report, &fault.to_bytes());
        sys::exit(127)
    }

    fn become_program(&self) -> Result<Infallible, Fault> {
        let plan = self.plan;
        die_with_parent().at(Step::Namespaces)?;
        rustix::process::setsid().at(Step::Namespaces)?;
        if !plan.cgroups.is_empty() {
            cgroup::enter(plan.cgroups.iter().map(CString::as_c_str)).at(Step::Cgroups)?;
        }
        if plan.niceness > 0 {
            stand_back(plan.niceness);
        }
        // Refused where keys are not configured or a quota is used up; nothing depends on it.
        let _ = sys::join_new_session_keyring();
        rustix::process::umask(Mode::empty());
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(c"/", private).at(Step::Propagation)?;

        if plan.isolated_network {
            bring_up_loopback().at(Step::Loopback)?;
        }
        let starter = self.open_starter().at(Step::Emulator)?;
        let scratch = Scratch::new(plan).at(Step::Scratch)?;
        let root_mount =
            scratch.overlay(&plan.lowers, Bottom::MountPoints, plan.changes.as_ref()).at(Step::RootFs)?;
        mounts::attach(&root_mount, &scratch.0, c"root").at(Step::RootFs)?;
        let root = Root(root_mount.as_fd());
        kernel_files::mount_proc(root).at(Step::Proc)?;
        kernel_files::mount_sys(root, plan.insecure).at(Step::Sys)?;
        let dev = devices::mount(root, &plan.shm_size).at(Step::Dev)?;
        if plan.insecure {
            devices::add_insecure(&dev).at(Step::Dev)?;
        }
        self.show_files(&scratch, root)?;
        self.mount_extra(&scratch, root)?;
        self.show_emulator(root).at(Step::Emulator)?;
        if !plan.insecure {
            kernel_files::mask(root, dev.as_fd(), scratch.0.as_fd()).at(Step::Mask)?;
        }
        pivot(&root_mount, &scratch).at(Step::Pivot)?;

        rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        self.enter_directory(root).at(Step::WorkingDirectory)?;
        self.connect_streams().at(Step::Streams)?;
        if let Some(emulation) = self.emulation {
            move_into_link_name_space(emulation, Some(LinkNameSpaceType::User)).at(Step::Emulator)?;
        }
        for (index, limit) in plan.limits.iter().enumerate() {
            sys::set_limit(limit.resource, limit.soft, limit.hard).at_index(Step::Limits, index)?;
        }
        if plan.insecure {
            privileges::become_user_with_all(plan.uid, plan.gid, &plan.groups).at(Step::User)?;
        } else {
            self.give_up_privileges()?;
        }
        // Changing the user has cleared it.
        die_with_parent().at(Step::User)?;
        sys::close_on_exec_from(3).at(Step::Streams)?;
        self.execute(starter)
    }

    fn give_up_privileges(&self) -> Result<(), Fault> {
        let plan = self.plan;
        privileges::limit_bounding_set().at(Step::Capabilities)?;
        // Needs CAP_SYS_ADMIN, as the process may gain privileges later (no no_new_privs, as in Docker).
        if let Some(filter) = self.filter {
            sys::install_filter(filter).at(Step::Seccomp)?;
        }
        privileges::become_user(plan.uid, plan.gid, &plan.groups).at(Step::User)?;
        privileges::limit(plan.uid).at(Step::Capabilities)
    }

    fn show_files(&self, scratch: &Scratch, root: Root<'_>) -> Result<(), Fault> {
        for (index, file) in self.plan.files.iter().enumerate() {
            scratch.show(index, file, root).at_index(Step::Files, index)?;
        }
        Ok(())
    }

    fn mount_extra(&self, scratch: &Scratch, root: Root<'_>) -> Result<(), Fault> {
        for (index, mount) in self.plan.mounts.iter().enumerate() {
            mount_one(scratch, index, mount, root).at_index(Step::Mount, index)?;
        }
        Ok(())
    }

    fn enter_directory(&self, root: Root<'_>) -> Result<(), Errno> {
        let owner = (self.plan.uid, self.plan.gid);
        rustix::process::fchdir(root.open_or_create_for(&self.plan.cwd, Kind::Directory, owner)?)
    }

    fn show_emulator(&self, root: Root<'_>) -> Result<(), Errno> {
        let Some(Emulator::Show(path)) = &self.plan.emulator else { return Ok(()) };
        let program = mounts::copy_path(path, false)?;
        mounts::make_read_only(&program, false)?;
        mounts::attach_on(&program, root.open_or_create(path, Kind::File)?)
    }

    /// The emulator with which the program is started, opened while it can be seen.
    fn open_starter(&self) -> Result<Option<OwnedFd>, Errno> {
        let Some(Emulator::Start(path)) = &self.plan.emulator else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(path.as_c_str(), flags, Mode::empty()).map(Some)
    }

    fn connect_streams(&self) -> Result<(), Errno> {
        let [input, output, error] = self.streams;
        for stream in self.streams {
            // So that a user other than root can open /dev/stdout. Only pipes are ours to give away.
            if FileType::from_raw_mode(rustix::fs::fstat(stream)?.st_mode) == FileType::Fifo {
                let (uid, gid) = (self.plan.uid, self.plan.gid);
                let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
                let _ = rustix::fs::fchown(stream, Some(owner.0), Some(owner.1));
            }
        }
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(error)
    }

    fn execute(&self, starter: Option<OwnedFd>) -> Result<Infallible, Fault> {
        let plan = self.plan;
        let mut failure = Fault { step: Step::Execute, index: 0, errno: Errno::NOENT };
        for program in &plan.programs {
            let errno = match &starter {
                None => sys::execute(program, &plan.argv, &plan.env),
                Some(starter) => match rustix::fs::accessat(
                    CWD,
                    program.as_c_str(),
                    Access::EXEC_OK,
                    rustix::fs::AtFlags::EACCESS,
                ) {
                    Ok(()) => self.execute_with(starter.as_fd(), program),
                    Err(errno) => errno,
                },
            };
            failure = match errno {
                Errno::NOENT | Errno::NOTDIR if !exists(program) => continue,
                Errno::NOENT => return Err(Fault { index: Fault::LOADER, errno, ..failure }),
                Errno::ACCESS => Fault { errno, ..failure },
                errno => return Err(Fault { errno, ..failure }),
            };
        }
        Err(failure)
    }

    fn execute_with(&self, starter: BorrowedFd<'_>, program: &CStr) -> Errno {
        let (name, rest) =
            self.plan.argv.split_first().map_or((program, &[][..]), |(name, rest)| (name, rest));
        let mut argv = vec![c"qemu", c"-0", name, program];
        argv.extend(rest.iter().map(CString::as_c_str));
        sys::execute_open(starter, &argv, &self.plan.env)
    }
}

fn exists(program: &CStr) -> bool {
    rustix::fs::access(program, Access::EXISTS).is_ok()
}

fn die_with_parent() -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

/// Leaves processors to others. Nothing depends on it, so it is no matter whether it works.
fn stand_back(niceness: u8) {
    let _ = rustix::process::nice(niceness.into());
    // Where the kernel groups processes by session, it compares sessions first, and we have just begun one.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(group) = rustix::fs::open(c"/proc/self/autogroup", flags, Mode::empty()) {
        let _ = rustix::io::write(&group, niceness.to_string().as_bytes());
    }
}

fn bring_up_loopback() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::bring_up_loopback(socket.as_fd())
}

fn mount_one(
    scratch: &Scratch,
    index: usize,
    mount: &crate::plan::Mount,
    root: Root<'_>,
) -> Result<(), Errno> {
    let tree = match &mount.source {
        Source::Bind { path, .. } => mounts::copy_path(path, true)?,
        Source::Tmpfs(size) => {
            let size = size.as_deref().map(|size| (c"size", size));
            let options: Vec<_> = [(c"mode", c"1777")].into_iter().chain(size).collect();
            mounts::file_system(c"tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)?
        }
        Source::Layers(layers) => scratch.part(index, layers)?,
        Source::File(file) => scratch.private_file(index, file)?,
    };
    if mount.read_only {
        mounts::make_read_only(&tree, true)?;
    }
    let kind = if mount.source.is_directory() { Kind::Directory } else { Kind::File };
    mounts::attach_on(&tree, root.open_or_create(&mount.target, kind)?)
}

/// Makes the mount the root directory, and the old root invisible.
fn pivot(root: &OwnedFd, scratch: &Scratch) -> Result<(), Errno> {
    // Each unmounting waits for all processors of the machine. Somewhere in the old root, instead of over
    // it, the scratch directory goes with it.
    mounts::attach(&scratch.0, CWD, c"/proc")?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    // The old root is now over the new one.
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// What is below the lowest layer of an overlay, so that even one layer makes an overlay.
#[derive(Debug, Clone, Copy)]
enum Bottom {
    /// The mount points of the root file system.
    MountPoints,
    /// Nothing.
    Empty,
}

impl Bottom {
    /// Its directory, seen from the scratch directory and from a directory in it.
    fn names(self) -> (&'static CStr, &'static CStr) {
        match self {
            Self::MountPoints => (c"lower", c"../lower"),
            Self::Empty => (c"empty", c"../empty"),
        }
    }
}

/// A tmpfs of this process alone: mount points to go below the root file system (`lower`), generated
/// files (`files`), an empty directory (`empty`), the place of the root file system (`root`) and of others
/// that parts are mounted from (`sources`). It is mounted over `/`, where no path leads to it, and is gone
/// with the old root.
#[derive(Debug)]
struct Scratch(OwnedFd);

impl Scratch {
    fn new(plan: &Plan) -> Result<Self, Errno> {
        let scratch = mounts::file_system(c"tmpfs", &[(c"mode", c"755")], MountAttrFlags::empty())?;
        mounts::attach(&scratch, CWD, c"/")?;
        let directory = Mode::from_raw_mode(0o755);
        for name in [c"root", c"lower", c"files", c"empty", c"links", c"sources"] {
            rustix::fs::mkdirat(&scratch, name, directory)?;
        }
        let lower = rustix::fs::openat(&scratch, c"lower", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        for stub in &plan.stubs {
            if stub.directory {
                rustix::fs::mkdirat(&lower, stub.path.as_c_str(), directory)?;
            } else {
                let mode = Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(&lower, stub.path.as_c_str(), FileType::RegularFile, mode, 0)?;
            }
        }
        Ok(Self(scratch))
    }

    /// Mounts an overlay of `lowers`, top first, with `bottom` below and `changes` on top, and attaches it nowhere.
    fn overlay(
        &self,
        lowers: &[CString],
        bottom: Bottom,
        changes: Option<&Changes>,
    ) -> Result<OwnedFd, Errno> {
        let mut lowers: Vec<&CStr> = lowers.iter().map(CString::as_c_str).collect();
        // Relative to this directory, which has no path of its own.
        let (here, from_links) = bottom.names();
        lowers.push(here);
        rustix::process::fchdir(&self.0)?;
        let changes = changes.map(|changes| (changes.upper.as_c_str(), changes.work.as_c_str()));
        match overlay::one_by_one(&lowers, changes) {
            Err(Errno::INVAL) => {
                let links = mounts::file_system(c"tmpfs", &[], MountAttrFlags::empty())?;
                mounts::attach(&links, &self.0, c"links")?;
                *lowers.last_mut().expect("it has just been pushed") = from_links;
                overlay::in_one_string(links.as_fd(), &lowers, changes)
            }
            result => result,
        }
    }

    /// A part of a root file system, to be mounted elsewhere. The whole has to be attached somewhere: a
    /// mount that is not cannot be copied.
    fn part(&self, index: usize, layers: &Layers) -> Result<OwnedFd, Errno> {
        let whole = match (layers.lowers.as_slice(), &layers.changes) {
            // An overlay of one directory needs one for changes.
            ([], None) => mounts::copy(&self.0, c"empty", false)?,
            (lowers, changes) => self.overlay(lowers, Bottom::Empty, changes.as_ref())?,
        };
        let name = CString::new(format!("sources/{index}")).map_err(|_| Errno::INVAL)?;
        rustix::fs::mkdirat(&self.0, name.as_c_str(), Mode::from_raw_mode(0o755))?;
        mounts::attach(&whole, &self.0, &name)?;
        let part = Root(whole.as_fd()).open(&layers.path)?;
        mounts::copy(part, c"", true)
    }

    /// Writes a file that only its owner may see, to be mounted elsewhere.
    fn private_file(&self, index: usize, file: &MemoryFile) -> Result<OwnedFd, Errno> {
        let name = CString::new(format!("files/private-{index}")).map_err(|_| Errno::INVAL)?;
        let written = self.write(&name, file.content.bytes(), 0o600)?;
        let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
        rustix::fs::fchown(&written, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&written, Mode::from_raw_mode(file.mode))?;
        // An open writer would make its execution fail.
        drop(written);
        let copy = mounts::copy(&self.0, &name, false)?;
        let executable = file.mode & 0o111 != 0;
        let attributes = if executable { INERT - MountAttrFlags::MOUNT_ATTR_NOEXEC } else { INERT };
        mounts::restrict(&copy, attributes | READ_ONLY)?;
        Ok(copy)
    }

    fn write(&self, name: &CStr, content: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let writer = rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode))?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&writer, rest)?..];
        }
        Ok(writer)
    }

    /// Writes a file and shows it read-only at its place.
    fn show(&self, index: usize, file: &crate::plan::File, root: Root<'_>) -> Result<(), Errno> {
        let name = CString::new(format!("files/{index}")).map_err(|_| Errno::INVAL)?;
        // An open writer would make its execution fail.
        drop(self.write(&name, &file.content, file.mode)?);
        let copy = mounts::copy(&self.0, &name, false)?;
        mounts::make_read_only(&copy, false)?;
        mounts::attach_on(&copy, root.open_or_create(&file.target, Kind::File)?)
    }
}
