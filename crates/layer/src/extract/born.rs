//! What a new file has without being told: most files of a layer need neither `fchown` nor `fchmod`.

use std::{collections::BTreeMap, os::fd::AsFd};

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
};

use crate::overlay::Markers;

/// What this process, in this tree, gives to new files.
pub(super) struct Born {
    uid: Uid,
    gid: Gid,
    /// Whether files made with a mode have that mode, by mode: a umask or an inherited ACL may be in the
    /// way. `None`: it may be another in each directory.
    modes: Option<BTreeMap<u32, bool>>,
}

impl Born {
    pub(super) fn new(markers: Markers) -> Self {
        Self {
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
            // A delta is empty at first, and no attribute of a layer is an ACL: all directories inherit
            // what its root has.
            modes: (markers == Markers::Translate).then(BTreeMap::new),
        }
    }

    /// Whether what is made in a directory of this group belongs to `uid` and `gid`, whether or not the
    /// directory passes its group on (set-group-ID).
    pub(super) fn has_owner(&self, uid: Uid, gid: Gid, group_of_directory: u32) -> bool {
        uid == self.uid && gid == self.gid && gid.as_raw() == group_of_directory
    }

    /// Whether `file`, just made with the permission bits of `mode`, has the whole mode. The first file
    /// of each mode is asked.
    pub(super) fn has_mode(&mut self, mode: u32, file: impl AsFd) -> Result<bool, Errno> {
        let Some(modes) = &mut self.modes else { return Ok(false) };
        if let Some(known) = modes.get(&mode) {
            return Ok(*known);
        }
        let found = rustix::fs::fstat(file)?.st_mode & 0o7777;
        modes.insert(mode, found == mode);
        Ok(found == mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_the_directory_counts() {
        let born = Born::new(Markers::Translate);
        let (uid, gid) = (born.uid, born.gid);
        assert!(born.has_owner(uid, gid, gid.as_raw()));
        assert!(!born.has_owner(uid, gid, gid.as_raw() + 1), "it may be passed on");
        assert!(!born.has_owner(uid, Gid::from_raw(gid.as_raw() + 1), gid.as_raw() + 1));
        assert!(!born.has_owner(Uid::from_raw(uid.as_raw() + 1), gid, gid.as_raw()));
    }

    #[test]
    fn a_mode_is_had_if_the_first_file_has_it() {
        let file = tempfile::tempfile().expect("file");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        file.set_permissions(permissions).expect("mode");
        let mut born = Born::new(Markers::Translate);
        assert_eq!(born.has_mode(0o640, &file), Ok(true));
        assert_eq!(born.has_mode(0o4640, &file), Ok(false));
        assert_eq!(born.has_mode(0o666, &file), Ok(false), "a umask took bits away");
        assert_eq!(Born::new(Markers::Literal).has_mode(0o640, &file), Ok(false));
    }
}
