//! `RUN --mount`, and what a request lends to RUN steps.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use archway_testkit::tools;

use crate::{
    readback::{Child, ImageIndex},
    scene::{Scene, TWO},
};

/// Builds and pushes for this machine.
fn built(scene: &Scene, dockerfile: &str, arguments: &[&str]) -> Child {
    scene.dockerfile(dockerfile);
    let name = scene.image("1");
    let always = ["--push", "-t", &name, "--platform", "local"];
    scene.build(&[&always[..], arguments].concat()).succeeded();
    ImageIndex::pushed(&name).children.remove(0)
}

/// How many steps ran, and how many were found.
fn counts(scene: &Scene, dockerfile: &str, arguments: &[&str]) -> (u64, u64) {
    scene.dockerfile(dockerfile);
    let always = ["-o", "type=cacheonly", "--metadata-file", "meta.json"];
    scene.build(&[&always[..], arguments].concat()).succeeded();
    let metadata = scene.json("meta.json");
    let platform = &metadata["archway.platforms"][0];
    (platform["stepsRun"].as_u64().unwrap(), platform["stepsCached"].as_u64().unwrap())
}

#[test]
fn files_of_the_context_a_stage_and_an_image_are_mounted() {
    let Some(scene) = Scene::new() else { return };
    scene.file("src/a.txt", "from the context\n");
    scene.file("src/ignored", "");
    scene.file("other", "");
    scene.file(".dockerignore", "src/ignored\n");
    let child = built(
        &scene,
        "FROM BASE AS tools\nRUN mkdir /out && echo from a stage > /out/tool\n\
         FROM BASE\nWORKDIR /w\n\
         RUN --mount=source=src,target=/in --mount=from=tools,source=/out/tool,target=/tool \
         --mount=from=BASE,target=/image --mount=target=. \
         set -e; cat /in/a.txt /tool > /seen; ls /in >> /seen; ls . >> /seen; ls -d /image/bin >> /seen; \
         touch /in/x 2>/dev/null || echo read-only >> /seen\n",
        &[],
    );
    let expected = "from the context\nfrom a stage\na.txt\nDockerfile\nother\nsrc\n/image/bin\nread-only\n";
    assert_eq!(child.text("seen"), expected);
    let layer = child.layer(2).entries.into_keys().collect::<Vec<_>>();
    assert_eq!(layer, ["dev", "proc", "seen", "sys"], "mount points are not part of the image");
}

#[test]
fn nothing_can_be_mounted_too() {
    let Some(scene) = Scene::new() else { return };
    let step = "RUN --mount=from=scratch,target=/e --mount=from=scratch,target=/f,rw test -z \"$(ls -A /e)\" && touch /f/x";
    built(&scene, &format!("FROM BASE\n{step}\n"), &[]);
}

#[test]
fn what_is_written_to_a_bind_is_lost() {
    let Some(scene) = Scene::new() else { return };
    scene.file("file", "old\n");
    let child = built(
        &scene,
        "FROM BASE\nRUN --mount=target=/in,rw echo new > /in/file && rm /in/Dockerfile && cat /in/file > /one\n\
         RUN --mount=target=/in,readwrite cat /in/file > /two && ls /in >> /two\n",
        &[],
    );
    assert_eq!((child.text("one"), child.text("two")), ("new\n".into(), "old\nDockerfile\nfile\n".into()));
    assert_eq!(fs::read_to_string(scene.cli.work().join("file")).unwrap(), "old\n");
}

#[test]
fn a_bind_counts_by_its_content() {
    let Some(scene) = Scene::new() else { return };
    scene.file("src/a", "a");
    scene.file("other", "1");
    let dockerfile = "FROM BASE AS tools\nRUN mkdir /out && echo 1 > /out/a\n\
        FROM BASE\nRUN --mount=source=src,target=/in --mount=from=tools,source=/out,target=/t true\n";
    // The image, the copy of the context for the mount, and two RUNs.
    assert_eq!(counts(&scene, dockerfile, &[]).0, 4);
    scene.file("other", "2");
    assert_eq!(counts(&scene, dockerfile, &[]).0, 0);
    scene.file("src/a", "b");
    assert_eq!(counts(&scene, dockerfile, &[]).0, 2);
    // A stage that does something else for the same result.
    let other = dockerfile.replace("mkdir /out", "touch /elsewhere && mkdir /out");
    assert_eq!(counts(&scene, &other, &[]).0, 1);
}

#[test]
fn a_cache_outlives_builds_and_is_no_part_of_the_image() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = |number: u32| {
        format!(
            "FROM BASE\nRUN --mount=type=cache,target=/root/.cache/tool,id=tool \
             echo {number} >> /root/.cache/tool/log && cp /root/.cache/tool/log /log\n"
        )
    };
    assert_eq!(built(&scene, &dockerfile(1), &[]).text("log"), "1\n");
    let child = built(&scene, &dockerfile(2), &[]);
    assert_eq!(child.text("log"), "1\n2\n");
    assert_eq!(child.layer(1).entries.keys().collect::<Vec<_>>(), ["dev", "log", "proc", "sys"]);
    // What it holds does not count.
    assert_eq!(counts(&scene, &dockerfile(2), &[]).0, 0);
}

#[test]
fn a_cache_begins_as_it_is_told() {
    let Some(scene) = Scene::new() else { return };
    let child = built(
        &scene,
        "FROM BASE AS seed\nRUN mkdir -p /seed/sub && echo seed > /seed/sub/file && chown 33:50 /seed/sub/file\n\
         FROM BASE\nRUN --mount=type=cache,target=/c,uid=33,gid=50,mode=0700 stat -c '%u:%g %a' /c > /owner\n\
         RUN --mount=type=cache,id=seeded,target=/c,from=seed,source=/seed \
         cat /c/sub/file > /seeded && stat -c '%u:%g' /c/sub/file >> /seeded && echo more > /c/more\n\
         RUN --mount=type=cache,id=seeded,target=/c,from=seed,source=/seed,ro cat /c/more > /more; \
         touch /c/x 2>/dev/null || echo read-only >> /more\n",
        &[],
    );
    assert_eq!(child.text("owner"), "33:50 700\n");
    assert_eq!(child.text("seeded"), "seed\n33:50\n");
    assert_eq!(child.text("more"), "more\nread-only\n");
}

#[test]
fn each_platform_has_a_cache_of_its_own() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nRUN --mount=type=cache,target=/c uname -m >> /c/machines && cp /c/machines /own\n\
         RUN --mount=type=cache,target=/c,id=shared:machines,sharing=locked \
         uname -m >> /c/machines && sort /c/machines > /all\n",
    );
    let name = scene.image("1");
    scene.build(&["--push", "-t", &name, "--platform", TWO, "--jobs", "1"]).succeeded();
    let children = ImageIndex::pushed(&name).children;
    assert_eq!(children[0].text("own"), "x86_64\n");
    assert_eq!(children[1].text("own"), "aarch64\n");
    let mut all = [children[0].text("all"), children[1].text("all")].map(|text| text.lines().count());
    all.sort_unstable();
    assert_eq!(all, [1, 2], "one of them found what the other one wrote");
}

/// The lock of the only cache mount there is, taken as a step takes it.
fn locked_mount(scene: &Scene) -> fs::File {
    let mut mounts = fs::read_dir(scene.cli.root().join("cache-mounts")).unwrap();
    let file = fs::File::open(mounts.next().unwrap().unwrap().path().join("lock")).unwrap();
    assert!(mounts.next().is_none());
    file.lock().unwrap();
    file
}

#[test]
fn a_locked_cache_has_one_user_at_a_time() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = |number: u32| {
        format!(
            "FROM BASE\nRUN --mount=type=cache,id=one,target=/c,sharing=locked \
             --mount=type=cache,id=one,target=/again echo {number} >> /c/log && cp /again/log /log\n"
        )
    };
    built(&scene, &dockerfile(1), &[]);
    let lock = locked_mount(&scene);
    scene.dockerfile(&dockerfile(2));
    let mut command = scene.cli.command();
    let arguments = ["build", "-o", "type=local,dest=out", "--platform", "local", "--progress", "plain", "."];
    let mut build = command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines();
    let waits = lines.any(|line| line.unwrap().contains("waiting for the cache mount one"));
    assert!(waits && build.try_wait().unwrap().is_none());
    drop(lock);
    lines.for_each(drop);
    assert!(build.wait().unwrap().success());
    assert_eq!(fs::read_to_string(scene.cli.work().join("out/log")).unwrap(), "1\n2\n");
}

#[test]
fn a_private_cache_is_not_shared_while_it_is_used() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = |number: u32| {
        format!(
            "FROM BASE\nRUN --mount=type=cache,id=own,target=/c,sharing=private \
             echo {number} >> /c/log && cp /c/log /log\n"
        )
    };
    built(&scene, &dockerfile(1), &[]);
    let lock = locked_mount(&scene);
    assert_eq!(built(&scene, &dockerfile(2), &[]).text("log"), "2\n", "another one");
    drop(lock);
    assert_eq!(built(&scene, &dockerfile(3), &[]).text("log"), "1\n3\n", "the first one again");
}

#[test]
fn a_cache_survives_a_killed_build() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nRUN --mount=type=cache,id=one,target=/c,sharing=locked \
         test -e /c/log && cp /c/log /log || { echo written > /c/log && echo now && sleep 1000; }\n",
    );
    let mut command = scene.cli.command();
    let arguments = ["build", "-o", "type=local,dest=out", "--platform", "local", "--progress", "plain", "."];
    let mut build = command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("| now")));
    build.kill().unwrap();
    build.wait().unwrap();
    scene.archway(&arguments).succeeded();
    assert_eq!(fs::read_to_string(scene.cli.work().join("out/log")).unwrap(), "written\n");
}

#[test]
fn a_tmpfs_is_empty_and_gone_afterwards() {
    let Some(scene) = Scene::new() else { return };
    let child = built(
        &scene,
        "FROM BASE\nRUN mkdir /t && touch /t/kept\n\
         RUN --mount=type=tmpfs,target=/t,size=4m ls /t > /empty && df -k /t | awk 'NR==2{print $2}' > /size \
         && touch /t/lost && stat -c %a /t >> /size\n",
        &[],
    );
    assert_eq!((child.text("empty"), child.text("size")), (String::new(), "4096\n1777\n".into()));
    assert!(child.root().entries.contains_key("t/kept") && !child.root().entries.contains_key("t/lost"));
}

#[test]
fn secrets_are_seen_by_their_steps_and_by_nobody_else() {
    let Some(scene) = Scene::new() else { return };
    const VALUE: &str = "hunter2-very-secret";
    let file = scene.file("../secret", VALUE);
    let dockerfile = "FROM BASE\n\
        RUN --mount=type=secret,id=key sha256sum < /run/secrets/key > /sum && stat -c '%a %u:%g' /run/secrets/key > /mode\n\
        RUN --mount=type=secret,id=key,target=/x,mode=0440,uid=33,gid=50 stat -c '%a %u:%g' /x >> /mode\n\
        RUN --mount=type=secret,id=key,env=KEY test \"$KEY\" = \"$(printf %s hunter2-very)-secret\" && test ! -e /run/secrets/key\n\
        RUN --mount=type=secret,id=absent,env=NOTHING test -z \"$NOTHING\" && test ! -e /run/secrets/absent\n";
    let given = format!("id=key,src={}", file.display());
    let arguments = ["--secret", given.as_str(), "--progress", "rawjson", "--metadata-file", "meta.json"];
    scene.dockerfile(dockerfile);
    let name = scene.image("1");
    let always =
        ["--push", "-t", name.as_str(), "-o", "type=oci,dest=layout,tar=false", "--platform", "local"];
    let run = scene.build(&[&always[..], &arguments].concat()).succeeded();
    let child = ImageIndex::pushed(&name).children.remove(0);
    assert_eq!(child.text("mode"), "400 0:0\n440 33:50\n");
    let plan = scene.archway(&["plan", "--secret", &given, "--format", "json", "."]).succeeded();
    for text in [&run.stdout, &run.stderr, &plan.stdout, &plan.stderr] {
        assert!(!text.contains(VALUE), "{text}");
    }
    for directory in [scene.cli.root(), scene.cli.work()] {
        let grep = Command::new("grep").args(["-raFl", VALUE]).arg(&directory).output().unwrap();
        assert!(grep.stdout.is_empty(), "{}", String::from_utf8_lossy(&grep.stdout));
    }
    // Another value is no other step.
    fs::write(&file, "another").unwrap();
    assert_eq!(counts(&scene, dockerfile, &["--secret", &given]).0, 0);
}

#[test]
fn a_secret_that_is_required_and_missing_is_named() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN --mount=type=secret,id=key,required cat /run/secrets/key\n");
    let run = scene.build(&["-o", "type=cacheonly"]).exited(1);
    assert!(run.stderr.contains("the secret `key` is required"), "{}", run.stderr);
    assert!(run.stderr.contains("--secret id=key,src=FILE"), "{}", run.stderr);
    let run = scene.build(&["--secret", "id=key,src=nothing"]).exited(1);
    assert!(run.stderr.contains("cannot read the secret `nothing`"), "{}", run.stderr);
    scene.file("large", &"x".repeat(500 * 1024 + 1));
    let run = scene.build(&["--secret", "id=key,src=large"]).exited(2);
    assert!(run.stderr.contains("larger than 500 KiB"), "{}", run.stderr);
}

/// Puts a program of this machine into the context, with the libraries it needs.
fn with_libraries(scene: &Scene, program: &str) {
    let path = tools::find(program).unwrap();
    let libraries = Command::new("ldd").arg(&path).output().unwrap();
    let text = String::from_utf8(libraries.stdout).unwrap();
    let needed = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in needed.map(std::path::Path::new).chain([std::path::Path::new("/bin").join(program).as_path()])
    {
        let from = if file.starts_with("/bin") { path.as_path() } else { file };
        let to = scene.cli.work().join("programs").join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn an_ssh_agent_is_lent_to_the_steps_that_mount_it() {
    let Some(scene) = Scene::new() else { return };
    if !tools::require_each(&["ssh-agent", "ssh-add", "ssh-keygen", "ldd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (socket, key) = (directory.path().join("agent"), directory.path().join("key"));
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    while !socket.exists() {
        std::thread::yield_now();
    }
    let succeed = |command: &mut Command| assert!(command.output().unwrap().status.success());
    succeed(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key));
    succeed(Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket));
    with_libraries(&scene, "ssh-add");
    scene.dockerfile(
        "FROM BASE\nCOPY programs /\n\
         RUN --mount=type=ssh,uid=33 test -S \"$SSH_AUTH_SOCK\" && stat -c '%a %u %n' $SSH_AUTH_SOCK > /socket \
         && ssh-add -l | cut -d' ' -f4 > /keys; ssh-add -D 2>/dev/null || echo refused >> /keys\n\
         RUN --mount=type=ssh,id=none test ! -e \"$SSH_AUTH_SOCK\"\n",
    );
    let name = scene.image("1");
    let given = format!("default={}", socket.display());
    let run = scene.build(&["--push", "-t", &name, "--ssh", &given, "--platform", "local"]);
    let keys = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).output().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    run.succeeded();
    let child = ImageIndex::pushed(&name).children.remove(0);
    assert_eq!(child.text("socket"), "600 33 /run/buildkit/ssh_agent.0\n");
    assert_eq!(child.text("keys"), "(ED25519)\nrefused\n");
    assert!(keys.status.success(), "the key is still there");
    // An agent for key files is ours.
    let given = format!("default={}", key.display());
    scene.build(&["--push", "-t", &name, "--ssh", &given, "--platform", "local", "--no-cache"]).succeeded();
    let child = ImageIndex::pushed(&name).children.remove(0);
    assert_eq!(child.text("keys"), "(ED25519)\nrefused\n");
    let run = scene.build(&["--ssh", "default=Dockerfile"]).exited(2);
    assert!(run.stderr.contains("ssh-add does not take the key"), "{}", run.stderr);
}

#[test]
fn steps_have_the_hosts_memory_and_limits_of_the_request() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = "FROM BASE\nRUN grep -w db /etc/hosts > /hosts; df -k /dev/shm | awk 'NR==2{print $2}' > /shm; \
        ulimit -Sn > /files; ulimit -Hn >> /files; hostname > /name\n";
    let flags = ["--shm-size", "3m", "--ulimit", "nofile=100:200", "--add-host"];
    let child = built(&scene, dockerfile, &[&flags[..], &["db:192.0.2.7"]].concat());
    assert_eq!(child.text("hosts"), "192.0.2.7\tdb\n");
    assert_eq!((child.text("shm"), child.text("files")), ("3072\n".into(), "100\n200\n".into()));
    assert_eq!(child.text("name"), "buildkitsandbox\n");
    // Addresses are about this machine.
    assert_eq!(counts(&scene, dockerfile, &[&flags[..], &["db:192.0.2.8"]].concat()).0, 0);
    let named = ["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box"];
    assert_eq!(built(&scene, dockerfile, &named).text("name"), "box\n");
}

#[test]
fn an_insecure_step_has_to_be_allowed() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nRUN --security=insecure mkdir /m && mount -t tmpfs x /m && umount /m && rmdir /m\n",
    );
    let run = scene.build(&["-o", "type=cacheonly"]).exited(1);
    assert!(run.stderr.contains("--allow security.insecure"), "{}", run.stderr);
    scene.build(&["-o", "type=cacheonly", "--allow", "security.insecure"]).succeeded();
    let run = scene.build(&["--allow", "security.insecur"]).exited(2);
    assert!(run.stderr.contains("did you mean `security.insecure`?"), "{}", run.stderr);
}

#[test]
fn cache_mounts_are_listed_moved_and_removed() {
    let (Some(scene), Some(other)) = (Scene::new(), Scene::new()) else { return };
    let dockerfile = "FROM BASE\nRUN --mount=type=cache,id=go,target=/c,uid=33,gid=50,mode=0750 \
        test -e /c/log || echo first > /c/log && cp /c/log /log && stat -c '%u:%g %a' /c >> /log\n\
        RUN --mount=type=cache,id=shared:mod,target=/c touch /c/x\n";
    built(&scene, dockerfile, &[]);
    let list = |scene: &Scene| -> serde_json::Value {
        let run = scene.archway(&["cache", "ls", "--type=cache-mount", "--format=json"]).succeeded();
        serde_json::from_str(&run.stdout).unwrap()
    };
    let mounts = list(&scene);
    let mounts = mounts.as_array().unwrap();
    let find = |id: &str| mounts.iter().find(|mount| mount["description"] == id).unwrap();
    let platform = archway_oci::Platform::host().to_string();
    let go = find("go");
    assert_eq!(go["platform"], platform.as_str());
    assert_eq!(find("shared:mod")["platform"], serde_json::Value::Null);
    assert!(go["inUse"] == false && go["size"].as_u64().unwrap() > 0);
    let text = scene.archway(&["cache", "ls", "--type=cache-mount"]).succeeded().stdout;
    assert!(text.starts_with("KEY ") && text.lines().count() == 3, "{text}");

    scene.archway(&["cache", "export", "-o", "go.tar", "--platform", &platform, "go"]).succeeded();
    let archive = scene.cli.work().join("go.tar");
    let run = other.archway(&["cache", "import", archive.to_str().unwrap()]).succeeded();
    assert_eq!(run.stdout, format!("imported go for {platform}\n"));
    assert_eq!(list(&other).as_array().unwrap().len(), 1);
    // It is found by the step it belongs to, as it was.
    let changed = dockerfile.replace("first", "second");
    assert_eq!(built(&other, &changed, &[]).text("log"), "first\n33:50 750\n");

    let run = scene.archway(&["cache", "rm", "nothing"]).exited(1);
    assert!(run.stderr.contains("there is no cache mount `nothing`"), "{}", run.stderr);
    scene.archway(&["cache", "rm", "go"]).succeeded();
    assert_eq!(list(&scene).as_array().unwrap().len(), 1);
    scene.archway(&["cache", "rm", "--all"]).succeeded();
    assert_eq!(list(&scene).as_array().unwrap().len(), 0);
    scene.file("broken.tar", "no archive");
    scene.archway(&["cache", "import", "broken.tar"]).exited(1);
    scene.archway(&["cache", "rm"]).exited(2);
}

#[test]
fn directories_that_every_step_mounts_on_stay_in_an_image_that_lacks_them() {
    let Some(scene) = Scene::new() else { return };
    let child =
        built(&scene, "FROM BASE AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\nRUN true\n", &[]);
    let names: Vec<String> = child.layer(1).entries.into_keys().collect();
    assert_eq!(names, ["dev", "proc", "sys"]);
}

#[test]
fn a_normal_user_mounts_too() {
    let Some(scene) = Scene::rootless() else { return };
    let secret = scene.file("key", "value");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let dockerfile = "FROM BASE\n\
        RUN --mount=type=cache,target=/c,uid=33 --mount=type=secret,id=key,uid=33,mode=400 --mount=target=/in,rw \
        --mount=type=tmpfs,target=/t stat -c %u /c /run/secrets/key > /owners && cat /run/secrets/key > /in/x \
        && wc -c < /in/x > /size && echo 1 >> /c/log && touch /t/x\n\
        RUN --mount=type=cache,target=/c,uid=33 cp /c/log /log\n";
    let child = built(&scene, dockerfile, &["--secret", "id=key,src=key"]);
    assert_eq!((child.text("owners"), child.text("size")), ("33\n33\n".into(), "5\n".into()));
    assert_eq!(child.text("log"), "1\n");
}
