//! Becoming root of a user namespace, so that everything else can assume to be root.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, mount_change},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitId, WaitIdOptions, getegid, geteuid, waitid},
    thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe},
};

use crate::sys::{self, Fork};

/// Who the process is after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Real root; nothing was done.
    Root,
    /// Root of a user namespace with a range of other users (`/etc/subuid`, `/etc/subgid`).
    Mapped,
    /// Root of a user namespace without other users: files of other users cannot be unpacked with
    /// their owners.
    SingleId {
        /// Why there are no others.
        why: SingleIdReason,
    },
}

/// Why there is a single id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SingleIdReason {
    /// The program that maps ranges is missing.
    #[error("`{program}` is not installed (Debian, Ubuntu: package `uidmap`; Fedora: `shadow-utils`)")]
    NoTool {
        /// Its name.
        program: &'static str,
    },
    /// The user has no range.
    #[error("user {uid} has no entry in {file}")]
    NoRange {
        /// The user.
        uid: u32,
        /// Where it is missing.
        file: &'static str,
    },
    /// The program that maps ranges refused.
    #[error("`{program}` refused to map the ranges in /etc/subuid and /etc/subgid")]
    Refused {
        /// Its name.
        program: &'static str,
    },
}

/// Why no user namespace could be entered.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel refuses user namespaces.
    #[error("this machine does not let this user create user namespaces{}", Hint(.setting))]
    Forbidden {
        /// The sysctl that forbids them, as `name=value` that would allow them, where it is known.
        setting: Option<&'static str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// The helper process for the mapping could not be made.
    #[error("cannot start a process to map users")]
    Start(#[source] io::Error),
    /// The id mapping could not be set.
    #[error("cannot map users into the user namespace")]
    Map(#[source] io::Error),
}

struct Hint<'a>(&'a Option<&'static str>);

impl std::fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .map_or(Ok(()), |setting| write!(f, ": an administrator can allow it with `sysctl -w {setting}`"))
    }
}

/// Makes the calling process root of a new user namespace with a mount namespace of its own, unless
/// it is root already. Must be called before any thread is started: the others would stay outside.
///
/// # Errors
/// [`RootlessError`]. The process may be in the namespace nevertheless, and should end.
pub fn enter() -> Result<Identity, RootlessError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if uid == 0 && is_administrator() {
        return Ok(Identity::Root);
    }
    let mapping = Mapping::of_user(uid);
    let mapper = match &mapping {
        Ok(mapping) => {
            Some(Mapper::start(mapping, uid, gid).map_err(|error| RootlessError::Start(error.into()))?)
        }
        Err(_) => None,
    };
    // SAFETY: no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }.map_err(forbidden)?;
    let mapped = match (mapping, mapper) {
        (Ok(_), Some(mapper)) => mapper.map(),
        (Err(reason), _) => Err(reason),
        (Ok(_), None) => Ok(()),
    };
    let identity = match mapped {
        Ok(()) => Identity::Mapped,
        Err(why) => {
            map_single(uid, gid).map_err(RootlessError::Map)?;
            Identity::SingleId { why }
        }
    };
    // AppArmor (Ubuntu) lets the namespace be made, and then takes its capabilities away.
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).map_err(forbidden)?;
    Ok(identity)
}

fn is_administrator() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Maps only the user itself. Where a range was mapped already, the kernel refuses a second mapping,
/// and the first stays.
fn map_single(uid: u32, gid: u32) -> io::Result<()> {
    if fs::read_to_string("/proc/self/uid_map")?.trim().is_empty() {
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    if fs::read_to_string("/proc/self/gid_map")?.trim().is_empty() {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    Ok(())
}

fn forbidden(errno: Errno) -> RootlessError {
    let is = |name: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let setting = if is("kernel/unprivileged_userns_clone", "0") {
        Some("kernel.unprivileged_userns_clone=1")
    } else if is("user/max_user_namespaces", "0") {
        Some("user.max_user_namespaces=15000")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Some("kernel.apparmor_restrict_unprivileged_userns=0")
    } else {
        None
    };
    RootlessError::Forbidden { setting, source: errno.into() }
}

/// What is mapped besides the user itself, and the programs that may do it.
struct Mapping {
    newuidmap: PathBuf,
    newgidmap: PathBuf,
    uids: Vec<Range>,
    gids: Vec<Range>,
}

/// Ids outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

impl Mapping {
    fn of_user(uid: u32) -> Result<Self, SingleIdReason> {
        let tool = |program| find(program).ok_or(SingleIdReason::NoTool { program });
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ranges = |file| {
            let ranges = ranges(&fs::read_to_string(file).unwrap_or_default(), uid, user_name(&passwd, uid));
            if ranges.is_empty() { Err(SingleIdReason::NoRange { uid, file }) } else { Ok(ranges) }
        };
        Ok(Self {
            newuidmap: tool("newuidmap")?,
            newgidmap: tool("newgidmap")?,
            uids: ranges("/etc/subuid")?,
            gids: ranges("/etc/subgid")?,
        })
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
    directories.find_map(|dir| Some(dir.join(program)).filter(|file| file.is_file()))
}

/// The name of `uid` in the text of /etc/passwd.
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The ranges of a user in the text of /etc/subuid or /etc/subgid (subuid(5)).
fn ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<Range> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        ((owner == number || Some(owner) == name) && range.count > 0).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// Arguments of newuidmap(1) after the process: the own id becomes 0, the ranges follow from 1 on.
fn map_arguments(own: u32, ranges: &[Range]) -> Vec<u32> {
    let mut arguments = vec![0, own, 1];
    let mut inside: u32 = 1;
    for range in ranges {
        arguments.extend([inside, range.first, range.count]);
        inside = inside.saturating_add(range.count);
    }
    arguments
}

/// A process outside of the namespace, because the programs need to be there.
struct Mapper {
    process: Pid,
    start: OwnedFd,
}

impl Mapper {
    const UIDS_REFUSED: i32 = 1;
    const GIDS_REFUSED: i32 = 2;

    /// Starts it; it does nothing before [`Mapper::map`].
    fn start(mapping: &Mapping, uid: u32, gid: u32) -> Result<Self, Errno> {
        let (go, start) = pipe_with(PipeFlags::CLOEXEC)?;
        let target = rustix::process::getpid();
        // SAFETY: the process has one thread, as `enter` demands.
        match unsafe { sys::fork() }? {
            Fork::Parent(process) => Ok(Self { process, start }),
            Fork::Child => {
                // Otherwise it would wait for itself if the parent dies.
                drop(start);
                if rustix::io::read(go.as_fd(), &mut [0]) != Ok(1) {
                    sys::exit(0);
                }
                if !run(&mapping.newuidmap, target, map_arguments(uid, &mapping.uids)) {
                    sys::exit(Self::UIDS_REFUSED);
                }
                if !run(&mapping.newgidmap, target, map_arguments(gid, &mapping.gids)) {
                    sys::exit(Self::GIDS_REFUSED);
                }
                sys::exit(0)
            }
        }
    }

    /// Maps, now that the namespace exists.
    fn map(self) -> Result<(), SingleIdReason> {
        let _ = rustix::io::write(&self.start, &[0]);
        let status = waitid(WaitId::Pid(self.process), WaitIdOptions::EXITED);
        match status.ok().flatten().and_then(|status| status.exit_status()) {
            Some(0) => Ok(()),
            Some(Self::GIDS_REFUSED) => Err(SingleIdReason::Refused { program: "newgidmap" }),
            _ => Err(SingleIdReason::Refused { program: "newuidmap" }),
        }
    }
}

fn run(program: &Path, target: Pid, arguments: Vec<u32>) -> bool {
    let arguments = arguments.iter().map(u32::to_string);
    let mut command = Command::new(program);
    command.arg(target.as_raw_nonzero().to_string()).args(arguments);
    // What it says would be in the middle of our output; the caller learns that it refused.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "root:1:10\nann:100000:65536\n1000:300000:5\nann:x:y\nann:400000:0\nbob:200000:65536\n";
        let found = ranges(text, 1000, Some("ann"));
        assert_eq!(found, [Range { first: 100_000, count: 65_536 }, Range { first: 300_000, count: 5 }]);
        assert_eq!(ranges(text, 7, None), []);
    }

    #[test]
    fn users_are_named_in_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("ann"));
        assert_eq!(user_name(passwd, 1), None);
    }

    #[test]
    fn the_own_id_comes_first_and_ranges_follow_each_other() {
        let ranges = [Range { first: 100_000, count: 65_536 }, Range { first: 300_000, count: 5 }];
        assert_eq!(map_arguments(1000, &ranges), [0, 1000, 1, 1, 100_000, 65_536, 65_537, 300_000, 5]);
    }

    #[test]
    fn reasons_say_what_to_install_and_to_set() {
        let why = SingleIdReason::NoTool { program: "newuidmap" };
        assert!(why.to_string().contains("package `uidmap`"));
        let setting = Some("user.max_user_namespaces=15000");
        let error = RootlessError::Forbidden { setting, source: io::ErrorKind::PermissionDenied.into() };
        assert!(error.to_string().ends_with("`sysctl -w user.max_user_namespaces=15000`"), "{error}");
    }
}
