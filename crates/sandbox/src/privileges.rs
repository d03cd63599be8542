//! Users, groups and capabilities.

use rustix::{
    io::Errno,
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
        set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// What Docker gives to root of a container.
const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// [`DEFAULT`] by the names of the OCI runtime specification.
pub(crate) fn default_names() -> Vec<String> {
    DEFAULT.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// Every capability of this process, by the names of the OCI runtime specification.
pub(crate) fn own_names() -> Vec<String> {
    let own = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    own.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// Drops every other capability for good.
pub(crate) fn limit_bounding_set() -> Result<(), Errno> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if DEFAULT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Changes user and groups. A user other than root has no capabilities afterwards.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    let others = groups.iter().any(|group| *group != gid);
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    match set_thread_groups(&groups) {
        // In a user namespace with a single id, where there are no others to have.
        Err(Errno::PERM) if !others => {}
        result => result?,
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// [`become_user`] with every capability, as whatever user, also for the programs that are executed.
pub(crate) fn become_user_with_all(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    let all = capabilities(None)?.permitted;
    set_keep_capabilities(true)?;
    become_user(uid, gid, groups)?;
    set_capabilities(None, CapabilitySets { effective: all, permitted: all, inheritable: all })?;
    for capability in all.iter() {
        // Refused for those that the bounding set lacks, which the process then has, but its programs do not.
        match configure_capability_in_ambient_set(capability, true) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Settles the process' own capabilities.
pub(crate) fn limit(uid: u32) -> Result<(), Errno> {
    let kept = if uid == 0 { DEFAULT } else { CapabilitySet::empty() };
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}
