//! The helper: a process with one thread that was forked while the program was small, and that makes
//! all other processes.
//!
//! It gets requests over a seqpacket socket: one byte, and the file descriptors [`Request`] names. Each
//! request brings a socket of its own for [replies](Reply); when the other end of it is closed or shut
//! down, the process is killed. When the other end of the control socket is closed, because the program
//! has ended in whatever way, everything is killed and the helper ends. (A parent death signal would be
//! wrong: it comes when the *thread* that forked the helper ends.)

use std::{
    cell::OnceCell,
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags},
    io::Errno,
    net::{SendFlags, send},
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use crate::{
    Exit, Step,
    cell::{Cell, Setting, Task, receive_fds},
    cgroup,
    emulation::namespace::Registry,
    fault::{At, Fault},
    plan::Emulator,
    reply::Reply,
    seccomp, sys,
};

/// File descriptors of a request: plan (a memory file), reply socket, standard streams.
pub(crate) const REQUEST_FDS: usize = 5;

/// Serves requests until the program ends.
///
/// # Safety
/// Must be called in a process that was just forked: closes every file descriptor but `control`.
pub(crate) unsafe fn serve(control: OwnedFd) -> ! {
    // SAFETY: the caller's other file descriptors are never used or dropped: this function does not
    // return, and the process ends without running destructors.
    let ready =
        unsafe { sys::close_all_but(&[control.as_fd()]) }.is_ok() && occupy_standard_streams().is_ok();
    // A session of its own, so that the terminal's Ctrl-C reaches the program and not the helper.
    let _ = rustix::process::setsid();
    sys::reset_signals();
    if ready {
        let (filter, runs) = (OnceCell::new(), Vec::new());
        Helper { control, filter, runs, registry: None, spare: None, likely: None }.serve();
    }
    sys::exit(0)
}

/// So that no other file gets the numbers 0 to 2.
fn occupy_standard_streams() -> Result<(), Errno> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    if std::os::fd::AsRawFd::as_raw_fd(&null) <= 2 {
        std::mem::forget(null);
    }
    Ok(())
}

struct Helper {
    control: OwnedFd,
    /// The system call filter. Made for the first process: a build that finds everything in the cache has none.
    filter: OnceCell<Option<Vec<libc::sock_filter>>>,
    runs: Vec<Run>,
    /// Made when the first process needs it.
    registry: Option<Registry>,
    /// Waits for the next process.
    spare: Option<Cell>,
    /// What a spare cell is to be made for, as soon as nobody waits for the helper.
    likely: Option<Setting>,
}

/// A process and who waits for it.
struct Run {
    process: OwnedFd,
    replies: OwnedFd,
    /// Carries a [`Fault`], or ends when the program executes.
    report: Option<OwnedFd>,
    killed: bool,
    /// Whether its end is of interest.
    started: bool,
    /// Control groups that it entered.
    cgroups: Vec<CString>,
}

impl Helper {
    fn serve(&mut self) {
        while let Ok(ready) = self.poll() {
            // First what was there when polling.
            let runs = ready.runs.into_iter();
            let mut ended = Vec::new();
            for (index, (run, events)) in self.runs.iter_mut().zip(runs).enumerate() {
                if run.attend(events) {
                    ended.push(index);
                }
            }
            for index in ended.into_iter().rev() {
                let run = self.runs.swap_remove(index);
                if run.killed {
                    run.remove_groups();
                }
            }
            if ready.request && !self.take_request() {
                break;
            }
            if !ready.request && self.runs.iter().all(|run| run.report.is_none()) {
                self.make_spare();
            }
        }
        for run in &self.runs {
            run.kill();
        }
        if let Some(spare) = self.spare.take() {
            spare.end();
        }
        for run in &self.runs {
            let _ = run.reap();
            run.remove_groups();
        }
    }

    fn poll(&self) -> Result<Ready, Errno> {
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        for run in &self.runs {
            fds.push(PollFd::new(&run.process, PollFlags::IN));
            // The socket of a killed process would stay ready until the process is gone.
            let replies = if run.killed { &run.process } else { &run.replies };
            fds.push(PollFd::new(replies, PollFlags::IN));
            let report = run.report.as_ref().map_or(&run.process, |report| report);
            fds.push(PollFd::new(report, PollFlags::IN));
        }
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                result => break result.map(drop)?,
            }
        }
        let (control, runs) = fds.split_first().ok_or(Errno::INVAL)?;
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let events = |fds: &[PollFd<'_>]| match fds {
            [process, replies, report] => {
                Events { process: is_ready(process), replies: is_ready(replies), report: is_ready(report) }
            }
            _ => Events::default(),
        };
        Ok(Ready { request: is_ready(control), runs: runs.chunks(3).map(events).collect() })
    }

    /// Takes one request; `false` if the program has ended.
    fn take_request(&mut self) -> bool {
        let request = match Request::receive(self.control.as_fd()) {
            Ok(Some(request)) => request,
            Ok(None) => return false,
            // Too many open files. The reply socket is closed, which the other side understands.
            Err(Errno::BADMSG) => return true,
            Err(_) => return false,
        };
        let Request { task, replies } = request;
        match self.start(task) {
            Ok(Cell { setting, process, report, .. }) => {
                let (report, cgroups) = (Some(report), setting.cgroups);
                self.runs.push(Run { process, replies, report, killed: false, started: false, cgroups });
            }
            Err(fault) => tell(&replies, Reply::Failed(fault)),
        }
        true
    }

    /// Starts a process, in the spare cell if that is of the right kind.
    fn start(&mut self, mut task: Task) -> Result<Cell, Fault> {
        let plan = task.plan().at(Step::Request)?;
        if let Some(Emulator::Register { name, line }) = &plan.emulator {
            task.emulation = Some(self.registered(name, line).at(Step::Emulator)?);
        }
        let setting = Setting::of(&plan);
        self.likely = setting.is_common().then(|| setting.clone());
        if let Some(spare) = self.spare.take_if(|spare| spare.setting == setting) {
            // One that someone killed is as good as none.
            match spare.hand_over(&task) {
                Ok(()) => return Ok(spare),
                Err(_) => spare.end(),
            }
        }
        let cell = self.make_cell(setting)?;
        // If it has ended, its report says why.
        let _ = cell.hand_over(&task);
        Ok(cell)
    }

    fn make_cell(&self, setting: Setting) -> Result<Cell, Fault> {
        let filter = self.filter.get_or_init(seccomp::filter).as_deref();
        // SAFETY: the helper has one thread.
        unsafe { Cell::make(setting, filter) }
    }

    /// Makes a cell for the next process, which is mostly like the last one.
    fn make_spare(&mut self) {
        let Some(setting) = self.likely.take() else { return };
        if self.spare.as_ref().is_some_and(|spare| spare.setting == setting) {
            return;
        }
        if let Some(other) = self.spare.take() {
            other.end();
        }
        self.spare = self.make_cell(setting).ok();
    }

    /// The user namespace in which an emulator is registered.
    fn registered(&mut self, name: &std::ffi::CStr, line: &[u8]) -> Result<OwnedFd, Errno> {
        let registry = match &mut self.registry {
            Some(registry) => registry,
            none => none.insert(Registry::create()?),
        };
        registry.register(name, line)?;
        rustix::io::fcntl_dupfd_cloexec(registry.user_namespace(), 0)
    }
}

/// What polling has found.
struct Ready {
    request: bool,
    /// In the order of [`Helper::runs`].
    runs: Vec<Events>,
}

#[derive(Default)]
struct Events {
    process: bool,
    replies: bool,
    report: bool,
}

impl Run {
    /// Removes the control groups of a process that is gone. Whoever made them does so, too, but may have
    /// been killed.
    fn remove_groups(&self) {
        for group in &self.cgroups {
            cgroup::remove(Path::new(OsStr::from_bytes(group.as_bytes())));
        }
    }

    /// Handles events; `true` if the process has ended.
    fn attend(&mut self, events: Events) -> bool {
        if events.replies && !self.killed {
            self.kill();
            self.killed = true;
        }
        if events.report {
            self.read_report();
        }
        if !events.process {
            return false;
        }
        // The report may have come between the poll and now.
        self.read_report();
        if let (Some(exit), true) = (self.reap(), self.started) {
            tell(&self.replies, Reply::Ended(exit));
        }
        true
    }

    fn read_report(&mut self) {
        let Some(report) = self.report.take() else { return };
        let mut bytes = [0; Fault::SIZE];
        match rustix::io::read(&report, &mut bytes) {
            Ok(0) => {
                self.started = true;
                tell(&self.replies, Reply::Started);
            }
            Ok(count) => {
                let garbled = Fault { step: Step::Request, index: 0, errno: Errno::BADMSG };
                let fault = bytes.get(..count).and_then(Fault::from_bytes).unwrap_or(garbled);
                tell(&self.replies, Reply::Failed(fault));
            }
            Err(_) => self.report = Some(report),
        }
    }

    fn kill(&self) {
        // Fails if it has ended already.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    fn reap(&self) -> Option<Exit> {
        let status = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED).ok()??;
        let code = status.exit_status().map(Exit::Code);
        code.or_else(|| status.terminating_signal().map(Exit::Signal))
    }
}

fn tell(replies: &OwnedFd, reply: Reply) {
    // Fails if nobody is interested any more.
    let _ = send(replies, &reply.to_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// A process to be started, and who wants it.
struct Request {
    task: Task,
    replies: OwnedFd,
}

impl Request {
    /// Waits for a request; `None` if no more can come.
    fn receive(control: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let Some(fds) = receive_fds::<REQUEST_FDS>(control)? else { return Ok(None) };
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(Errno::BADMSG);
        let (plan, replies, streams) = (next()?, next()?, [next()?, next()?, next()?]);
        Ok(Some(Self { task: Task { plan, streams, emulation: None }, replies }))
    }
}
