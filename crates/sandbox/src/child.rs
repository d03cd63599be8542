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
    mount::{MountAttrFlags, UnmountFlags, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    Step,
    cell::{Setting, Task, die_with_parent, furnish},
    devices,
    fault::{At, Fault},
    mounts::{self, Kind, Root},
    plan::{Emulator, Plan, Source},
    privileges,
    scratch::{Bottom, Scratch},
    sys,
};

/// The life of a new process: furnishes its cell, waits for its task, and becomes the program; or reports why not, and
/// ends.
///
/// # Safety
/// Must be called in a process that was just made: closes every file descriptor but the given ones and the
/// standard streams.
pub(crate) unsafe fn live(
    setting: &Setting,
    filter: Option<&[libc::sock_filter]>,
    tasks: BorrowedFd<'_>,
    report: BorrowedFd<'_>,
) -> ! {
    let lived = || {
        let [input, output, error] =
            [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        // What the helper has of other processes would stay open as long as this one waits.
        // SAFETY: as the caller promises; this function does not return, and nothing is dropped at its end.
        unsafe { sys::close_all_but(&[input, output, error, tasks, report]) }.at(Step::Namespaces)?;
        let scratch = furnish(setting)?;
        let Some(task) = Task::receive(tasks).at(Step::Request)? else { return Ok(()) };
        let plan = task.plan().at(Step::Request)?;
        Birth { plan: &plan, task: &task, filter, scratch: &scratch }
            .become_program()
            .map(|never| match never {})
    };
    if let Err(fault) = lived() {
        // If nobody reads it, nobody wants to know.
        let _ = rustix::io::write(report, &Fault::to_bytes(fault));
    }
    sys::exit(127)
}

/// What a new process is given.
struct Birth<'a> {
    plan: &'a Plan,
    task: &'a Task,
    /// System call filter, if there is one for this machine.
    filter: Option<&'a [libc::sock_filter]>,
    scratch: &'a Scratch,
}

impl Birth<'_> {
    fn become_program(&self) -> Result<Infallible, Fault> {
        let (plan, scratch) = (self.plan, self.scratch);
        if plan.niceness > 0 {
            stand_back(plan.niceness);
        }
        let starter = self.open_starter().at(Step::Emulator)?;
        scratch.make_mount_points(&plan.stubs).at(Step::Scratch)?;
        let root_mount =
            scratch.overlay(&plan.lowers, Bottom::MountPoints, plan.changes.as_ref()).at(Step::RootFs)?;
        mounts::attach(&root_mount, &scratch.0, c"root").at(Step::RootFs)?;
        let root = Root(root_mount.as_fd());
        scratch.furnish(root)?;
        devices::mount_shared_memory(root, &plan.shm_size).at(Step::Dev)?;
        self.show_files(root)?;
        self.mount_extra(root)?;
        self.show_emulator(root).at(Step::Emulator)?;
        pivot(&root_mount, scratch).at(Step::Pivot)?;

        rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        self.enter_directory(root).at(Step::WorkingDirectory)?;
        self.connect_streams().at(Step::Streams)?;
        if let Some(emulation) = &self.task.emulation {
            move_into_link_name_space(emulation.as_fd(), Some(LinkNameSpaceType::User)).at(Step::Emulator)?;
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

    fn show_files(&self, root: Root<'_>) -> Result<(), Fault> {
        for (index, file) in self.plan.files.iter().enumerate() {
            self.scratch.show(index, file, root).at_index(Step::Files, index)?;
        }
        Ok(())
    }

    fn mount_extra(&self, root: Root<'_>) -> Result<(), Fault> {
        for (index, mount) in self.plan.mounts.iter().enumerate() {
            mount_one(self.scratch, index, mount, root).at_index(Step::Mount, index)?;
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
        let [input, output, error] = &self.task.streams;
        for stream in &self.task.streams {
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

/// Leaves processors to others. Nothing depends on it, so it is no matter whether it works.
fn stand_back(niceness: u8) {
    let _ = rustix::process::nice(niceness.into());
    // Where the kernel groups processes by session, it compares sessions first, and we have just begun one.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(group) = rustix::fs::open(c"/proc/self/autogroup", flags, Mode::empty()) {
        let _ = rustix::io::write(&group, niceness.to_string().as_bytes());
    }
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
