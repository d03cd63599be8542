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
    fs::{Access, CWD, FileType, Mode, OFlags},
    io::Errno,
    mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount},
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    Step, devices,
    fault::{At, Fault},
    kernel_files,
    mounts::{self, Kind, Root},
    overlay,
    plan::{Emulator, Plan, Source},
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
        let root_mount = self.mount_root(&scratch)?;
        mounts::attach(&root_mount, &scratch.0, c"root").at(Step::RootFs)?;
        let root = Root(root_mount.as_fd());
        kernel_files::mount_proc(root).at(Step::Proc)?;
        kernel_files::mount_sys(root).at(Step::Sys)?;
        let dev = devices::mount(root).at(Step::Dev)?;
        self.show_files(&scratch, root)?;
        self.mount_extra(root)?;
        self.show_emulator(root).at(Step::Emulator)?;
        kernel_files::mask(root, dev.as_fd(), scratch.0.as_fd()).at(Step::Mask)?;
        pivot(&root_mount).at(Step::Pivot)?;

        rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        enter_directory(root, &plan.cwd).at(Step::WorkingDirectory)?;
        self.connect_streams().at(Step::Streams)?;
        if let Some(emulation) = self.emulation {
            move_into_link_name_space(emulation, Some(LinkNameSpaceType::User)).at(Step::Emulator)?;
        }
        privileges::limit_bounding_set().at(Step::Capabilities)?;
        // Needs CAP_SYS_ADMIN, as the process may gain privileges later (no no_new_privs, as in Docker).
        if let Some(filter) = self.filter {
            sys::install_filter(filter).at(Step::Seccomp)?;
        }
        privileges::become_user(plan.uid, plan.gid, &plan.groups).at(Step::User)?;
        privileges::limit(plan.uid).at(Step::Capabilities)?;
        // Changing the user has cleared it.
        die_with_parent().at(Step::User)?;
        sys::close_on_exec_from(3).at(Step::Streams)?;
        self.execute(starter)
    }

    fn mount_root(&self, scratch: &Scratch) -> Result<OwnedFd, Fault> {
        let plan = self.plan;
        let mut lowers: Vec<&CStr> = plan.lowers.iter().map(CString::as_c_str).collect();
        // Relative to the scratch directory, which has no path of its own.
        lowers.push(c"lower");
        rustix::process::fchdir(&scratch.0).at(Step::RootFs)?;
        let changes =
            plan.changes.as_ref().map(|changes| (changes.upper.as_c_str(), changes.work.as_c_str()));
        match overlay::one_by_one(&lowers, changes) {
            Err(Errno::INVAL) => {
                let links = mounts::file_system(c"tmpfs", &[], MountAttrFlags::empty()).at(Step::RootFs)?;
                mounts::attach(&links, &scratch.0, c"links").at(Step::RootFs)?;
                *lowers.last_mut().expect("it has just been pushed") = c"../lower";
                overlay::in_one_string(links.as_fd(), &lowers, changes).at(Step::RootFs)
            }
            result => result.at(Step::RootFs),
        }
    }

    fn show_files(&self, scratch: &Scratch, root: Root<'_>) -> Result<(), Fault> {
        for (index, file) in self.plan.files.iter().enumerate() {
            scratch.show(index, file, root).at_index(Step::Files, index)?;
        }
        Ok(())
    }

    fn mount_extra(&self, root: Root<'_>) -> Result<(), Fault> {
        for (index, mount) in self.plan.mounts.iter().enumerate() {
            mount_one(mount, root).at_index(Step::Mount, index)?;
        }
        Ok(())
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
                let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
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

fn bring_up_loopback() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::bring_up_loopback(socket.as_fd())
}

fn mount_one(mount: &crate::plan::Mount, root: Root<'_>) -> Result<(), Errno> {
    let (tree, kind) = match &mount.source {
        Source::Bind { path, directory } => {
            let kind = if *directory { Kind::Directory } else { Kind::File };
            (mounts::copy_path(path, true)?, kind)
        }
        Source::Tmpfs(size) => {
            let size = size.as_deref().map(|size| (c"size", size));
            let options: Vec<_> = [(c"mode", c"1777")].into_iter().chain(size).collect();
            (mounts::file_system(c"tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)?, Kind::Directory)
        }
    };
    if mount.read_only {
        mounts::make_read_only(&tree, true)?;
    }
    mounts::attach_on(&tree, root.open_or_create(&mount.target, kind)?)
}

/// Makes the mount the root directory, and the old root invisible.
fn pivot(root: &OwnedFd) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    // The old root is now over the new one, and the scratch directory is over it.
    unmount(c".", UnmountFlags::DETACH)?;
    unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

fn enter_directory(root: Root<'_>, path: &CStr) -> Result<(), Errno> {
    rustix::process::fchdir(root.open_or_create(path, Kind::Directory)?)
}

/// A tmpfs of this process alone: mount points to go below the root file system (`lower`), generated
/// files (`files`), an empty directory (`empty`), the place of the root file system (`root`). It is
/// mounted over `/`, where no path leads to it, and is gone with the old root.
#[derive(Debug)]
struct Scratch(OwnedFd);

impl Scratch {
    fn new(plan: &Plan) -> Result<Self, Errno> {
        let scratch = mounts::file_system(c"tmpfs", &[(c"mode", c"755")], MountAttrFlags::empty())?;
        mounts::attach(&scratch, CWD, c"/")?;
        let directory = Mode::from_raw_mode(0o755);
        for name in [c"root", c"lower", c"files", c"empty", c"links"] {
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

    /// Writes a file and shows it read-only at its place.
    fn show(&self, index: usize, file: &crate::plan::File, root: Root<'_>) -> Result<(), Errno> {
        let name = CString::new(format!("files/{index}")).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let writer = rustix::fs::openat(&self.0, name.as_c_str(), flags, Mode::from_raw_mode(file.mode))?;
        let mut rest = file.content.as_slice();
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&writer, rest)?..];
        }
        // An open writer would make its execution fail.
        drop(writer);
        let copy = mounts::copy(&self.0, &name, false)?;
        mounts::make_read_only(&copy, false)?;
        mounts::attach_on(&copy, root.open_or_create(&file.target, Kind::File)?)
    }
}
