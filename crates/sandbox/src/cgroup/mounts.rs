//! Where the control group of this process is, in each hierarchy.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A version of control groups. Both can be in use at once, each for other controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The hierarchy of groups that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) mount_point: PathBuf,
    /// The group of this process, below the mount point.
    pub(super) group: PathBuf,
}

/// What this process sees of control groups.
#[derive(Debug)]
pub(super) struct Mounts {
    /// `/proc/self/mountinfo`
    mounts: String,
    /// `/proc/self/cgroup`
    groups: String,
}

/// A line of mountinfo that is about control groups.
struct Mount {
    version: Version,
    /// The group that is at the mount point.
    root: String,
    point: PathBuf,
    /// Controllers, among other words; of version 1 only.
    options: String,
}

impl Mounts {
    pub(super) fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { mounts: read("/proc/self/mountinfo"), groups: read("/proc/self/cgroup") }
    }

    /// The hierarchy that has `controller`.
    pub(super) fn hierarchy(&self, controller: &str) -> Option<Hierarchy> {
        let is_one = |mount: &Mount| {
            mount.version == Version::One && mount.options.split(',').any(|option| option == controller)
        };
        let is_two = |mount: &Mount| {
            let file = mount.point.join("cgroup.controllers");
            mount.version == Version::Two
                && fs::read_to_string(file)
                    .is_ok_and(|text| text.split_whitespace().any(|name| name == controller))
        };
        let mounts: Vec<Mount> = self.mounts.lines().filter_map(Mount::parse).collect();
        let mount = mounts.iter().find(|mount| is_one(mount) || is_two(mount))?;
        Some(Hierarchy {
            version: mount.version,
            mount_point: mount.point.clone(),
            group: mount.point.join(self.group(mount, controller)),
        })
    }

    /// The group of this process, relative to the mount point.
    fn group(&self, mount: &Mount, controller: &str) -> PathBuf {
        let own = self.groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = match mount.version {
                Version::One => controllers.split(',').any(|name| name == controller),
                Version::Two => controllers.is_empty(),
            };
            is_it.then_some(path)
        });
        let own = Path::new(own.unwrap_or("/"));
        // A group outside of what is mounted here cannot be reached: then it is the topmost that can.
        let below = own.strip_prefix(&mount.root).unwrap_or(Path::new(""));
        below.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
    }
}

impl Mount {
    /// proc_pid_mountinfo(5): `36 35 98:0 /root /point options… - type source super-options`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let mut before = before.split(' ').skip(3);
        Some(Self {
            version,
            root: before.next()?.to_owned(),
            point: before.next()?.into(),
            options: after.nth(1).unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        33 31 0:30 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        34 31 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";

    fn group(groups: &str, controller: &str) -> Option<String> {
        let mounts = Mounts { mounts: HYBRID.to_owned(), groups: groups.to_owned() };
        let hierarchy = mounts.hierarchy(controller)?;
        assert_eq!(hierarchy.version, Version::One);
        assert!(hierarchy.group.starts_with(&hierarchy.mount_point));
        Some(hierarchy.group.display().to_string())
    }

    #[test]
    fn a_group_is_found_below_its_mount_point() {
        let groups = "4:cpu,cpuacct:/user/a\n3:memory:/docker/abc/inner\n0::/\n";
        assert_eq!(group(groups, "cpu").unwrap(), "/sys/fs/cgroup/cpu,cpuacct/user/a");
        assert_eq!(group(groups, "memory").unwrap(), "/sys/fs/cgroup/memory/inner");
        assert_eq!(group(groups, "cpuset"), None);
        // Seen from a namespace of its own, the group can be outside.
        assert_eq!(group("3:memory:/../other\n", "memory").unwrap(), "/sys/fs/cgroup/memory/");
    }

    #[test]
    fn version_two_says_itself_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let point = directory.path().display();
        let mounts = Mounts {
            mounts: format!("29 23 0:26 / {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"),
            groups: "0::/user.slice/session-1.scope\n".to_owned(),
        };
        let hierarchy = mounts.hierarchy("memory").unwrap();
        assert_eq!(hierarchy.version, Version::Two);
        assert_eq!(hierarchy.group, directory.path().join("user.slice/session-1.scope"));
        assert_eq!(mounts.hierarchy("hugetlb"), None);
    }
}
