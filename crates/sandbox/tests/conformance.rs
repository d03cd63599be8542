//! The native runtime and `runc` show a process the same things.

mod fixture;

use archway_sandbox::{
    Limit, Mount, MountSource, Network, Resource, Rootfs, Runc, Sandbox, ScriptFile, Security, Spec, User,
};
use archway_testkit::tools;
use fixture::{Fixture, is_root, output};

/// What a process can see of its surroundings. Sections are compared one by one.
const PROBE: &str = r#"
exec 2>/dev/null
echo "== identity"; id; pwd; env | sort; hostname; cat /etc/hosts /etc/resolv.conf; umask
echo "== privileges"; grep -E '^(Cap|NoNewPrivs|Groups|Sig(Ign|Blk|Cgt))' /proc/self/status
echo "== processes"; echo "pid $$"; ls -d /proc/[0-9]* | head -1; cut -d' ' -f5,6 /proc/1/stat
echo "== devices"; ls -l /dev | awk '{print $1, $3, $4, $5, $6 == "->" ? "" : ""}' | tail -n +2 | sort | uniq -c
for name in /dev/*; do stat -c '%n %F %a %u:%g %t:%T %N' "$name"; done
echo "== mounts"; awk '{print $2, $3, $4}' /proc/mounts | grep -v '^/ ' | sort
echo "== masked"; for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do head -c 1 < $path | wc -c; done
ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | wc -l
for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_seqnum; do (: > $path) 2>/dev/null && echo "$path writable"; done
echo "== descriptors"; ls /proc/self/fd | head -3
echo "== limits"; ulimit -n; ulimit -c; ulimit -u
echo "== files"; /scripts/one; ls -l /scripts/one | cut -c1-10; cat /in/file
echo "== layers"; cat /stage/new/file; (: > /stage/new/other) 2>/dev/null || echo refused; ls /rw; (: > /rw/other) && ls /rw
echo "== secret"; ls -ln /run/key; wc -c < /run/key; (: > /run/key) 2>/dev/null || echo refused
"#;

/// Differences that are meant: how a masked directory and a generated file come about.
fn normalised(text: &str) -> Vec<String> {
    let masked =
        ["/proc/acpi ", "/proc/scsi ", "/sys/firmware ", "/proc/asound ", "/sys/devices/virtual/powercap "];
    let generated = ["/etc/", "/scripts/", "/in ", "/stage ", "/rw ", "/run/key ", "/sys/fs/cgroup"];
    text.lines()
        .filter(|line| !generated.iter().any(|prefix| line.starts_with(prefix)))
        .map(|line| match masked.iter().find(|prefix| line.starts_with(*prefix)) {
            Some(path) => format!("{path}masked"),
            // Options that only tell how much memory there is, and in which order options are shown.
            None => sorted_options(line),
        })
        .collect()
}

fn sorted_options(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        [path, kind, options] if path.starts_with('/') => {
            let mut options: Vec<&str> =
                options.split(',').filter(|option| !option.starts_with("inode")).collect();
            options.sort_unstable();
            format!("{path} {kind} {}", options.join(","))
        }
        _ => line.to_owned(),
    }
}

async fn compare(change: impl Fn(&mut Spec)) {
    if !is_root() || !tools::require("runc") {
        return;
    }
    let sandbox = Sandbox::start().unwrap();
    let runc = Runc::new(tools::find("runc").unwrap());
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("file"), "shared\n").unwrap();
    let stage = tempfile::tempdir().unwrap();
    for name in ["new", "new/sub"] {
        std::fs::create_dir(stage.path().join(name)).unwrap();
    }
    std::fs::write(stage.path().join("new/file"), "of a stage\n").unwrap();
    let spec = |fixture: &Fixture| {
        let mut spec = fixture.shell(PROBE);
        spec.files =
            vec![ScriptFile { path: "/scripts/one".into(), content: "#!/bin/sh\necho one\n".into() }];
        let source = MountSource::Bind(shared.path().to_owned());
        let layers = |upper: bool| MountSource::Layers {
            rootfs: Rootfs {
                lowers: vec![stage.path().to_owned()],
                upper: upper.then(|| fixture.directory("mount-upper")),
                work: upper.then(|| fixture.directory("mount-work")),
            },
            path: if upper { "/new" } else { "/" }.into(),
            directory: true,
        };
        let secret = MountSource::File { content: (*b"hunter2").into(), mode: 0o440, uid: 0, gid: 1001 };
        let mount = |target: &str, source, read_only| Mount { target: target.into(), source, read_only };
        spec.mounts = vec![
            mount("/in", source, true),
            mount("/stage", layers(false), true),
            mount("/rw", layers(true), false),
            mount("/run/key", secret, true),
        ];
        spec.limits = vec![Limit { resource: Resource::Nofile, soft: Some(100), hard: Some(200) }];
        spec.shm_size = Some(1 << 20);
        // runc looks it up where it is not set; here, the caller does.
        spec.env.push("HOME=/root".into());
        change(&mut spec);
        spec
    };
    let (ours, theirs) = (Fixture::new(), Fixture::new());
    let ours = normalised(&output(&sandbox, &spec(&ours)).await);
    let theirs = normalised(&output(&runc, &spec(&theirs)).await);
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
    };
    assert!(ours.len() > 40, "the probe has run: {ours:#?}");
    assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "ours left, runc's right");
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn root_sees_the_same() {
    compare(|_| {}).await;
}

#[tokio::test]
async fn another_user_sees_the_same() {
    compare(|spec| {
        spec.user = User { uid: 1000, gid: 1001, additional_gids: vec![1002] };
        spec.cwd = "/some/new/place".into();
    })
    .await;
}

#[tokio::test]
async fn without_restrictions_the_same_is_seen() {
    compare(|spec| spec.security = Security::Insecure).await;
}

#[tokio::test]
async fn another_user_without_restrictions_sees_the_same() {
    compare(|spec| {
        spec.security = Security::Insecure;
        spec.user = User { uid: 1000, gid: 1001, additional_gids: vec![] };
    })
    .await;
}

#[tokio::test]
async fn without_network_the_same_is_seen() {
    compare(|spec| spec.network = Network::None).await;
}
