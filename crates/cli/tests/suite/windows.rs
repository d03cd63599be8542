//! Images for Windows, made where there is no Windows: files are copied onto a base, nothing runs.

use archway_testkit::bases::Base;

use crate::{
    readback::ImageIndex,
    scene::{self, Scene},
};

const SIX: &str = "linux/386,linux/amd64,linux/arm/v6,linux/arm/v7,linux/arm64,windows/amd64";

#[test]
fn files_are_copied_onto_a_windows_base_in_the_layout_of_windows() {
    let Some(scene) = Scene::new() else { return };
    scene.file("app.exe", "MZ");
    scene.file("config/a.txt", "a");
    scene.file(
        "Dockerfile",
        &format!(
            "# escape=`\nFROM {} AS windows\nWORKDIR C:\\app\nCOPY app.exe .\nCOPY config C:\\app\\config\\\nUSER ContainerAdministrator\n\
             ENTRYPOINT [\"C:\\\\app\\\\app.exe\"]\nFROM scratch AS linux\nCOPY app.exe /app/app.exe\nFROM ${{TARGETOS}}\n",
            scene::base(Base::Nanoserver)
        ),
    );
    scene.push("windows(10.0.20348)/amd64,linux/amd64,windows/amd64");
    let index = ImageIndex::pushed(&scene.image("1"));
    let windows = &index.children[0];
    // The version that was asked for, in the descriptor and in the config; else that of the base, of which
    // containerd takes the first.
    assert_eq!(windows.platform.os_version.as_deref(), Some("10.0.20348"));
    assert_eq!(windows.config["os.version"], "10.0.20348");
    assert_eq!(windows.config["config"]["WorkingDir"], "\\app");
    assert_eq!(windows.text("Files/app/app.exe"), "MZ");
    assert_eq!(windows.text("Files/app/config/a.txt"), "a");
    assert_eq!(windows.text("Files/Windows/System32/version.txt"), "10.0.20348.2762");
    let files = windows.root().entries;
    assert!(files.contains_key("Hives") && !files.contains_key("app"), "{:?}", files.keys());

    assert_eq!(index.children[2].platform.os_version.as_deref(), Some("10.0.17763.6293"));
    assert_eq!(index.children[2].layer_digests()[1..], windows.layer_digests()[1..], "made once for both");

    let linux = &index.children[1];
    assert_eq!(linux.text("app/app.exe"), "MZ", "the layout of Windows is for Windows only");

    // A built image is a base, too, and the next layer sees what the last one has.
    scene.file(
        "Dockerfile",
        &format!("# escape=`\nFROM {}\nCOPY app.exe C:\\app\\config\\\n", scene.image("1")),
    );
    scene.build(&["--push", "-t", &scene.image("2"), "--platform", "windows(10.0.20348)/amd64"]).succeeded();
    let child = ImageIndex::pushed(&scene.image("2")).children.remove(0);
    assert_eq!(child.text("Files/app/config/app.exe"), "MZ");
    assert_eq!(child.text("Files/Windows/System32/version.txt"), "10.0.20348.2762");
}

#[test]
fn a_command_on_windows_is_refused_before_anything_is_built() {
    let Some(scene) = Scene::new() else { return };
    scene.file("Dockerfile", &format!("FROM {}\nRUN dir\n", scene::base(Base::Nanoserver)));
    let run = scene.build(&["--platform", "windows/amd64"]).exited(1);
    assert!(run.stderr.contains("windows/amd64") && run.stderr.contains("RUN dir"), "{}", run.stderr);
}

#[test]
fn the_example_builds_one_program_for_six_platforms() {
    let Some(scene) = Scene::new() else { return };
    let golang = scene::base(Base::Golang);
    let bases = golang.strip_suffix("/golang").expect("a name").to_owned();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/everywhere");
    let arguments = [
        "build",
        "--push",
        "-t",
        &scene.image("1"),
        "--platform",
        SIX,
        "--build-arg",
        &format!("BASES={bases}"),
        "--build-arg",
        &format!("WINDOWS_BASE={}", scene::base(Base::Nanoserver)),
        example,
    ];
    scene.archway(&arguments).succeeded();
    let index = ImageIndex::pushed(&scene.image("1"));
    let platforms: Vec<String> = index.children.iter().map(|child| child.platform.to_string()).collect();
    assert_eq!(platforms.join(","), SIX);
    for child in &index.children {
        let (path, magic) = match child.platform.os.as_str() {
            "windows" => ("Files/everywhere.exe", &b"MZ"[..]),
            _ => ("everywhere", &b"\x7fELF"[..]),
        };
        assert!(child.bytes(path).starts_with(magic), "{}", child.platform);
    }
    let run = scene.archway(&["run", "--platform", "linux/amd64", &scene.image("1")]);
    assert_eq!(run.succeeded().stdout, "Hello from linux/amd64\n");
}
