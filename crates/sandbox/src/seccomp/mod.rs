//! The system call filter.

/// The filter for this machine's processes.
pub(crate) fn filter() -> Vec<libc::sock_filter> {
    // SECCOMP_RET_ALLOW
    vec![libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }]
}
