//! BuildKit's published protocol, under the names that the rest of this crate uses.

pub(crate) use bollard_buildkit_proto::{
    fsutil::types as fsutil,
    health,
    moby::{
        buildkit::{secrets::v1 as secrets, v1 as control, v1::sourcepolicy, v1::types},
        filesync::{packet as files, v1 as filesync},
        sshforward::v1 as ssh,
    },
};
