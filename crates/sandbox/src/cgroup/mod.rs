//! Limits of a process and all that it starts, by control groups (cgroups(7)).
//!
//! [`Cgroups::prepare`] finds, once, where this process may make control groups that have the controllers it takes: below its own
//! one (version 1), or below the nearest ancestor that lets it (version 2, where a group with processes cannot give
//! controllers to groups below it). [`Cgroups::create`] makes the groups of one process, which enters them itself before
//! anything else, and removes them afterwards. If the program is killed the helper process removes them; what is left all
//! the same is removed when the next program prepares.

mod mounts;
mod resources;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::{io::Errno, thread::UnshareFlags};

pub use self::resources::{CpuTime, Resources, Swap};
use self::{
    mounts::{Hierarchy, Version},
    resources::Controller,
};

/// Begins the names of our groups.
const PREFIX: &str = "archway-";
/// Where a process enters a group.
const PROCESSES: &str = "cgroup.procs";
/// A group of this age without processes is nobody's: processes enter at once.
const LEFT_BEHIND: Duration = Duration::from_secs(60);
/// The kernel may need a moment to see that a group is empty.
const REMOVAL_TRIES: u32 = 50;

/// Why processes cannot be limited as asked.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel, or this machine's set-up, does not have a controller.
    #[error("this machine has no control group controller `{controller}`")]
    NoController {
        /// Its name.
        controller: &'static str,
    },
    /// No group is ours to make groups in.
    #[error("the control group `{}` is not this user's to change", .group.display())]
    NotDelegated {
        /// The group of this process.
        group: PathBuf,
        /// What was refused.
        #[source]
        source: io::Error,
    },
    /// A group with processes does not give controllers to groups below it, and no group above is ours.
    #[error("the control group `{}` has processes, and so cannot give the controller `{controller}` to steps", .group.display())]
    HasProcesses {
        /// The group of this process.
        group: PathBuf,
        /// The controller.
        controller: &'static str,
    },
    /// The kernel does not take a value.
    #[error("the kernel refuses `{value}` for `{file}`")]
    Refused {
        /// What it is for.
        file: &'static str,
        /// The value.
        value: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A group could not be made.
    #[error("cannot make the control group `{}`", .group.display())]
    Create {
        /// The group.
        group: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Where the groups of processes are made, and what is set in them.
#[derive(Debug)]
pub struct Cgroups {
    parents: Vec<Parent>,
    next: AtomicU32,
}

/// A group in which groups are made.
#[derive(Debug)]
struct Parent {
    directory: PathBuf,
    /// Files and their values, in the order of writing.
    settings: Vec<(&'static str, String)>,
    /// The file that counts processes killed for want of memory, if this is about memory.
    events: Option<&'static str>,
}

impl Cgroups {
    /// Finds out how processes can be limited to `resources`, and that they can.
    ///
    /// # Errors
    /// [`CgroupError`]: they cannot.
    pub fn prepare(resources: &Resources) -> Result<Self, CgroupError> {
        let mounts = mounts::Mounts::of_this_process();
        let mut hierarchies: Vec<(Hierarchy, Vec<Controller>)> = Vec::new();
        for controller in resources.controllers() {
            let missing = CgroupError::NoController { controller: controller.name() };
            let hierarchy = mounts.hierarchy(controller.name()).ok_or(missing)?;
            match hierarchies.iter_mut().find(|(known, _)| *known == hierarchy) {
                Some((_, controllers)) => controllers.push(controller),
                None => hierarchies.push((hierarchy, vec![controller])),
            }
        }
        let mut parents = Vec::new();
        for (hierarchy, controllers) in hierarchies {
            let directory = match hierarchy.version {
                Version::One => hierarchy.group.clone(),
                Version::Two => parent_with(&hierarchy, &controllers)?,
            };
            let mut settings = Vec::new();
            for controller in &controllers {
                settings.extend(resources.settings(*controller, hierarchy.version, &directory));
            }
            let events = controllers.contains(&Controller::Memory).then_some(match hierarchy.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            });
            remove_left_behind(&directory);
            parents.push(Parent { directory, settings, events });
        }
        let cgroups = Self { parents, next: AtomicU32::new(0) };
        // So that what cannot be is said before the first step, and not by it.
        drop(cgroups.create()?);
        Ok(cgroups)
    }

    /// Makes the groups of one process.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn create(&self) -> Result<Cgroup, CgroupError> {
        let mut cgroup = Cgroup { directories: Vec::new(), events: None };
        for parent in &self.parents {
            let directory = self.create_in(parent)?;
            if let Some(events) = parent.events {
                cgroup.events = Some(directory.join(events));
            }
            cgroup.directories.push(directory.clone());
            for (file, value) in &parent.settings {
                fs::write(directory.join(file), value).map_err(|source| CgroupError::Refused {
                    file,
                    value: value.clone(),
                    source,
                })?;
            }
        }
        Ok(cgroup)
    }

    fn create_in(&self, parent: &Parent) -> Result<PathBuf, CgroupError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let directory = parent.directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&directory) {
                Ok(()) => return Ok(directory),
                // Of a process of the same number, in another pid namespace or before us.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) if is_refusal(&source) => {
                    return Err(CgroupError::NotDelegated { group: parent.directory.clone(), source });
                }
                Err(source) => return Err(CgroupError::Create { group: directory, source }),
            }
        }
    }
}

/// The groups of one process, which are removed when this is dropped. The process has to have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    directories: Vec<PathBuf>,
    events: Option<PathBuf>,
}

impl Cgroup {
    /// What a process enters.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Whether a process of the group was killed because the group's memory was used up.
    pub fn ran_out_of_memory(&self) -> bool {
        let text = self.events.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.is_some_and(|text| kills(&text) > 0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.directories.iter().for_each(|directory| remove(directory));
    }
}

/// Removes a group whose processes are gone. What stays all the same is removed by the next program that
/// prepares.
pub(crate) fn remove(group: &Path) {
    for _ in 0..REMOVAL_TRIES {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(1))
            }
            _ => break,
        }
    }
}

/// The calling process, which has one thread, enters groups, and then sees each as the root of its hierarchy.
pub(crate) fn enter<'a>(groups: impl IntoIterator<Item = &'a std::ffi::CStr>) -> Result<(), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    for group in groups {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let group = openat(CWD, group, flags, Mode::empty())?;
        let processes = openat(&group, PROCESSES, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&processes, b"0")?;
    }
    // SAFETY: no file descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
}

/// The group of version 2 in which groups can be made that have `controllers`: the nearest one.
fn parent_with(hierarchy: &Hierarchy, controllers: &[Controller]) -> Result<PathBuf, CgroupError> {
    let mut refusal = None;
    for group in hierarchy.group.ancestors().take_while(|group| group.starts_with(&hierarchy.mount_point)) {
        match give_controllers(group, controllers) {
            Ok(()) => return Ok(group.to_owned()),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or(CgroupError::NoController { controller: "cgroup2" }))
}

/// Sees to it that groups in `group` have `controllers`, and that we may move processes there.
fn give_controllers(group: &Path, controllers: &[Controller]) -> Result<(), CgroupError> {
    let words = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    let (there, given) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let has =
        |text: &str, controller: &Controller| text.split_whitespace().any(|name| name == controller.name());
    let refused = |source: io::Error, controller: &Controller| match source.kind() {
        io::ErrorKind::ResourceBusy => {
            CgroupError::HasProcesses { group: group.to_owned(), controller: controller.name() }
        }
        _ => CgroupError::NotDelegated { group: group.to_owned(), source },
    };
    for controller in controllers.iter().filter(|controller| !has(&given, controller)) {
        if !has(&there, controller) {
            return Err(CgroupError::NoController { controller: controller.name() });
        }
        fs::write(group.join("cgroup.subtree_control"), format!("+{}", controller.name()))
            .map_err(|source| refused(source, controller))?;
    }
    // Processes come from a group below, so this is what is asked for.
    fs::File::options()
        .write(true)
        .open(group.join(PROCESSES))
        .map(drop)
        .map_err(|source| CgroupError::NotDelegated { group: group.to_owned(), source })
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Removes groups whose makers were killed.
fn remove_left_behind(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        if is_ours && made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LEFT_BEHIND)) {
            // One with processes cannot be removed.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `oom_kill` in the text of `memory.events` or `memory.oom_control`.
fn kills(text: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(kills(""), 0);
    }
}
