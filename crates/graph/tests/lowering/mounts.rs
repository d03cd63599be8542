//! `RUN --mount`, and what a request says about every RUN.

use archway_graph::{
    Access, ContextName, CopySource, Entitlement, ExtraHost, Graph, Mount, MountSource, NodeId, NodePath, Op,
    RunOp, RunSettings, Security, Sharing,
};

use crate::{
    build::Build,
    dump::{assert_graph, dump},
};

fn graph(mounts: &str) -> Graph {
    Build::new(&format!("FROM a AS tools\nFROM base\nWORKDIR /w\nARG NAME=value\nRUN {mounts} make\n"))
        .graph()
}

fn run(graph: &Graph) -> &RunOp {
    let run = graph.nodes.iter().find_map(|node| match &node.op {
        Op::Run(run) => Some(run),
        _ => None,
    });
    run.expect("a RUN")
}

/// The mounts of one RUN, in short.
fn mounts(flags: &str) -> Vec<String> {
    run(&graph(flags)).mounts.iter().map(describe).collect()
}

fn describe(mount: &Mount) -> String {
    let access = |access: &Access| format!("{}:{} {:o}", access.uid, access.gid, access.mode);
    let part = |part: &NodePath| format!("{} of {}", part.path, part.node.0);
    let source = match &mount.source {
        MountSource::Bind(source) => format!("bind {}", part(source)),
        MountSource::Tmpfs { size } => format!("tmpfs {size:?}"),
        MountSource::Secret { id, required, access: owner } => {
            format!("secret {id} {required} {}", access(owner))
        }
        MountSource::Ssh { id, required, access: owner } => format!("ssh {id} {required} {}", access(owner)),
        MountSource::Cache(cache) => format!(
            "cache {} {} {:?} {} {}",
            cache.id,
            cache.platform.as_ref().map_or("all".to_owned(), ToString::to_string),
            cache.sharing,
            cache.initial.as_ref().map_or("empty".to_owned(), part),
            cache.access.as_ref().map_or("default".to_owned(), access),
        ),
    };
    format!("{} {source}{}", mount.target, if mount.read_only { " ro" } else { "" })
}

#[test]
fn each_type_has_its_options_and_defaults() {
    // Nodes: 0 is image a, if it is used; images and WORKDIR come before the mounts.
    let table: &[(&str, &[&str])] = &[
        ("--mount=type=cache,target=/c", &["/c cache /c linux/amd64 Shared empty default"]),
        ("--mount=type=cache,dst=c", &["/w/c cache /w/c linux/amd64 Shared empty default"]),
        ("--mount=type=cache", &["/w cache /w linux/amd64 Shared empty default"]),
        (
            "--mount=type=cache,id=$NAME,target=/$NAME,sharing=locked,uid=7,mode=0700,ro",
            &["/value cache value linux/amd64 Locked empty 7:0 700 ro"],
        ),
        (
            "--mount=type=cache,id=shared:mod,target=/c,sharing=PRIVATE,gid=5",
            &["/c cache shared:mod all Private empty 0:5 755"],
        ),
        ("--mount=type=tmpfs,target=/t", &["/t tmpfs None"]),
        ("--mount=type=tmpfs,target=/t,size=64m,readonly=true", &["/t tmpfs Some(67108864) ro"]),
        ("--mount=type=secret,id=key", &["/run/secrets/key secret key false 0:0 400 ro"]),
        ("--mount=type=secret,source=a/key", &["/run/secrets/key secret a/key false 0:0 400 ro"]),
        (
            "--mount=type=secret,dst=/root/.netrc,required,mode=440,gid=3",
            &["/root/.netrc secret .netrc true 0:3 440 ro"],
        ),
        ("--mount=type=secret,id=key,target=x,env=KEY", &["/w/x secret key false 0:0 400 ro"]),
        ("--mount=type=secret,id=key,env=KEY", &[]),
        ("--mount=type=ssh", &["/run/buildkit/ssh_agent.0 ssh default false 0:0 600"]),
        (
            "--mount=type=ssh,id=github,required=1,uid=7 --mount=type=ssh,target=/s",
            &["/run/buildkit/ssh_agent.0 ssh github true 7:0 600", "/s ssh default false 0:0 600"],
        ),
        // Parents first; of one target, the last.
        (
            "--mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a --mount=type=cache,target=/a/b",
            &["/a tmpfs None", "/a/b cache /a/b linux/amd64 Shared empty default"],
        ),
    ];
    for (flags, expected) in table {
        assert_eq!(mounts(flags), *expected, "{flags}");
    }
}

#[test]
fn a_bind_of_the_context_is_a_copy_that_all_platforms_share() {
    let text = "
        FROM base
        WORKDIR /w
        RUN --mount=source=src,target=/in --mount=target=. make
    ";
    let graph = Build::new(text).platforms(&["linux/amd64", "linux/arm64"]).graph();
    let copies = graph.nodes.iter().filter(|node| matches!(node.op, Op::Copy(_)));
    for copy in copies.clone() {
        assert_eq!(copy.serves, [0, 1]);
    }
    assert_eq!(copies.count(), 2, "{}", dump(&graph));
    let Some((place, Op::Copy(copy))) = graph.nodes.iter().enumerate().find_map(|(place, node)| {
        matches!(&node.op, Op::Copy(copy) if copy.sources == [CopySource::Context { context: ContextName::Main, paths: vec!["src".into()] }])
            .then_some((place, &node.op))
    }) else {
        panic!("{}", dump(&graph))
    };
    assert_eq!(copy.destination, "/source");
    let mounted: Vec<_> = run(&graph).mounts.iter().map(describe).collect();
    assert_eq!(mounted[0], format!("/in bind /source of {place} ro"));
    assert!(mounted[1].starts_with("/w bind /source of "), "{mounted:?}");
}

#[test]
fn a_trigger_mounts_too_and_has_no_place_in_this_file() {
    let build = Build::new("FROM base\n").image("base", |image| {
        image.config.on_build = vec!["RUN --mount=target=/in --mount=from=tools,target=/t make".into()];
    });
    let graph = build.graph();
    let targets: Vec<&str> = run(&graph).mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/in", "/t"]);
    let copy = graph.nodes.iter().find(|node| matches!(node.op, Op::Copy(_))).unwrap();
    assert_eq!(copy.span, None);
}

#[test]
fn wildcards_mean_themselves_in_a_mounts_source() {
    let graph = Build::new("FROM base\nRUN --mount=source=a[1]*,target=/in make\n").graph();
    let copied = graph.nodes.iter().find_map(|node| match &node.op {
        Op::Copy(copy) => Some(copy.sources.clone()),
        _ => None,
    });
    assert_eq!(
        copied,
        Some(vec![CopySource::Context { context: ContextName::Main, paths: vec!["a[[]1][*]".into()] }])
    );
}

#[test]
fn stages_and_images_are_mounted_from() {
    let graph = Build::new(
        "
        FROM base AS tools
        RUN make tools
        FROM base AS unused
        RUN never
        FROM scratch
        RUN --mount=from=tools,source=/bin/../lib,target=/tools,rw --mount=from=alpine,target=/alpine \
            --mount=type=cache,from=tools,source=/seed,target=/cache make
        ",
    )
    .graph();
    assert_graph(
        &graph,
        "
        0: image base linux/amd64 | 0
        1: 0 run on linux/amd64 in /: [\"/bin/sh\", \"-c\", \"make tools\"] | 0
        2: scratch | 0
        3: image alpine linux/amd64 | 0
        4: 2 run on linux/amd64 in /: [\"/bin/sh\", \"-c\", \"make\"] | 0
        linux/amd64 = 4 [4]
        ",
    );
    let Op::Run(run) = &graph.nodes[4].op else { panic!() };
    let mounted: Vec<_> = run.mounts.iter().map(describe).collect();
    let expected = [
        "/alpine bind / of 3 ro",
        "/cache cache /cache linux/amd64 Shared /seed of 1 default",
        "/tools bind /lib of 1",
    ];
    assert_eq!(mounted, expected);
    assert_eq!(graph.nodes[4].op.inputs(), [2, 3, 1].map(NodeId));
}

#[test]
fn a_cache_belongs_to_the_platform_of_its_stage() {
    let text = "
        FROM --platform=$BUILDPLATFORM base AS build
        RUN --mount=type=cache,target=/c make
        FROM base
        RUN --mount=type=cache,target=/c --mount=from=build,target=/b true
    ";
    let graph = Build::new(text).platforms(&["linux/arm64", "linux/s390x"]).graph();
    let mut platforms: Vec<String> = Vec::new();
    for node in &graph.nodes {
        let Op::Run(run) = &node.op else { continue };
        for mount in &run.mounts {
            if let MountSource::Cache(cache) = &mount.source {
                platforms.push(cache.platform.as_ref().unwrap().to_string());
            }
        }
    }
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/s390x"]);
}

#[test]
fn a_namespace_keeps_caches_apart() {
    let build = Build::new("FROM base\nRUN --mount=type=cache,id=mod,target=/c make\n");
    let graph = build.arg("BUILDKIT_CACHE_MOUNT_NS", "team").graph();
    assert!(describe(&run(&graph).mounts[0]).starts_with("/c cache team/mod linux/amd64"));
    assert!(graph.warnings.is_empty());
}

#[test]
fn secrets_and_sockets_reach_the_environment() {
    let graph = graph("--mount=type=secret,id=key,env=KEY,required --mount=type=ssh,target=/s");
    let run = run(&graph);
    let variable = &run.secret_env[0];
    assert_eq!((&*variable.name, &*variable.id, variable.required), ("KEY", "key", true));
    assert!(run.env.contains(&"SSH_AUTH_SOCK=/s".to_owned()), "{:?}", run.env);

    let own = "FROM base\nENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh make\n";
    let graph = Build::new(own).graph();
    assert_eq!(self::run(&graph).env.iter().filter(|env| env.starts_with("SSH_AUTH")).count(), 1);
}

#[test]
fn mounts_are_no_part_of_the_history() {
    let text = "FROM base\nRUN --mount=type=cache,target=/c make\n";
    let history = Build::new(text).config().history;
    assert_eq!(history.last().unwrap().created_by.as_deref(), Some("RUN /bin/sh -c make # buildkit"));
}

#[test]
fn security_has_to_be_allowed() {
    let text = "FROM base\nRUN --security=insecure make\n";
    let allowed = Build::new(text).allow(Entitlement::SecurityInsecure).graph();
    assert_eq!(run(&allowed).security, Security::Insecure);
    let error = Build::new(text).error().diagnostic();
    assert!(error.message.contains("security.insecure"), "{}", error.message);
    assert!(error.hint.unwrap().contains("--allow security.insecure"));
    let sandbox = Build::new("FROM base\nRUN --security=sandbox make\n").graph();
    assert_eq!(run(&sandbox).security, Security::Sandbox);
}

#[test]
fn every_run_has_the_settings_of_the_request() {
    let host = ExtraHost { name: "db".into(), address: "192.0.2.1".parse().unwrap() };
    let settings = RunSettings { hosts: vec![host], shm_size: Some(5), ..RunSettings::default() };
    let build = Build::new("FROM base\nRUN make\n").settings(settings.clone());
    let graph = build.arg("BUILDKIT_SANDBOX_HOSTNAME", "box").graph();
    assert_eq!(run(&graph).settings, RunSettings { hostname: Some("box".into()), ..settings });
}

#[test]
fn what_makes_no_sense_is_refused() {
    // The flag, what is marked, the message, the hint.
    let table = [
        ("type=cach,target=/c", "cach", "there is no mount type `cach`", "did you mean `cache`?"),
        ("type=volume,target=/c", "volume", "there is no mount type `volume`", "types are bind, cache"),
        ("type=cache,target=/c,sharing=locke", "locke", "no sharing mode `locke`", "did you mean `locked`?"),
        ("type=cache,target=/c,size=1m", "size", "`size` is no option of cache mounts", "options of cache"),
        ("type=tmpfs,target=/c,mode=700", "mode", "`mode` is no option of tmpfs mounts", "target, size"),
        ("type=bind,target=/c,id=x", "id", "`id` is no option of bind mounts", "options of bind mounts"),
        ("type=secret,id=x,from=tools", "from", "`from` is no option of secret mounts", "options of secret"),
        ("type=ssh,source=x", "source", "`source` is no option of ssh mounts", "options of ssh mounts"),
        (
            "target=/c,required",
            "required",
            "`required` is no option of bind mounts",
            "options of bind mounts",
        ),
        ("type=tmpfs,target=/c,size=1x", "1x", "`1x` is no value for the mount option `size`", "want a size"),
        ("type=cache,target=/c,uid=root", "root", "`root` is no value", "want a user id, as a number"),
        ("type=cache,target=/c,gid=+1", "+1", "`+1` is no value", "want a group id"),
        ("type=cache,target=/c,mode=9", "9", "`9` is no value", "want an octal mode"),
        ("target=/c,ro=yes", "yes", "`yes` is no value", "want true or false"),
        ("type=secret,id=x,env=", "", "`` is no value", "want the name of an environment variable"),
        ("target=/w/..", "/w/..", "a mount cannot take the place", "name a directory below it"),
        ("type=secret", "type=secret", "does not say which secret", "add id=NAME"),
        ("type=secret,id=x,src=y", "y", "has both `id` and `source`", "leave one of them out"),
        ("type=cache,target=/c,source=/s", "/s", "and no `from`", "add from=STAGE"),
        ("from=$NAME,target=/c", "$NAME", "`from=$NAME` holds a variable", "define a stage"),
        ("from=later,target=/c", "later", "stage `later` is defined after", "move `later`"),
        ("from=own,target=/c", "own", "cannot take files from itself", "earlier stage"),
    ];
    for (mount, marked, message, hint) in table {
        let text =
            format!("FROM base AS own\nARG NAME=x\nRUN --mount={mount} make\nFROM own\nFROM base AS later\n");
        let build = Build::new(&text).target("own");
        let found = build.error().diagnostic();
        let span = found.span.start..found.span.end;
        assert_eq!(&build.dockerfile().source.text[span], marked, "{mount}");
        assert!(found.message.contains(message), "{mount}: {}", found.message);
        assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{mount}: {:?}", found.hint);
    }
}

#[test]
fn sharing_modes_have_one_meaning() {
    for (name, expected) in
        [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)]
    {
        let graph = graph(&format!("--mount=type=cache,target=/c,sharing={name}"));
        let MountSource::Cache(cache) = &run(&graph).mounts[0].source else { panic!("{name}") };
        assert_eq!(cache.sharing, expected);
    }
}
