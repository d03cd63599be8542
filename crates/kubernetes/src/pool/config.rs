//! `buildkitd.toml`, as `docs/buildkitd.toml.md` of BuildKit describes it.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{GRPC_PORT, METRICS_PORT, Member, PoolSpec, syntax::volume_mebibytes};

/// Key of the ConfigMap, and name of the file.
pub(super) const FILE: &str = "buildkitd.toml";
/// Where certificates are mounted.
pub(super) const TLS_DIRECTORY: &str = "/etc/buildkit-tls";
/// Where the volume is mounted: what the image declares as one.
pub(super) const CACHE_DIRECTORY: &str = "/home/user/.local/share/buildkit";
/// Where the image's own tools look for the daemon.
pub(super) const SOCKET: &str = "unix:///run/user/1000/buildkit/buildkitd.sock";

/// The text for the daemons of one group.
pub(super) fn buildkitd(spec: &PoolSpec, member: &Member) -> String {
    let mut text = String::new();
    // In a directory of the volume: kubelet looks at the mode of its root to see whether it belongs to
    // the pod's group already, and would change every file of the cache if the daemon changed that mode.
    let _ = writeln!(text, "root = \"{CACHE_DIRECTORY}/daemon\"");
    text += "\n[log]\nformat = \"json\"\n";
    // An address without a host is all of IPv4 and IPv6, whichever there is.
    let _ = writeln!(text, "\n[grpc]\naddress = [\"{SOCKET}\", \"tcp://:{GRPC_PORT}\"]");
    if spec.metrics.enabled {
        let _ = writeln!(text, "debugAddress = \"tcp://:{METRICS_PORT}\"");
    }
    text += "\n[grpc.tls]\n";
    for (key, file) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
        let _ = writeln!(text, "{key} = \"{TLS_DIRECTORY}/{file}\"");
    }
    text += "\n[worker.containerd]\nenabled = false\n";
    // Without a process sandbox, as Kubernetes masks parts of /proc, and then no second one can be mounted.
    text += "\n[worker.oci]\nenabled = true\nrootless = true\nnoProcessSandbox = true\n";
    let _ = writeln!(text, "max-parallelism = {}\ngc = true", member.max_parallelism());
    text += &garbage_collection(member.cache_size());
    for (registry, mirrors) in &spec.mirrors {
        let mirrors: Vec<String> = mirrors.iter().map(|mirror| format!("\"{mirror}\"")).collect();
        let _ = writeln!(text, "\n[registry.\"{registry}\"]\nmirrors = [{}]", mirrors.join(", "));
    }
    if !spec.extra_config.trim().is_empty() {
        let _ = writeln!(text, "\n{}", spec.extra_config.trim());
    }
    text
}

/// Policies for a volume of `size`: the daemon stays below four fifths of it, keeps a tenth whatever
/// else happens, and contexts that no build has used for two days are limited to a tenth. Sizes are
/// bytes rather than percents, which BuildKit takes of the disk: with a volume that is a directory
/// of the node, the disk is larger than the volume.
fn garbage_collection(size: &str) -> String {
    // Checked before; a size that is none keeps nothing.
    let volume = volume_mebibytes(size).unwrap_or_default();
    let (tenth, most) = (volume / 10, volume * 8 / 10);
    // BuildKit's MB is a mebibyte.
    let limits =
        format!("reservedSpace = \"{tenth}MB\"\nmaxUsedSpace = \"{most}MB\"\nminFreeSpace = \"{tenth}MB\"\n");
    format!(
        "\n[[worker.oci.gcpolicy]]\n\
         filters = [\"type==source.local\", \"type==source.git.checkout\"]\n\
         keepDuration = \"48h\"\n\
         maxUsedSpace = \"{tenth}MB\"\n\
         \n[[worker.oci.gcpolicy]]\n{limits}\
         \n[[worker.oci.gcpolicy]]\nall = true\n{limits}"
    )
}

/// The file as an object.
pub(super) fn config_map(member: &Member, text: String) -> ConfigMap {
    ConfigMap {
        metadata: member.metadata(member.name.clone()),
        data: Some([(FILE.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}
