//! Processes in the native runtime, as root.

mod fixture;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use archway_sandbox::{
    Exit, HostEntry, Limit, Mount, MountSource, Network, Resource, Rootfs, Sandbox, SandboxError, ScriptFile,
    Security, SpecProblem, Stdio, Step, User,
};
use fixture::{Fixture, is_root, output, piped, run};

#[tokio::test]
async fn the_exit_code_and_both_streams_come_back() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let (exit, text) = run(&sandbox, &fixture.shell("echo out; echo err >&2; exit 7")).await.unwrap();
    assert_eq!((exit, text.as_str()), (Exit::Code(7), "out\nerr\n"));
}

#[tokio::test]
async fn the_process_gets_what_the_spec_says() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("id; pwd; env | sort; hostname; cat /etc/hosts; echo $$; umask");
    spec.cwd = "/new/dir".into();
    spec.user = User { uid: 12, gid: 34, additional_gids: vec![56, 78] };
    spec.extra_hosts = vec![HostEntry { name: "db".into(), address: "192.0.2.7".parse().unwrap() }];
    let text = output(&sandbox, &spec).await;
    assert!(text.starts_with("uid=12 gid=34 groups=56,78\n") || text.contains("uid=12 gid=34"), "{text}");
    for line in [
        "/new/dir",
        "GREETING=hello",
        "PWD=/new/dir",
        "box",
        "127.0.0.1\tlocalhost box",
        "192.0.2.7\tdb",
        "1",
        "0022",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
    }
    assert_eq!(fixture.changes(), ["new", "new/dir"], "mount points leave no traces");
}

#[tokio::test]
async fn a_user_without_privileges_can_use_the_streams_and_has_no_capabilities() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("echo seen > /dev/stdout; grep -E 'Cap(Prm|Eff|Inh|Amb)' /proc/self/status");
    spec.user = User { uid: 1000, gid: 1000, additional_gids: Vec::new() };
    let text = output(&sandbox, &spec).await;
    assert!(text.starts_with("seen\n"), "{text}");
    assert_eq!(text.matches("\t0000000000000000").count(), 4, "{text}");
}

#[tokio::test]
async fn killing_ends_the_whole_tree() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let (stdio, out) = piped();
    let spec = fixture.shell("(sleep 1000; true) & setsid sleep 1000 & echo ready; wait");
    let mut running = sandbox.run(&spec, stdio).await.unwrap();
    let mut out = BufReader::new(out);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    running.kill();
    assert_eq!(running.wait().await.unwrap(), Exit::Signal(9));
    assert_eq!(running.wait().await.unwrap(), Exit::Signal(9), "the answer is remembered");
    // Every process held the pipe open.
    assert_eq!(out.read_to_string(&mut line).unwrap(), 0);
}

#[tokio::test]
async fn dropping_kills() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    for drop_sandbox in [false, true] {
        let sandbox = Sandbox::start().unwrap();
        let (stdio, mut out) = piped();
        let running = sandbox.run(&fixture.shell("sleep 1000"), stdio).await.unwrap();
        if drop_sandbox {
            drop(sandbox)
        } else {
            drop(running)
        }
        assert_eq!(out.read(&mut [0]).unwrap(), 0, "nobody holds the pipe");
    }
}

#[tokio::test]
async fn a_program_that_cannot_start_is_explained() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let upper = fixture.upper();
    let write = |name: &str, mode, content: &str| {
        fs::write(upper.join(name), content).unwrap();
        fs::set_permissions(upper.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("plain", 0o644, "#!/bin/sh\n");
    write("garbage", 0o755, "\x7fELFgarbage");
    write("orphan", 0o755, "#!/no/such/interpreter\n");
    let table = [
        ("nosuch", "executable `nosuch` not found in the image"),
        ("/no/such", "executable `/no/such` not found in the image"),
        ("/plain", "`/plain` is not executable by the step's user"),
        ("/garbage", "`/garbage` is not a program for this platform"),
        ("/orphan", "`/orphan` exists in the image, but its interpreter or dynamic loader does not"),
    ];
    for (program, message) in table {
        let error = run(&sandbox, &fixture.command(&[program])).await.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.is_program_missing());
    }
    // The helper is none the worse.
    assert_eq!(output(&sandbox, &fixture.shell("echo fine")).await, "fine\n");
}

#[tokio::test]
async fn a_failed_step_names_itself() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("true");
    let source = MountSource::Bind("/no/such/source".into());
    spec.mounts = vec![Mount { target: "/in".into(), source, read_only: true }];
    let error = run(&sandbox, &spec).await.unwrap_err();
    assert!(matches!(error, SandboxError::Setup { step: Step::Mount, .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot mount `/in`");

    let mut spec = fixture.shell("true");
    spec.rootfs.lowers.push("/no/such/layer".into());
    let error = run(&sandbox, &spec).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot mount the root file system");

    let mut spec = fixture.shell("true");
    spec.argv.clear();
    let error = run(&sandbox, &spec).await.unwrap_err();
    assert!(matches!(error, SandboxError::InvalidSpec { problem: SpecProblem::Empty, .. }), "{error:?}");
}

#[tokio::test]
async fn hundreds_of_layers_are_one_tree() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let layers = fixture.directory.path().join("layers");
    let mut spec = fixture.shell("ls /layers | wc -l; cat /top");
    for number in 0..300 {
        let layer = layers.join(format!("layer-with-a-long-name-as-stores-have-{number:064}"));
        fs::create_dir_all(layer.join("layers")).unwrap();
        fs::write(layer.join(format!("layers/{number}")), "").unwrap();
        fs::write(layer.join("top"), format!("{number}\n")).unwrap();
        spec.rootfs.lowers.insert(0, layer);
    }
    assert_eq!(output(&sandbox, &spec).await, "300\n299\n");
}

#[tokio::test]
async fn files_and_mounts_are_shown() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let shared = fixture.directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "from outside\n").unwrap();
    let bind = |target: &str, path, read_only| Mount {
        target: target.into(),
        source: MountSource::Bind(path),
        read_only,
    };
    let mut spec = fixture.shell(
        "/scripts/one; echo x 2>/dev/null > /scripts/one || echo read-only script
         cat /ro/file; touch /ro/new 2>/dev/null || echo read-only; touch /rw/new
         cat /run/secret; df -h /tmp/mem | grep -c tmpfs",
    );
    spec.files = vec![ScriptFile { path: "/scripts/one".into(), content: "#!/bin/sh\necho script\n".into() }];
    spec.mounts = vec![
        bind("/ro", shared.clone(), true),
        bind("/rw", shared.clone(), false),
        bind("/run/secret", shared.join("file"), true),
        Mount {
            target: "/tmp/mem".into(),
            source: MountSource::Tmpfs { size: Some(1 << 20) },
            read_only: false,
        },
    ];
    let text = output(&sandbox, &spec).await;
    assert_eq!(text, "script\nread-only script\nfrom outside\nread-only\nfrom outside\n1\n");
    assert!(shared.join("new").exists());
    assert!(fixture.changes().is_empty(), "{:?}", fixture.changes());
}

#[tokio::test]
async fn a_part_of_another_root_file_system_is_a_mount() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let (below, above) = (fixture.directory("below"), fixture.directory("above"));
    fs::create_dir(below.join("src")).unwrap();
    fs::write(below.join("src/a"), "below\n").unwrap();
    fs::write(below.join("src/b"), "below\n").unwrap();
    fs::create_dir(above.join("src")).unwrap();
    fs::write(above.join("src/b"), "above\n").unwrap();
    // Symlinks stay inside the root file system that the part is of.
    symlink("/src/../../../src", above.join("link")).unwrap();
    let layers = |upper: Option<&str>, path: &str, directory| MountSource::Layers {
        rootfs: Rootfs {
            lowers: vec![above.clone(), below.clone()],
            upper: upper.map(|name| fixture.directory(name)),
            work: upper.map(|name| fixture.directory(&format!("{name}-work"))),
        },
        path: path.into(),
        directory,
    };
    let mount = |target: &str, source, read_only| Mount { target: target.into(), source, read_only };
    let mut spec = fixture.shell(
        "cat /ro/a /ro/b /one; rm /ro/a 2>/dev/null || echo refused; rm /rw/a; echo new > /rw/c; ls /rw",
    );
    spec.mounts = vec![
        mount("/ro", layers(None, "/link", true), true),
        mount("/one", layers(None, "/src/b", false), true),
        mount("/rw", layers(Some("changes"), "/src", true), false),
    ];
    assert_eq!(output(&sandbox, &spec).await, "below\nabove\nabove\nrefused\nb\nc\n");
    assert!(below.join("src/a").exists() && !below.join("src/c").exists());
    assert!(fixture.directory.path().join("changes/src/c").exists());
    assert!(fixture.changes().is_empty(), "{:?}", fixture.changes());

    let nothing = MountSource::Layers { rootfs: Rootfs::default(), path: "/".into(), directory: true };
    spec.mounts = vec![mount("/ro", nothing, true)];
    spec.argv[2] = "ls -A /ro; touch /ro/x 2>/dev/null || echo empty and read-only".into();
    assert_eq!(output(&sandbox, &spec).await, "empty and read-only\n");

    spec.mounts = vec![mount("/ro", layers(None, "/nothing", true), true)];
    let error = sandbox.run(&spec, Stdio::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot mount `/ro`");
}

#[tokio::test]
async fn a_private_file_has_owner_and_mode_and_is_nowhere_else() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let file = |mode| MountSource::File { content: (*b"echo secret\n").into(), mode, uid: 1000, gid: 7 };
    let mount = |target: &str, source| Mount { target: target.into(), source, read_only: true };
    let mut spec = fixture.shell(
        "stat -c '%a %u %g' /run/secrets/key; cat /run/secrets/key; (: > /run/secrets/key) 2>/dev/null || echo refused
         /run/secrets/key 2>/dev/null || echo not executable; sh /bin/tool; /bin/tool || echo cannot
         df /run/secrets/key | tail -1 | cut -d' ' -f1",
    );
    spec.mounts = vec![mount("/run/secrets/key", file(0o400)), mount("/bin/tool", file(0o555))];
    assert_eq!(
        output(&sandbox, &spec).await,
        "400 1000 7\necho secret\nrefused\nnot executable\nsecret\nsecret\ntmpfs\n"
    );
    spec.user = User { uid: 1001, gid: 1001, additional_gids: vec![] };
    spec.argv[2] = "cat /run/secrets/key 2>/dev/null || echo not mine".into();
    assert_eq!(output(&sandbox, &spec).await, "not mine\n");
    assert!(fixture.changes().is_empty(), "{:?}", fixture.changes());
}

#[tokio::test]
async fn limits_and_shared_memory_are_what_the_spec_says() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec =
        fixture.shell("ulimit -Sn; ulimit -Hn; ulimit -c; df -k /dev/shm | awk 'NR == 2 { print $2 }'");
    spec.limits = vec![
        Limit { resource: Resource::Nofile, soft: Some(100), hard: Some(200) },
        Limit { resource: Resource::Core, soft: None, hard: None },
    ];
    spec.shm_size = Some(3 << 20);
    assert_eq!(output(&sandbox, &spec).await, "100\n200\nunlimited\n3072\n");
}

#[tokio::test]
async fn an_insecure_process_may_do_everything() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let script = "mkdir /m && mount -t tmpfs x /m && umount /m && echo mounted
        test -c /dev/fuse && test -b /dev/loop0 && echo devices
        awk '$2 ~ /^\\/proc\\/(kcore|sys)$/' /proc/mounts; awk '/CapBnd|CapEff/ { print $2 }' /proc/self/status | uniq | wc -l";
    let mut spec = fixture.shell(script);
    spec.security = Security::Insecure;
    assert_eq!(output(&sandbox, &spec).await, "mounted\ndevices\n1\n");
}

#[tokio::test]
async fn a_new_working_directory_belongs_to_the_user() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("pwd; stat -c '%u %g %a' . .. /");
    spec.user = User { uid: 1000, gid: 1001, additional_gids: vec![] };
    spec.cwd = "/made/here".into();
    let text = output(&sandbox, &spec).await;
    assert!(text.starts_with("/made/here\n1000 1001 755\n1000 1001 755\n0 0 "), "{text}");
}

#[tokio::test]
async fn nothing_of_this_machine_is_below_the_root() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    // Mount points with the type of what is there: the last one at a path hides the others.
    let script =
        r#"sed -E 's/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ ([^ ]+) .* - ([^ ]+) .*$/\1 \2/' /proc/self/mountinfo"#;
    let text = output(&sandbox, &fixture.shell(script)).await;
    let at =
        |path: &str| text.lines().filter(|line| line.split(' ').next() == Some(path)).collect::<Vec<_>>();
    assert_eq!(at("/"), ["/ overlay"], "{text}");
    assert_eq!(at("/proc"), ["/proc proc"], "{text}");
    let known =
        |line: &&str| ["/", "/proc", "/sys", "/dev", "/etc"].iter().any(|known| line.starts_with(known));
    assert!(text.lines().all(|line| known(&line)), "{text}");
}

#[tokio::test]
async fn mount_points_behind_symlinks_stay_inside() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let target = fixture.directory.path().join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, fixture.upper().join("link")).unwrap();
    let mut spec = fixture.shell("cat /link/mem/file 2>/dev/null || echo empty; tail -1 /etc/hosts");
    let source = MountSource::Tmpfs { size: None };
    spec.mounts = vec![Mount { target: "/link/mem".into(), source, read_only: false }];
    fs::create_dir(fixture.upper().join("etc")).unwrap();
    symlink("/run/names/hosts", fixture.upper().join("etc/hosts")).unwrap();
    let text = output(&sandbox, &spec).await;
    assert_eq!(text, "empty\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    assert!(!target.join("mem").exists());
}

#[tokio::test]
async fn without_a_network_there_is_only_loopback() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("ls /sys/class/net; ip addr show lo | grep -c 'inet 127.0.0.1'; ping -c 1 -W 1 127.0.0.1 | grep -c ', 0% packet loss'");
    spec.network = Network::None;
    assert_eq!(output(&sandbox, &spec).await, "lo\n1\n1\n");
}

#[tokio::test]
async fn dangerous_system_calls_are_refused() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let script = "mkdir /m
        for command in 'mount -t tmpfs x /m' 'unshare -m true' 'umount /proc' 'hostname other'; do
            $command 2>&1 | grep -oE 'not permitted|permission denied' | head -1
        done
        grep '^Seccomp:' /proc/self/status
        sh -c 'cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness' 2>&1 | grep -o 'Read-only file system'";
    let text = output(&sandbox, &fixture.shell(script)).await;
    let refused = "permission denied\nnot permitted\nnot permitted\nnot permitted\n";
    assert_eq!(text, format!("{refused}Seccomp:\t2\nRead-only file system\n"));
}

#[tokio::test]
async fn a_read_only_root_refuses_changes() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let mut spec = fixture.shell("touch /new 2>&1 | grep -o 'Read-only file system'; test -c /dev/null");
    spec.rootfs.upper = None;
    spec.rootfs.work = None;
    assert_eq!(output(&sandbox, &spec).await, "Read-only file system\n");
}

#[tokio::test]
async fn many_processes_run_at_the_same_time() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::start().unwrap();
    let fixtures: Vec<_> = (0..20).map(|_| Fixture::new()).collect();
    let specs: Vec<_> = fixtures
        .iter()
        .enumerate()
        .map(|(number, fixture)| fixture.shell(&format!("exit {number}")))
        .collect();
    let mut running = Vec::new();
    for spec in &specs {
        running.push(sandbox.run(spec, Stdio::default()).await.unwrap());
    }
    for (number, running) in running.iter_mut().enumerate() {
        assert_eq!(running.wait().await.unwrap(), Exit::Code(number as i32));
    }
}

/// Set in the program that is killed in the test below.
const VICTIM: &str = "ARCHWAY_SANDBOX_VICTIM";

#[tokio::test]
async fn nothing_outlives_a_killed_program() {
    if !is_root() {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
        let spec = fixture.shell("echo ready; sleep 1000");
        let mut running = sandbox.run(&spec, Stdio::inherit().unwrap()).await.unwrap();
        running.wait().await.unwrap();
        return;
    }
    // Its temporary files are in here, because it does not get to remove them.
    let directory = tempfile::tempdir().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_killed_program", "--nocapture"])
        .env(VICTIM, "1")
        .env("TMPDIR", directory.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(lines.count(), 0, "ends when nobody holds the pipe");
}
